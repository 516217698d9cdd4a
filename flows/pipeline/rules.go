package pipeline

import (
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Tables 8 and 12, egress_rules and ingress_rules: whether the rules of the local
// VM's groups allow the connection.

// rules emits the frame of the side's table.
func (f frame) rules(s side) {
	f.deny(s.rules(), tableMiss, flows.Match{}, s.cause())
	if f.userspace {
		f.fragments(s)
	}
}

// fragments adds what the userspace datapath needs for fragments, see
// roleFragments.
//
// Before Open vSwitch 3.1.7 the datapath does not show the connection's ports with
// a later fragment. So a later fragment that no rule allows goes on to the
// commit all the same: there it is held back until the first fragment comes,
// which it does only if the rules allow the connection. (A flooded or a related
// fragment does not go on, because it is never committed.)
func (f frame) fragments(s side) {
	for _, family := range families {
		f.add(s.rules(), rulesFragment, flows.NewMatch(family, flows.LaterFragment(), flows.CT(flows.CTTrk, flows.CTRel),
			flows.RegIs(flows.RegFlood, flows.FloodNone)), s.allowed())
	}
}

// MaxConjunctions is the highest number of conjunctions that may share a clause
// flow. A message holds at most 65,535 bytes, and Open vSwitch drops the connection
// at 4,090 conjunctions in one flow. Rules that would make a flow longer than
// this go to the next lower priority, see RulesConjunction.
const MaxConjunctions = 2048

// Rule returns what a rule matches as the product of dimensions, each a choice of
// matches. With one dimension the rule is plain: each match allows by itself, see
// PlainRule. Locals are the numbers of the classes that have the rule, remotes the
// numbers of the sets with the rule's remote group. The result is nil if nothing
// can match yet.
func Rule(r *policy.ResolvedRule, locals, remotes []uint32) [][]flows.Match {
	dims := []choices{registerChoices(flows.RegLocal, locals)}
	switch r.Remote.Kind {
	case policy.ResolvedMembers:
		dims = append(dims, registerChoices(flows.RegRemote, remotes))
	case policy.ResolvedPrefixes:
		dims = append(dims, prefixChoices(side{r.Direction}, r.Remote.Prefixes))
	}
	if r.Protocol != policy.All {
		dims = append(dims, serviceChoices(r.Protocol, r.Ports))
	}
	if slices.ContainsFunc(dims, func(d choices) bool { return len(d) == 0 }) {
		return nil
	}
	return matchesOf(dims)
}

// PlainRule returns the flow of a match of a rule with one dimension.
func PlainRule(d policy.Direction, cookie flows.Cookie, match flows.Match) flows.Flow {
	s := side{d}
	return flows.NewFlow(s.rules(), rulesPlain, cookie, match, s.allowed())
}

// Conjunction returns the flow that a conjunction leads to.
func Conjunction(d policy.Direction, priority uint16, cookie flows.Cookie, id uint32) flows.Flow {
	s := side{d}
	return flows.NewFlow(s.rules(), priority, cookie, flows.NewMatch(flows.ConjID(id)), s.allowed())
}

// Clause returns the flow of the clauses that have a match in common. It sorts cs.
func Clause(d policy.Direction, priority uint16, match flows.Match, cs []flows.Conjunction) flows.Flow {
	slices.SortFunc(cs, func(a, b flows.Conjunction) int { return int(int64(a.ID) - int64(b.ID)) })
	as := make([]flows.Action, len(cs))
	for i, conj := range cs {
		as[i] = conj.Action()
	}
	return flows.NewFlow(side{d}.rules(), priority, flows.NewCookie(flows.KindClause, 0), match, flows.Drop, as...)
}

// choices are the choices of one dimension, each the terms of a match.
type choices [][]flows.Term

// maxPlain keeps products from overflowing.
const maxPlain = 1 << 20

// matchesOf returns the dimensions of a rule or, where that takes no more flows,
// a single dimension of all combinations. The switch finds a plain flow sooner
// than a conjunction, for which it collects the clauses of all rules that may
// apply.
func matchesOf(dims []choices) [][]flows.Match {
	product, sum := 1, 1
	for _, d := range dims {
		product, sum = product*len(d), sum+len(d)
		if product > maxPlain {
			break
		}
	}
	if product <= min(sum, maxPlain) {
		all := choices{nil}
		for _, d := range dims {
			var longer choices
			for _, ts := range all {
				for _, more := range d {
					if !contradict(ts, more) {
						longer = append(longer, append(ts[:len(ts):len(ts)], more...))
					}
				}
			}
			all = longer
		}
		dims = []choices{all}
	}
	out := make([][]flows.Match, len(dims))
	for i, d := range dims {
		out[i] = make([]flows.Match, len(d))
		for j, ts := range d {
			out[i][j] = flows.NewMatch(ts...)
		}
	}
	return out
}

// contradict reports whether terms of two dimensions want different values of a
// field, such as different families.
func contradict(a, b []flows.Term) bool {
	return slices.ContainsFunc(a, func(x flows.Term) bool { return slices.ContainsFunc(b, x.Contradicts) })
}

func registerChoices(reg flows.Field, ids []uint32) choices {
	out := make(choices, len(ids))
	for i, id := range ids {
		out[i] = []flows.Term{flows.RegIs(reg, id)}
	}
	return out
}

func prefixChoices(s side, prefixes []netip.Prefix) choices {
	out := make(choices, len(prefixes))
	for i, p := range prefixes {
		out[i] = []flows.Term{tracked, family(p.Addr()), flows.Prefix(s.addr(p.Addr()), p)}
	}
	return out
}

func serviceChoices(p policy.Protocol, ports policy.PortRange) choices {
	protocol := protocolChoices(p)
	if !p.HasPorts() || ports.IsAll() {
		return protocol
	}
	var out choices
	for _, ts := range protocol {
		for _, m := range portMasks(ports) {
			out = append(out, append(ts[:len(ts):len(ts)], flows.Port(flows.FieldCTTPDst, m.value, m.mask), flows.RegHas(flows.RegPorts, 1<<m.len())))
		}
	}
	return out
}
