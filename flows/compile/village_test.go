package compile_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// A village is a small model; every part of it can change.
type village struct {
	rules   map[string][]policy.ResolvedRule
	ports   map[uint16]*policy.Endpoint
	members map[string]*policy.Member // by VPC and address
	host    flows.Host
}

var (
	villageGroups = []string{"d/a", "d/b", "d/c", "d/e"}
	villageVPCs   = []string{"d/v", "d/v", "d/w", ""}
)

func (d dice) village() *village {
	v := &village{map[string][]policy.ResolvedRule{}, map[uint16]*policy.Endpoint{}, map[string]*policy.Member{}, flows.Host{Infra: hostInfra}}
	for _, id := range villageGroups {
		for range d.IntN(4) {
			v.rules[id] = append(v.rules[id], d.villageRule())
		}
	}
	for range 5 {
		d.plug(v)
		d.enrol(v)
		d.enrol(v)
	}
	return v
}

// villageRule draws one of few rules.
func (d dice) villageRule() policy.ResolvedRule {
	r := policy.ResolvedRule{Direction: one(d, policy.Egress, policy.Ingress), Protocol: one(d, policy.All, policy.TCP, policy.UDP),
		Ports: policy.PortRange{Last: 65535}}
	if r.Protocol != policy.All && d.odds(2) {
		r.Ports = one(d, policy.PortRange{First: 80, Last: 80}, policy.PortRange{First: 80, Last: 90})
	}
	switch d.IntN(4) {
	case 0:
		r.Remote = policy.ResolvedRemote{Kind: policy.ResolvedPrefixes, Prefixes: []netip.Prefix{netip.MustParsePrefix(one(d, "10.1.0.0/16", "fd01::/16"))}}
	case 1, 2:
		r.Remote = policy.ResolvedRemote{Kind: policy.ResolvedMembers, Group: one(d, villageGroups...)}
	}
	return r
}

func (d dice) some(of []string, most int) []string {
	var out []string
	for range d.IntN(most + 1) {
		if g := one(d, of...); !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	slices.Sort(out)
	return out
}

// plug draws the endpoint at a port.
func (d dice) plug(v *village) string {
	p := uint16(1 + d.IntN(5))
	e := &policy.Endpoint{VIF: fmt.Sprintf("tap%d", p), OFPort: p, Tag: one[uint16](d, 0, 0, 7), MAC: policy.MAC{2, 0, 0, 0, byte(d.IntN(2)), byte(p)},
		Known: true, VPC: one(d, villageVPCs...), Groups: d.some(villageGroups, 2)}
	v.ports[p] = e
	return fmt.Sprintf("port %d is that of %s in VLAN %d, VPC %q, groups %v", p, e.MAC, e.Tag, e.VPC, e.Groups)
}

// enrol draws which groups an address is in.
func (d dice) enrol(v *village) string {
	n := byte(d.IntN(6))
	m := &policy.Member{VPC: one(d, "d/v", "d/w"), Addr: netip.AddrFrom4([4]byte{10, 0, 0, n}), Groups: d.some(villageGroups, 3),
		VM: policy.Key{Namespace: "d", Name: fmt.Sprint("vm", n)}}
	v.members[m.VPC+" "+m.Addr.String()] = m
	return fmt.Sprintf("%s in %s is in %v", m.Addr, m.VPC, m.Groups)
}

// change changes one thing and returns what it changed.
func (d dice) change(v *village) string {
	id, p := one(d, villageGroups...), uint16(1+d.IntN(5))
	e := v.ports[p]
	if e != nil {
		now := *e
		e = &now
	}
	switch d.IntN(14) {
	case 0, 1:
		v.rules[id] = append(slices.Clone(v.rules[id]), d.villageRule())
		return "a rule more in " + id
	case 2, 3:
		if n := len(v.rules[id]); n > 0 {
			i := d.IntN(n)
			v.rules[id] = slices.Delete(slices.Clone(v.rules[id]), i, i+1)
		}
		return "a rule less in " + id
	case 4: // two groups exchange their rules and members
		to := one(d, villageGroups...)
		v.rename(id, to)
		return id + " and " + to + " change names"
	case 5:
		return d.plug(v)
	case 6:
		delete(v.ports, p)
		return fmt.Sprintf("port %d is unplugged", p)
	case 7, 8, 9:
		if e != nil {
			if e.Groups = d.some(villageGroups, 2); d.odds(3) {
				e.Groups = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(e.Groups), v.ports[p].Groups...))))
			}
			v.ports[p] = e
			return fmt.Sprintf("port %d is in %v", p, e.Groups)
		}
	case 10:
		if e != nil {
			e.VPC = one(d, villageVPCs...)
			v.ports[p] = e
			return fmt.Sprintf("port %d is in VPC %q", p, e.VPC)
		}
	case 11:
		k := one(d, "d/v", "d/w") + " 10.0.0." + fmt.Sprint(d.IntN(6))
		delete(v.members, k)
		return k + " is gone"
	case 12:
		if d.odds(3) {
			v.host.Userspace = !v.host.Userspace
			return "another datapath"
		}
		v.host.Infra = slices.Clone(v.host.Infra)
		i := d.IntN(len(v.host.Infra))
		v.host.Infra[i].Trunks, v.host.Infra[i].Native = one(d, nil, []uint16{7}, []uint16{7, 9}), one[uint16](d, 0, 7)
		return "other infrastructure"
	default:
		return d.enrol(v)
	}
	return "nothing"
}

func (v *village) rename(a, b string) {
	other := map[string]string{a: b, b: a}
	names := func(ids []string) []string {
		out := slices.Clone(ids)
		for i, id := range out {
			if to, ok := other[id]; ok {
				out[i] = to
			}
		}
		slices.Sort(out)
		return out
	}
	v.rules[a], v.rules[b] = v.rules[b], v.rules[a]
	for id, rules := range v.rules {
		rules = slices.Clone(rules)
		for i := range rules {
			if to, ok := other[rules[i].Remote.Group]; ok {
				rules[i].Remote.Group = to
			}
		}
		v.rules[id] = rules
	}
	for p, e := range v.ports {
		now := *e
		now.Groups = names(e.Groups)
		v.ports[p] = &now
	}
	for k, m := range v.members {
		now := *m
		now.Groups = names(m.Groups)
		v.members[k] = &now
	}
}

// model returns the model of the village, as package resolve would make it.
func (v *village) model() *policy.Model {
	m, used := &policy.Model{}, map[string]bool{}
	for _, p := range slices.Sorted(maps.Keys(v.ports)) {
		m.Endpoints = append(m.Endpoints, *v.ports[p])
		for _, id := range v.ports[p].Groups {
			used[id] = true
		}
	}
	for _, id := range villageGroups {
		if used[id] {
			g := policy.RuleGroup{ID: id, Rules: slices.Clone(v.rules[id])}
			for i := range g.Rules {
				g.Rules[i].Group, g.Rules[i].Name = id, fmt.Sprintf("#%d", i)
			}
			m.Groups = append(m.Groups, g)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(v.members)) {
		m.Members = append(m.Members, *v.members[k])
	}
	return m
}
