package compile_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// A world is a policy and the host that enforces it; exact_test.go judges its
// packets. A world consists of pieces of YAML, so that it can be made smaller
// piece by piece, and reaches the compiler as YAML, like a policy in production.
type world struct {
	content   policy.DefaultContent
	userspace bool // the datapath's
	dhcp      []netip.Addr
	groups    []worldGroup
	subnets   []worldSubnet
	vms       []worldVM
	vifs      []policy.VIF
	epochs    map[uint16]uint32
}

type worldGroup struct {
	ns, name string
	rules    []worldRule
}

// worldRule is the YAML of a rule, and the parts of the rule that the choice of
// connections uses.
type worldRule struct {
	yaml        string
	proto       uint8 // 0: all
	first, last uint16
	prefix      netip.Prefix
}

type worldSubnet struct {
	ns, name, vpc string
	blocks        []netip.Prefix
}

type worldVM struct {
	ns, name, uid string
	ifaces        []worldIface
	groups        []string
}

type worldIface struct {
	id, mac, subnet string
	addrs           []netip.Addr
}

// yaml returns the policy as an operator would write it.
func (w *world) yaml() string {
	var b strings.Builder
	head := func(api, kind, ns, name, more string) {
		fmt.Fprintf(&b, "---\napiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s%s}\nspec:\n", api, kind, name, ns, more)
	}
	for _, g := range w.groups {
		head(manifest.NetworkingAPIVersion, "SecurityGroup", g.ns, g.name, "")
		b.WriteString("  rules:\n")
		for _, r := range g.rules {
			b.WriteString("  - {" + r.yaml + "}\n")
		}
	}
	for _, s := range w.subnets {
		head(manifest.NetworkingAPIVersion, "Subnet", s.ns, s.name, "")
		for _, p := range s.blocks {
			fmt.Fprintf(&b, "  ipv%dCidrBlock: %q\n", map[bool]int{true: 4, false: 6}[p.Addr().Is4()], p)
		}
		if s.vpc != "" {
			b.WriteString("  vpcRef: {name: " + s.vpc + "}\n")
		}
	}
	for _, vm := range w.vms {
		uid := ""
		if vm.uid != "" {
			uid = ", uid: " + vm.uid
		}
		head(manifest.ComputeAPIVersion, "VirtualMachine", vm.ns, vm.name, uid)
		b.WriteString("  networking:\n    interfaces:\n")
		for _, n := range vm.ifaces {
			var in []string
			if n.id != "" {
				in = append(in, "id: "+n.id)
			}
			if n.mac != "" {
				in = append(in, fmt.Sprintf("macAddress: %q", n.mac))
			}
			if n.subnet != "" {
				in = append(in, "subnetRef: {name: "+n.subnet+"}")
			}
			var addrs []string
			for _, a := range n.addrs {
				addrs = append(addrs, fmt.Sprintf("%q", a))
			}
			in = append(in, "ipAddresses: ["+strings.Join(addrs, ", ")+"]")
			b.WriteString("    - {" + strings.Join(in, ", ") + "}\n")
		}
		if len(vm.groups) > 0 {
			b.WriteString("    securityGroups:\n      securityGroupMemberships:\n")
			for _, g := range vm.groups {
				b.WriteString("      - name: " + g + "\n")
			}
		}
	}
	return b.String()
}

func (w *world) String() string {
	var b strings.Builder
	b.WriteString(w.yaml())
	fmt.Fprintf(&b, "# default group: %s; userspace datapath: %v\n", w.content, w.userspace)
	for _, v := range w.vifs {
		fmt.Fprintf(&b, "# port %d: VLAN %d, iface-id %q, vm-id %q, attached-mac %s, epoch %d\n",
			v.OFPort, v.Tag, v.IfaceID, v.VMID, v.MAC, w.epochs[v.OFPort])
	}
	return b.String()
}

// load decodes and resolves the YAML as the agent does.
func (w *world) load() (*policy.Policy, error) {
	objects, problems := manifest.Decode(manifest.File{Name: "world.yaml", Data: []byte(w.yaml())})
	p, more := policy.New([]policy.Objects{objects}, policy.Options{DefaultContent: w.content})
	for _, problem := range append(problems, more...) {
		if !problem.Warning {
			return nil, problem
		}
	}
	return p, nil
}

// compiled resolves the world and returns the flows that Full makes of it.
func (w *world) compiled(t testing.TB) (*loaded, *flows.Set) {
	t.Helper()
	l, err := w.resolve()
	if err != nil {
		t.Fatal(err)
	}
	set, err := compile.Full(l.input())
	if err != nil {
		t.Fatal(err)
	}
	return l, set
}

// The host is the same in all worlds: VM ports in four networks with the same
// MACs in each, and infrastructure ports of every sort.
type hostPort struct {
	ofport, tag uint16
	mac         policy.MAC
}

var hostPorts = func() (ps []hostPort) {
	for tag, ofports := range map[uint16][]uint16{0: {1, 2, 3, 4, flows.MaxOFPort}, 10: {11, 12, 13, 14}, 20: {21, 22}, 30: {31, 32}} {
		for i, p := range ofports {
			ps = append(ps, hostPort{p, tag, policy.MAC{2, 0, 0, 0, 0, byte(i + 1)}})
		}
	}
	slices.SortFunc(ps, func(a, b hostPort) int { return int(a.ofport) - int(b.ofport) })
	return ps
}()

const (
	trunkPort   = 100 // all VLANs
	limitedPort = 101 // VLAN 10 alone, tagged
	accessPort  = 102 // VLAN 20
	nativePort  = 103 // VLAN 30, without tag
	localPort   = 65534
)

var hostInfra = []flows.InfraPort{
	{OFPort: flows.PortLocal},
	{OFPort: trunkPort},
	{OFPort: limitedPort, Trunks: []uint16{10}},
	{OFPort: accessPort, Access: true, Native: 20},
	{OFPort: nativePort, Native: 30, Trunks: []uint16{30}},
}

// where says at which infrastructure ports a network is, and with which tag.
func where(network uint16) []output {
	out := []output{{trunkPort, network}, {localPort, network}}
	switch network {
	case 10:
		out = append(out, output{limitedPort, 10})
	case 20:
		out = append(out, output{accessPort, 0})
	case 30:
		out = append(out, output{nativePort, 0})
	}
	return out
}

// dice draws worlds. There are few names, addresses and ports, so that everything
// that can overlap does.
type dice struct{ *rand.Rand }

func newDice(seed uint64) dice { return dice{rand.New(rand.NewPCG(seed, 0x5e6))} }

func (d dice) odds(n int) bool { return d.IntN(n) == 0 }

func one[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

var namespaces = []string{"default", "blue"}

func (d dice) groupName() string {
	return one(d, "web", "web", "app", "app", "db", "ops", policy.DefaultGroupName, "missing")
}

func (d dice) subnetName() string { return one(d, "s0", "s1", "s2", "missing") }

// addr draws the address of a VM.
func (d dice) addr(v6 bool) netip.Addr {
	net, host := byte(d.IntN(2)), byte(1+d.IntN(14))
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 7: net, 15: host})
	}
	return netip.AddrFrom4([4]byte{10, 0, net, host})
}

func (d dice) prefix(v6 bool) netip.Prefix {
	a := d.addr(v6)
	bits := one(d, 0, 1, 7, 8, 15, 23, 24, 25, 28, 29, 30, 31, 32)
	if v6 {
		bits = one(d, 0, 1, 7, 8, 32, 56, 63, 64, 65, 120, 125, 126, 127, 128)
	}
	p, _ := a.Prefix(bits)
	return p
}

func (d dice) port() uint16 {
	return one(d, 1, 2, 22, 79, 80, 81, 443, 1023, 1024, 8080, 32767, 32768, 65534, 65535, uint16(1+d.IntN(65535)))
}

func (d dice) rule(i int) worldRule {
	r := worldRule{last: 0xffff}
	var in []string
	if d.odds(2) {
		in = append(in, fmt.Sprintf("name: r%d", i))
	}
	in = append(in, "direction: "+one(d, "Ingress", "Egress"))
	switch d.IntN(9) {
	case 0:
	case 1:
		in = append(in, "protocol: All")
	case 2, 3:
		in, r.proto = append(in, "protocol: ICMP"), flows.ProtoICMP
	default:
		word := one(d, "TCP", "UDP")
		in, r.proto = append(in, "protocol: "+word), map[string]uint8{"TCP": flows.ProtoTCP, "UDP": flows.ProtoUDP}[word]
		a, b := d.port(), d.port()
		if d.odds(3) {
			b = a + min(uint16(d.IntN(9)), 65535-a)
		}
		r.first, r.last = min(a, b), max(a, b)
		switch d.IntN(5) {
		case 0:
			r.first, r.last = 0, 65535
		case 1:
			in = append(in, fmt.Sprintf("port: %d, endPort: %d", r.first, r.last))
		case 2:
			in = append(in, fmt.Sprintf("port: \"%d-%d\"", r.first, r.last))
		default:
			r.last = r.first
			in = append(in, fmt.Sprintf("port: %d", r.first))
		}
	}
	switch d.IntN(12) {
	case 0:
	case 1, 2, 3, 4:
		r.prefix = d.prefix(d.odds(3))
		text := r.prefix.String()
		if r.prefix.IsSingleIP() && d.odds(2) {
			text = r.prefix.Addr().String()
		}
		in = append(in, fmt.Sprintf("remote: {address: {%s: %q}}", one(d, "IPAddressOrCIDR", "ipAddressOrCIDR"), text))
	case 5, 6, 7, 8, 9, 10:
		in = append(in, "remote: {securityGroupRef: {name: "+d.groupName()+"}}")
	case 11:
		in = append(in, "remote: {subnetRef: {name: "+d.subnetName()+"}}")
	}
	r.yaml = strings.Join(in, ", ")
	return r
}

func (d dice) group(ns, name string) worldGroup {
	g := worldGroup{ns: ns, name: name}
	for i := range d.IntN(6) {
		g.rules = append(g.rules, d.rule(i))
	}
	return g
}

func (d dice) memberships() (groups []string) {
	for range one(d, 0, 1, 1, 2, 2, 3) {
		if g := d.groupName(); !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	return groups
}

func (d dice) addrs() (as []netip.Addr) {
	for _, v6 := range []bool{false, true} {
		for range one(d, 0, 1, 1, 1, 2) {
			if a := d.addr(v6); !slices.Contains(as, a) {
				as = append(as, a)
			}
		}
	}
	return as
}

func (d dice) world() *world {
	w := &world{content: one(d, policy.OwnSubnet, policy.OwnSubnet, policy.WholeVPC, policy.EgressOnly, policy.Nothing), userspace: d.odds(2)}
	var ids, uids []string
	for _, ns := range namespaces {
		for _, name := range []string{"web", "app", "db", "ops", policy.DefaultGroupName} {
			if name == policy.DefaultGroupName && !d.odds(4) || d.odds(6) {
				continue
			}
			w.groups = append(w.groups, d.group(ns, name))
		}
		for i := range d.IntN(4) {
			s := worldSubnet{ns: ns, name: fmt.Sprintf("s%d", i), vpc: one(d, "", "", "", "v")}
			for _, v6 := range []bool{false, true} {
				if !d.odds(4) || v6 && len(s.blocks) == 0 {
					p, _ := d.addr(v6).Prefix(map[bool][]int{false: {16, 24, 24, 28, 29}, true: {48, 64, 64, 124, 125}}[v6][d.IntN(5)])
					s.blocks = append(s.blocks, p)
				}
			}
			w.subnets = append(w.subnets, s)
		}
		for i := range 3 + d.IntN(6) {
			vm := worldVM{ns: ns, name: string(rune('a' + i)), groups: d.memberships()}
			if d.odds(3) {
				vm.uid = "u-" + ns + "-" + vm.name
				uids = append(uids, vm.uid)
			}
			for j := range one(d, 1, 1, 1, 2) {
				n := worldIface{addrs: d.addrs()}
				if j > 0 || !d.odds(3) {
					n.id = fmt.Sprintf("%s-%s-%d", ns, vm.name, j)
				}
				if d.odds(4) {
					n.subnet = d.subnetName()
				}
				if d.odds(12) {
					n.mac = fmt.Sprintf("02:00:00:00:01:%02x", d.IntN(4))
				}
				ids = append(ids, n.id)
				if n.id == "" {
					ids[len(ids)-1] = vm.name
				}
				vm.ifaces = append(vm.ifaces, n)
			}
			w.vms = append(w.vms, vm)
		}
	}
	d.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, hp := range hostPorts {
		if d.odds(6) {
			continue
		}
		v := policy.VIF{Name: fmt.Sprintf("vm%d", hp.ofport), OFPort: hp.ofport, Tag: hp.tag, MAC: hp.mac}
		switch n := d.IntN(12); {
		case n == 0:
			v.IfaceID = "nobody"
		case n == 1 && len(uids) > 0:
			v.VMID = one(d, uids...)
		case len(ids) > 0:
			v.IfaceID, ids = ids[0], ids[1:]
		}
		w.vifs = append(w.vifs, v)
	}
	w.epochs = map[uint16]uint32{}
	for _, v := range w.vifs {
		w.epochs[v.OFPort] = one[uint32](d, 1, 2, 3, 0x100, 0x7fff, 0x8000, 0xfffe, 0x10000, 0xfffffffe)
	}
	return w
}

func (w *world) clone() *world {
	c := *w
	c.groups, c.subnets, c.vms, c.vifs = slices.Clone(w.groups), slices.Clone(w.subnets), slices.Clone(w.vms), slices.Clone(w.vifs)
	for i := range c.groups {
		c.groups[i].rules = slices.Clone(c.groups[i].rules)
	}
	for i := range c.subnets {
		c.subnets[i].blocks = slices.Clone(c.subnets[i].blocks)
	}
	for i := range c.vms {
		c.vms[i].groups, c.vms[i].ifaces = slices.Clone(c.vms[i].groups), slices.Clone(c.vms[i].ifaces)
		for j := range c.vms[i].ifaces {
			c.vms[i].ifaces[j].addrs = slices.Clone(c.vms[i].ifaces[j].addrs)
		}
	}
	c.epochs = map[uint16]uint32{}
	for k, v := range w.epochs {
		c.epochs[k] = v
	}
	return &c
}

// edit changes something of the policy; addresses and ports stay.
func (d dice) edit(w *world) {
	switch d.IntN(6) {
	case 0, 1: // take a rule away, or change it
		g := &w.groups[d.IntN(len(w.groups))]
		if len(g.rules) == 0 {
			return
		}
		i := d.IntN(len(g.rules))
		if d.odds(2) {
			g.rules = slices.Delete(g.rules, i, i+1)
		} else {
			g.rules[i] = d.rule(100 + d.IntN(1<<20))
		}
	case 2:
		g := &w.groups[d.IntN(len(w.groups))]
		g.rules = append(g.rules, d.rule(100+d.IntN(1<<20)))
	case 3:
		w.vms[d.IntN(len(w.vms))].groups = d.memberships()
	case 4:
		if i := d.IntN(len(w.groups)); len(w.groups) > 1 {
			w.groups = slices.Delete(w.groups, i, i+1)
		}
	case 5:
		if len(w.subnets) > 0 {
			if i := d.IntN(len(w.subnets)); d.odds(2) {
				w.subnets = slices.Delete(w.subnets, i, i+1)
			} else {
				w.subnets[i].vpc = one(d, "", "v")
			}
		}
	}
}
