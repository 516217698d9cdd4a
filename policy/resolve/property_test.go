package resolve

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovs-sg/ovs-sg/policy"
)

// world draws policies from few names and addresses, so that ids, uids, MACs,
// addresses, prefixes and VPCs collide.
type world struct{ t *rapid.T }

func (w world) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(w.t, label) }
func (w world) odds(label string, n int) bool {
	return rapid.IntRange(0, n-1).Draw(w.t, label) == 0
}

func (w world) key(label string) policy.Key {
	return policy.Key{Namespace: []string{"n1", "n2"}[w.pick(label+" ns", 2)], Name: []string{"a", "b", "c", policy.DefaultGroupName}[w.pick(label, 4)]}
}

func (w world) addr(label string) netip.Addr {
	if w.odds(label+" v6", 4) {
		return netip.AddrFrom16([16]byte{0xfd, 14: byte(w.pick(label+" net", 2)), 15: byte(w.pick(label, 4))})
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(w.pick(label+" net", 2)), byte(w.pick(label, 4))})
}

func (w world) prefix(label string) netip.Prefix {
	a := w.addr(label)
	p, _ := a.Prefix(a.BitLen() - []int{0, 1, 2, 8, 9, a.BitLen()}[w.pick(label+" bits", 6)])
	return p
}

func (w world) mac(label string) policy.MAC {
	if n := w.pick(label, 5); n > 0 {
		return policy.MAC{2, 0, 0, 0, 0, byte(n)}
	}
	return policy.MAC{}
}

func (w world) rule(i int) policy.Rule {
	r := policy.Rule{
		Name: fmt.Sprintf("#%d", i), Direction: policy.Direction(w.pick("direction", 2)),
		Protocol: policy.Protocol(w.pick("protocol", 4)), Ports: policy.AllPorts,
	}
	if (r.Protocol == policy.TCP || r.Protocol == policy.UDP) && !w.odds("all ports", 3) {
		r.Ports.First = uint16(1 + w.pick("first", 5))
		r.Ports.Last = r.Ports.First + uint16(w.pick("more", 3))
	}
	r.Remote.Kind = policy.RemoteKind(w.pick("remote", 4))
	switch r.Remote.Kind {
	case policy.RemoteCIDR:
		r.Remote.Prefix = w.prefix("cidr")
	case policy.RemoteGroup, policy.RemoteSubnet:
		r.Remote.Ref = w.key("ref")
	}
	return r
}

func (w world) objects() policy.Objects {
	var o policy.Objects
	seen := make(map[policy.Definition]bool)
	fresh := func(kind string, k policy.Key) bool {
		id := policy.Definition{Kind: kind, Key: k}
		was := seen[id]
		seen[id] = true
		return !was
	}
	for range w.pick("groups", 5) {
		g := policy.Group{Key: w.key("group")}
		for i := range w.pick("rules", 4) {
			g.Rules = append(g.Rules, w.rule(i))
		}
		if fresh(policy.KindGroup, g.Key) {
			o.Groups = append(o.Groups, g)
		}
	}
	for range w.pick("subnets", 5) {
		s := policy.Subnet{Key: w.key("subnet"), Prefixes: []netip.Prefix{w.prefix("block")}}
		if w.odds("second block", 3) {
			s.Prefixes = append(s.Prefixes, w.prefix("block"))
		}
		s.VPC = policy.Key{Namespace: s.Key.Namespace, Name: []string{policy.DefaultVPC, "v"}[w.pick("vpc", 2)]}
		if fresh(policy.KindSubnet, s.Key) {
			o.Subnets = append(o.Subnets, s)
		}
	}
	for range w.pick("vms", 6) {
		vm := policy.VirtualMachine{Key: w.key("vm"), UID: []string{"", "u1", "u2"}[w.pick("uid", 3)]}
		for i := range 1 + w.pick("interfaces", 2) {
			n := policy.Interface{ID: []string{"i1", "i2", "i3"}[(w.pick("id", 2)+i)%3], MAC: w.mac("mac")}
			if i > 0 && n.ID == vm.Interfaces[0].ID {
				continue
			}
			for range w.pick("addrs", 3) {
				if a := w.addr("addr"); !slices.Contains(n.Addrs, a) {
					n.Addrs = append(n.Addrs, a)
				}
			}
			slices.SortFunc(n.Addrs, netip.Addr.Compare)
			if w.odds("subnetRef", 3) {
				n.Subnet = policy.Key{Namespace: vm.Key.Namespace, Name: w.key("subnetRef").Name}
			}
			vm.Interfaces = append(vm.Interfaces, n)
		}
		for range w.pick("memberships", 3) {
			if k := (policy.Key{Namespace: vm.Key.Namespace, Name: w.key("membership").Name}); !slices.Contains(vm.Groups, k) {
				vm.Groups = append(vm.Groups, k)
			}
		}
		if fresh(policy.KindVirtualMachine, vm.Key) {
			o.VirtualMachines = append(o.VirtualMachines, vm)
		}
	}
	return o
}

func (w world) vifs() []policy.VIF {
	var vifs []policy.VIF
	for i := range 1 + w.pick("vifs", 5) {
		vifs = append(vifs, policy.VIF{
			Name: fmt.Sprintf("tap%d", i), OFPort: uint16(1 + w.pick("ofport", 6)), Tag: uint16(w.pick("tag", 2)),
			IfaceID: []string{"", "i1", "i2", "i3", "else"}[w.pick("iface-id", 5)],
			VMID:    []string{"", "u1", "u2"}[w.pick("vm-id", 3)], MAC: w.mac("attached"),
		})
	}
	return vifs
}

// connection draws from the addresses of the endpoints more often than not:
// most others are denied for being spoofed.
func (w world) connection(m *policy.Model) policy.Connection {
	end := func(label string) policy.Party {
		p := policy.Party{Addr: w.addr(label)}
		if w.odds(label+" elsewhere", 3) {
			return p
		}
		e := m.Endpoints[w.pick(label+" port", len(m.Endpoints))]
		p.OFPort = e.OFPort
		if len(e.Addrs) > 0 && !w.odds(label+" foreign", 5) {
			p.Addr = e.Addrs[w.pick(label+" own", len(e.Addrs))]
		}
		return p
	}
	c := policy.Connection{
		Originator: end("originator"), Responder: end("responder"),
		Protocol: []uint8{ipICMP, ipTCP, ipUDP, ipICMPv6, 50}[w.pick("number", 5)], Port: uint16(1 + w.pick("port", 8)),
	}
	if c.Originator.Addr.Is4() != c.Responder.Addr.Is4() {
		c.Responder.Addr = c.Originator.Addr.Next()
	}
	return c
}

// TestModelAgreesWithEvaluate compares the model, as judge reads it, with
// Evaluate: two pieces of code that were written separately from the same
// meaning.
func TestModelAgreesWithEvaluate(t *testing.T) {
	allowed, denied := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := world{t}
		p, _ := policy.New([]policy.Objects{w.objects()}, policy.Options{DefaultContent: policy.DefaultContent(w.pick("content", 4))})
		vifs := w.vifs()
		m := once(p, vifs)
		wellFormed(t, m)
		for range 30 {
			if agree(t, p, vifs, m, w.connection(m)) {
				allowed++
			} else {
				denied++
			}
		}
	})
	t.Logf("%d allowed, %d denied", allowed, denied)
}

// agree checks that a model and Evaluate judge a connection alike, and returns
// whether it is allowed.
func agree(t *rapid.T, p *policy.Policy, vifs []policy.VIF, m *policy.Model, c policy.Connection) bool {
	want, got := verdictOf(policy.Evaluate(p, vifs, c)), judge(m, c)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%v from %d to %d:\nevaluate: %+v\nmodel:    %+v\nvifs: %+v\nendpoints: %+v\nmembers: %+v\ngroups: %+v",
			c, c.Originator.OFPort, c.Responder.OFPort, want, got, vifs, m.Endpoints, m.Members, m.Groups)
	}
	return want.Allowed
}

// wellFormed checks the order that the documentation of Model promises.
func wellFormed(t *rapid.T, m *policy.Model) {
	for i := 1; i < len(m.Endpoints); i++ {
		if m.Endpoints[i-1].OFPort >= m.Endpoints[i].OFPort {
			t.Fatalf("endpoints out of order: %+v", m.Endpoints)
		}
	}
	for i := 1; i < len(m.Members); i++ {
		a, b := m.Members[i-1], m.Members[i]
		if a.VPC > b.VPC || (a.VPC == b.VPC && a.Addr.Compare(b.Addr) >= 0) {
			t.Fatalf("members out of order or twice: %+v", m.Members)
		}
	}
	used := make(map[string]bool)
	for _, e := range m.Endpoints {
		for i, id := range e.Groups {
			used[id] = true
			if i > 0 && e.Groups[i-1] >= id {
				t.Fatalf("groups out of order: %v", e.Groups)
			}
		}
		if !e.Known && (len(e.Groups) > 0 || len(e.Addrs) > 0 || e.VPC != "" || !e.VM.IsZero()) {
			t.Fatalf("unknown endpoint with content: %+v", e)
		}
	}
	for i, g := range m.Groups {
		if !used[g.ID] || (i > 0 && m.Groups[i-1].ID >= g.ID) {
			t.Fatalf("groups out of order or unused: %+v", m.Groups)
		}
	}
	if len(used) != len(m.Groups) {
		t.Fatalf("groups missing: %v", used)
	}
}

// TestResolveIgnoresOrder checks that the order of files, objects and ports does
// not matter.
func TestResolveIgnoresOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{t}
		o, vifs := w.objects(), w.vifs()
		p, _ := policy.New([]policy.Objects{o}, policy.Options{})
		turned := policy.Objects{
			Groups:          rapid.Permutation(o.Groups).Draw(t, "groups"),
			Subnets:         rapid.Permutation(o.Subnets).Draw(t, "subnets"),
			VirtualMachines: rapid.Permutation(o.VirtualMachines).Draw(t, "VMs"),
		}
		files := []policy.Objects{{VirtualMachines: turned.VirtualMachines}, {Groups: turned.Groups}, {Subnets: turned.Subnets}}
		q, _ := policy.New(files, policy.Options{})
		a, b := once(p, vifs), once(q, rapid.Permutation(vifs).Draw(t, "vifs"))
		if !reflect.DeepEqual(a, b) || !reflect.DeepEqual(warnings(p), warnings(q)) {
			t.Fatalf("%+v\n%+v", a, b)
		}
	})
}
