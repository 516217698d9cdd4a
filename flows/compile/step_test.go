package compile_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
)

// crowd returns the shape that peers are measured with: one group that refers to
// itself, six rules, and members, some of them local.
func crowd(members, local int) *policy.Model {
	const group = "default/all"
	m := &policy.Model{}
	rule := func(name string, d policy.Direction, p policy.Protocol, port uint16, kind policy.ResolvedKind) policy.ResolvedRule {
		r := policy.ResolvedRule{Group: group, Name: name, Direction: d, Protocol: p, Ports: policy.PortRange{Last: 65535}, Remote: policy.ResolvedRemote{Kind: kind}}
		if port > 0 {
			r.Ports = policy.PortRange{First: port, Last: port}
		}
		if kind == policy.ResolvedMembers {
			r.Remote.Group = group
		}
		return r
	}
	m.Groups = []policy.RuleGroup{{ID: group, Rules: []policy.ResolvedRule{
		rule("out", policy.Egress, policy.All, 0, policy.ResolvedAnywhere),
		rule("ssh", policy.Ingress, policy.TCP, 22, policy.ResolvedMembers),
		rule("http", policy.Ingress, policy.TCP, 80, policy.ResolvedMembers),
		rule("https", policy.Ingress, policy.TCP, 443, policy.ResolvedMembers),
		rule("dns", policy.Ingress, policy.UDP, 53, policy.ResolvedMembers),
		rule("ping", policy.Ingress, policy.ICMP, 0, policy.ResolvedMembers),
	}}}
	for i := range members {
		x := crowdMember(i)
		m.Members = append(m.Members, x)
		if i < local {
			m.Endpoints = append(m.Endpoints, crowdEndpoint(i, x))
		}
	}
	return m
}

func crowdMember(i int) policy.Member {
	return policy.Member{VPC: "default/default", Addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}),
		Groups: []string{"default/all"}, VM: policy.Key{Namespace: "default", Name: fmt.Sprintf("vm%d", i)}, Interface: fmt.Sprintf("vm%d", i)}
}

func crowdEndpoint(i int, m policy.Member) policy.Endpoint {
	return policy.Endpoint{VIF: fmt.Sprintf("tap%d", i), OFPort: uint16(i + 1), MAC: policy.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)},
		Addrs: []netip.Addr{m.Addr}, VM: m.VM, Known: true, VPC: m.VPC, Groups: m.Groups}
}

var crowdHost = flows.Host{Infra: []flows.InfraPort{{OFPort: flows.PortLocal}, {OFPort: 40000}}, Userspace: true}

// settled returns a compiler that has taken in a model, and the flows.
func settled(t testing.TB, m *policy.Model) (*compile.Compiler, *flows.Set) {
	t.Helper()
	c := compile.New()
	if _, _, err := c.Update(changeOf(&policy.Model{}, m), crowdHost); err != nil {
		t.Fatal(err)
	}
	set, err := c.Flows()
	if err != nil {
		t.Fatal(err)
	}
	return c, set
}

func TestFlowCount(t *testing.T) {
	count := func(m *policy.Model) int {
		_, set := settled(t, m)
		return set.Len()
	}
	atMost := func(what string, got, most int) {
		t.Helper()
		t.Logf("%s: %d flows", what, got)
		if got > most {
			t.Errorf("%s: %d flows, want %d at most", what, got, most)
		}
	}
	thousand := count(crowd(1000, 100))
	atMost("1,000 members, 100 of them local", thousand, 2550)
	atMost("10 members more", count(crowd(1010, 100))-thousand, 11)
	atMost("1,000 members, all local", count(crowd(1000, 1000)), 14_300)

	// Twenty classes and thirty masks of ports add up; they do not multiply.
	kinds := crowd(20, 20)
	for i := range kinds.Endpoints {
		kinds.Endpoints[i].Groups = []string{"default/all", fmt.Sprintf("default/g%02d", i)}
		kinds.Groups = append(kinds.Groups, policy.RuleGroup{ID: kinds.Endpoints[i].Groups[1]})
	}
	narrow := count(kinds)
	for i := range 3 {
		kinds.Groups[0].Rules[1+i].Ports = policy.PortRange{First: 1, Last: 65534 - uint16(i)}
	}
	atMost("20 kinds of VM, 3 rules for many ports", count(kinds)-narrow, 200)

	cidrs := crowd(50, 50)
	cidrs.Groups[0].Rules = nil
	for i := range 1000 {
		cidrs.Groups[0].Rules = append(cidrs.Groups[0].Rules, policy.ResolvedRule{Group: "default/all", Name: fmt.Sprintf("r%d", i),
			Direction: policy.Ingress, Protocol: policy.TCP, Ports: policy.PortRange{First: 443, Last: 443},
			Remote: policy.ResolvedRemote{Kind: policy.ResolvedPrefixes, Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, byte(i >> 8), byte(i), 0}), 24)}}})
	}
	atMost("1,000 rules with a CIDR each on 50 VMs", count(cidrs), 2000)
}

// TestStep counts what a change sends to the switch.
func TestStep(t *testing.T) {
	for _, size := range []struct{ members, local int }{{100, 10}, {1000, 100}, {5000, 100}, {1000, 1000}} {
		t.Run(fmt.Sprintf("members=%d,local=%d", size.members, size.local), func(t *testing.T) {
			m := crowd(size.members, size.local)
			c, installed := settled(t, m)
			step := func(what string, most int, change func(m *policy.Model)) {
				t.Helper()
				next := &policy.Model{}
				*next = *m
				next.Groups = []policy.RuleGroup{{ID: m.Groups[0].ID, Rules: append([]policy.ResolvedRule(nil), m.Groups[0].Rules...)}}
				next.Members = append([]policy.Member(nil), m.Members...)
				next.Endpoints = append([]policy.Endpoint(nil), m.Endpoints...)
				change(next)
				d, ok, err := c.Update(changeOf(m, next), crowdHost)
				if err != nil || !ok {
					t.Fatalf("%s: %v, %v", what, ok, err)
				}
				t.Logf("%s: %d added, %d modified, %d deleted", what, len(d.Add), len(d.Modify), len(d.Delete))
				if d.Len() > most || d.Empty() {
					t.Errorf("%s: %d changes, want 1 to %d:\n%s", what, d.Len(), most, d)
				}
				d.ApplyTo(installed)
				if err := asCompiled(c, next, crowdHost, installed); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				m = next
			}
			epochs := c.Epochs(1)
			step("a member joins", 1, func(m *policy.Model) { m.Members = append(m.Members, crowdMember(70_000)) })
			if c.Epochs(1) != epochs {
				t.Error("a member who joins raises an epoch")
			}
			// The member's flow goes. The class that lets the member in gets
			// another epoch: one flow goes, one comes and one changes.
			step("a member leaves", 4, func(m *policy.Model) { m.Members = m.Members[:len(m.Members)-1] })
			now := c.Epochs(1)
			if now[policy.Ingress] == epochs[policy.Ingress] || now[policy.Egress] != epochs[policy.Egress] {
				t.Errorf("a member who leaves made %v of %v", now, epochs)
			}
			step("a rule comes", 25, func(m *policy.Model) {
				r := m.Groups[0].Rules[1]
				r.Name, r.Ports = "more", policy.PortRange{First: 8080, Last: 8080}
				m.Groups[0].Rules = append(m.Groups[0].Rules, r)
			})
			step("a rule goes", 28, func(m *policy.Model) { m.Groups[0].Rules = m.Groups[0].Rules[:6] })
			step("a VM is plugged", 15, func(m *policy.Model) {
				x := crowdMember(80_000)
				m.Members = append(m.Members, x)
				e := crowdEndpoint(2000, x)
				m.Endpoints = append(m.Endpoints, e)
			})
			step("a VM is unplugged", 15, func(m *policy.Model) { m.Endpoints = m.Endpoints[:len(m.Endpoints)-1] })
		})
	}
}

// TestStepCrowded checks that the Compiler leaves rules to Full while one clause
// flow has no room for them, and goes on when there are fewer.
func TestStepCrowded(t *testing.T) {
	m := crowd(2, 1)
	rules := func(n int) []policy.ResolvedRule {
		var rs []policy.ResolvedRule
		for i := range n {
			r := policy.ResolvedRule{Group: "default/all", Name: fmt.Sprintf("r%d", i), Direction: policy.Ingress, Protocol: policy.TCP,
				Ports: policy.PortRange{First: 1, Last: 62}, Remote: policy.ResolvedRemote{Kind: policy.ResolvedPrefixes}}
			for j := range 3 {
				r.Remote.Prefixes = append(r.Remote.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + j), byte(i >> 8), byte(i), 0}), 24))
			}
			rs = append(rs, r)
		}
		return rs
	}
	m.Groups[0].Rules = rules(2046)
	c, installed := settled(t, m)
	for _, n := range []int{2047, 2048, 2049, 2050, 2048, 2047} {
		next := &policy.Model{}
		*next = *m
		next.Groups = []policy.RuleGroup{{ID: m.Groups[0].ID, Rules: rules(n)}}
		d, alone, err := c.Update(changeOf(m, next), crowdHost)
		if err != nil {
			t.Fatal(err)
		}
		if !alone {
			all, err := c.Flows()
			if err != nil {
				t.Fatal(err)
			}
			d = flows.Diff(all, installed)
		}
		d.ApplyTo(installed)
		if err := asCompiled(c, next, crowdHost, installed); err != nil {
			t.Fatalf("%d rules (alone: %v): %v", n, alone, err)
		}
		if before := len(m.Groups[0].Rules); alone != (max(n, before) <= 2048) {
			t.Errorf("%d rules after %d: alone %v", n, before, alone)
		}
		m = next
	}
}

// benchSteps makes two changes in turns, each the inverse of the other.
func benchSteps(b *testing.B, c *compile.Compiler, changes ...policy.ModelChange) {
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, ok, err := c.Update(changes[i%len(changes)], crowdHost); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	for _, members := range []int{100, 1000, 10_000, 100_000} {
		m := crowd(members, 100)
		b.Run(fmt.Sprintf("member/members=%d", members), func(b *testing.B) {
			c, _ := settled(b, m)
			x := crowdMember(200_000)
			joins := policy.ModelChange{Members: []policy.Change[policy.Member]{{After: &x}}}
			leaves := policy.ModelChange{Members: []policy.Change[policy.Member]{{Before: &x}}}
			benchSteps(b, c, joins, leaves)
		})
		b.Run(fmt.Sprintf("rule/members=%d", members), func(b *testing.B) {
			c, _ := settled(b, m)
			more := m.Groups[0]
			r := more.Rules[1]
			r.Ports = policy.PortRange{First: 8080, Last: 8080}
			more.Rules = append(more.Rules[:6:6], r)
			comes := policy.ModelChange{Groups: []policy.Change[policy.RuleGroup]{{Before: &m.Groups[0], After: &more}}}
			goes := policy.ModelChange{Groups: []policy.Change[policy.RuleGroup]{{Before: &more, After: &m.Groups[0]}}}
			benchSteps(b, c, comes, goes)
		})
		b.Run(fmt.Sprintf("all/members=%d", members), func(b *testing.B) {
			c, _ := settled(b, m)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, err := c.Flows(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
