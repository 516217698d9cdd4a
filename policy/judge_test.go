package policy

import (
	"net/netip"
	"slices"
)

// judgement is the part of a Verdict that a Model gives as well.
type judgement struct {
	Allowed                      bool
	EgressApplies, EgressAllowed bool
	IngressApplies, IngressOK    bool
	EgressRules, IngressRules    []string
}

func verdictOf(v Verdict) judgement {
	return judgement{
		v.Allowed, v.Egress.Applies, v.Egress.Allowed, v.Ingress.Applies, v.Ingress.Allowed, v.Egress.Rules, v.Ingress.Rules,
	}
}

// judge is the plain reading of a Model, as the compiler of flows must read
// it. It shares nothing with Evaluate.
func (m *Model) judge(c Connection) judgement {
	var j judgement
	j.EgressApplies, j.EgressAllowed, j.EgressRules = m.half(c, Egress)
	j.IngressApplies, j.IngressOK, j.IngressRules = m.half(c, Ingress)
	j.Allowed = j.EgressAllowed && j.IngressOK
	return j
}

func (m *Model) half(c Connection, dir Direction) (applies, allowed bool, rules []string) {
	self, other := c.Originator, c.Responder
	if dir == Ingress {
		self, other = c.Responder, c.Originator
	}
	if self.OFPort == 0 {
		return false, true, nil
	}
	i := slices.IndexFunc(m.Endpoints, func(e Endpoint) bool { return e.OFPort == self.OFPort })
	if i < 0 {
		return true, false, nil
	}
	e := m.Endpoints[i]
	six := len(e.Addrs) > 0 && e.Addrs[len(e.Addrs)-1].Is6() // IPv4 sorts first
	if dir == Egress && !slices.Contains(e.Addrs, self.Addr) && !(six && self.Addr.String() == linkLocalOf(uint16(e.MAC[5])) && e.MAC[0] == 2) {
		return true, false, nil
	}
	for _, id := range e.Groups {
		g := slices.IndexFunc(m.Groups, func(g RuleGroup) bool { return g.ID == id })
		for _, r := range m.Groups[g].Rules { // panics if the group is missing: so it must not be
			if r.Direction == dir && r.fits(c) && m.matches(r.Remote, e.VPC, other.Addr) {
				rules = append(rules, r.Group+"/"+r.Name)
			}
		}
	}
	slices.Sort(rules)
	return true, len(rules) > 0, slices.Compact(rules)
}

func (r ResolvedRule) fits(c Connection) bool {
	want := map[Protocol]uint8{TCP: 6, UDP: 17, ICMP: 1}[r.Protocol]
	if r.Protocol == ICMP && c.Responder.Addr.Is6() {
		want = 58
	}
	return r.Protocol == All || (want == c.Protocol && (r.Protocol == ICMP || r.Ports.Contains(c.Port)))
}

func (m *Model) matches(r ResolvedRemote, vpc string, a netip.Addr) bool {
	switch r.Kind {
	case ResolvedAnywhere:
		return true
	case ResolvedPrefixes:
		return slices.ContainsFunc(r.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	case ResolvedMembers:
		return slices.ContainsFunc(m.Members, func(member Member) bool {
			return member.VPC == vpc && member.Addr == a && slices.Contains(member.Groups, r.Group)
		})
	}
	return false
}
