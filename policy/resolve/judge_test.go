package resolve

import (
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// judgement is the part of a Verdict that a Model gives as well.
type judgement struct {
	Allowed                      bool
	EgressApplies, EgressAllowed bool
	IngressApplies, IngressOK    bool
	EgressRules, IngressRules    []string
}

func verdictOf(v policy.Verdict) judgement {
	return judgement{
		v.Allowed, v.Egress.Applies, v.Egress.Allowed, v.Ingress.Applies, v.Ingress.Allowed, v.Egress.Rules, v.Ingress.Rules,
	}
}

// judge judges a connection by a Model, as the compiler of flows must read it. It
// shares no code with Evaluate.
func judge(m *policy.Model, c policy.Connection) judgement {
	var j judgement
	j.EgressApplies, j.EgressAllowed, j.EgressRules = half(m, c, policy.Egress)
	j.IngressApplies, j.IngressOK, j.IngressRules = half(m, c, policy.Ingress)
	j.Allowed = j.EgressAllowed && j.IngressOK
	return j
}

func half(m *policy.Model, c policy.Connection, dir policy.Direction) (applies, allowed bool, rules []string) {
	self, other := c.Originator, c.Responder
	if dir == policy.Ingress {
		self, other = c.Responder, c.Originator
	}
	if self.OFPort == 0 {
		return false, true, nil
	}
	i := slices.IndexFunc(m.Endpoints, func(e policy.Endpoint) bool { return e.OFPort == self.OFPort })
	if i < 0 {
		return true, false, nil
	}
	e := m.Endpoints[i]
	six := len(e.Addrs) > 0 && e.Addrs[len(e.Addrs)-1].Is6() // IPv4 sorts first
	if dir == policy.Egress && !slices.Contains(e.Addrs, self.Addr) && !(six && self.Addr.String() == linkLocalOf(uint16(e.MAC[5])) && e.MAC[0] == 2) {
		return true, false, nil
	}
	for _, id := range e.Groups {
		g := slices.IndexFunc(m.Groups, func(g policy.RuleGroup) bool { return g.ID == id })
		for _, r := range m.Groups[g].Rules { // panics if the group is missing: so it must not be
			if r.Direction == dir && fits(r, c) && matches(m, r.Remote, e.VPC, other.Addr) {
				rules = append(rules, r.Group+"/"+r.Name)
			}
		}
	}
	slices.Sort(rules)
	return true, len(rules) > 0, slices.Compact(rules)
}

func fits(r policy.ResolvedRule, c policy.Connection) bool {
	want := map[policy.Protocol]uint8{policy.TCP: 6, policy.UDP: 17, policy.ICMP: 1}[r.Protocol]
	if r.Protocol == policy.ICMP && c.Responder.Addr.Is6() {
		want = 58
	}
	return r.Protocol == policy.All || (want == c.Protocol && (r.Protocol == policy.ICMP || r.Ports.Contains(c.Port)))
}

func matches(m *policy.Model, r policy.ResolvedRemote, vpc string, a netip.Addr) bool {
	switch r.Kind {
	case policy.ResolvedAnywhere:
		return true
	case policy.ResolvedPrefixes:
		return slices.ContainsFunc(r.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	case policy.ResolvedMembers:
		return slices.ContainsFunc(m.Members, func(member policy.Member) bool {
			return member.VPC == vpc && member.Addr == a && slices.Contains(member.Groups, r.Group)
		})
	}
	return false
}
