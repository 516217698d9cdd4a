package flows

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/policy"
)

// side is one of the two directions in which rules are asked: the
// originator's egress rules, then the responder's ingress rules.
type side struct{ policy.Direction }

var sides = []side{{policy.Egress}, {policy.Ingress}}

func (s side) egress() bool { return s.Direction == policy.Egress }

func pick[T any](s side, egress, ingress T) T {
	if s.egress() {
		return egress
	}
	return ingress
}

func (s side) est() Table     { return pick(s, TableEgressEst, TableIngressEst) }
func (s side) epoch() Table   { return pick(s, TableEgressEpoch, TableIngressEpoch) }
func (s side) remote() Table  { return pick(s, TableEgressRemote, TableIngressRemote) }
func (s side) rules() Table   { return pick(s, TableEgressRules, TableIngressRules) }
func (s side) allowed() Table { return pick(s, TableIngressEst, TableCommit) }
func (s side) cause() Cause   { return pick(s, CauseEgress, CauseIngress) }

// port is the register of the local VM whose rules are asked.
func (s side) port() Field { return pick(s, RegOrig, RegResp) }

// addr is the connection's address on the other side: the responder's for
// egress, the originator's for ingress, whatever the packet's direction.
func (s side) addr(a netip.Addr) Field {
	if a.Is4() {
		return pick(s, FieldCTNWDst, FieldCTNWSrc)
	}
	return pick(s, FieldCTIPv6Dst, FieldCTIPv6Src)
}

// epochReg is the register of that VM's epoch.
func (s side) epochReg() Field { return pick(s, RegOrigEpoch, RegRespEpoch) }

// stale is the bit that says that the side's part of ct_label is out of date.
func (s side) stale() Bits { return Bits{RegCommit, pick(s, 0, 1), 1} }

// label is the side's part of ct_label.
func (s side) label(port, epoch uint32) Label {
	return pick(s, Label{Orig: port, OrigEpoch: epoch}, Label{Resp: port, RespEpoch: epoch})
}

// tracked is what Open vSwitch wants to see before a match on the original
// tuple: valid connection tracking state (ovs-fields(7)).
var tracked = CT(CTTrk, CTInv)

func family(a netip.Addr) Term {
	if a.Is4() {
		return EthType(EthTypeIPv4)
	}
	return EthType(EthTypeIPv6)
}

func memberCookie(m *policy.Member, hash func(string) uint64) Cookie {
	return newCookie(KindMember, hash("vm "+m.VM.String()))
}

// memberFlow is the flow of an address that is a member of groups that some
// rule of the side refers to.
func memberFlow(s side, m *policy.Member, vpc, remote uint32, hash func(string) uint64, emit emitter) {
	emit(s.remote(), 100, memberCookie(m, hash),
		NewMatch(tracked, family(m.Addr), RegIs(RegVPC, vpc), Addr(s.addr(m.Addr), m.Addr)),
		int(s.rules()), SetReg(RegRemote, remote))
}

// contentKey names what a rule allows, so that two rules have the same key
// exactly if they allow the same.
func contentKey(r policy.ResolvedRule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s ", r.Direction, r.Protocol, r.Ports)
	switch r.Remote.Kind {
	case policy.ResolvedAnywhere:
		b.WriteString("anywhere")
	case policy.ResolvedMembers:
		b.WriteString("members " + r.Remote.Group)
	case policy.ResolvedPrefixes:
		for _, p := range r.Remote.Prefixes {
			b.WriteString(p.String() + " ")
		}
	}
	return b.String()
}

// conjKey names the conjunction of a rule of a group.
func conjKey(group, content string) string { return group + "\x00" + content }

// A message holds at most 65,535 bytes, and Open vSwitch drops the connection
// at 4,090 conjunctions in one flow. Rules that would make a flow longer than
// this go to the next priority.
const maxConjunctions = 2048

// Priorities in the rules tables: plain flows, then conjunctions, the
// first of them at the highest of their priorities.
const (
	priorityPlain = 2000
	priorityConj  = 1000
)

// clauseKey is where clauses are merged: one flow.
type clauseKey struct {
	priority uint16
	match    Match
}

// ruleParts is a rule as the product of its dimensions, of which each is a
// choice of matches. With one dimension it is plain: each match by itself
// allows.
type ruleParts struct {
	id     uint32 // of the conjunction
	cookie Cookie
	dims   [][]Match
}

// ruleParts takes apart what the rules of a group allow in this direction,
// each once, apart from what nothing can match yet. locals are the classes
// that have the group, remotes the identities a remote group is part of.
func (s side) ruleParts(g *groupRules, locals []uint32, remotes map[string][]uint32, conj map[string]uint32, hash func(string) uint64) []ruleParts {
	var out []ruleParts
	seen := map[string]bool{}
	local := registerClause(RegLocal, locals)
	for i, r := range g.Rules {
		if r.Direction != s.Direction || seen[g.keys[i]] {
			continue
		}
		seen[g.keys[i]] = true
		dims := []clauses{local}
		switch r.Remote.Kind {
		case policy.ResolvedMembers:
			dims = append(dims, registerClause(RegRemote, remotes[r.Remote.Group]))
		case policy.ResolvedPrefixes:
			dims = append(dims, s.prefixClause(r.Remote.Prefixes))
		}
		if r.Protocol != policy.All {
			dims = append(dims, serviceClause(r.Protocol, r.Ports))
		}
		if !slices.ContainsFunc(dims, func(d clauses) bool { return len(d) == 0 }) {
			out = append(out, ruleParts{conj[conjKey(g.ID, g.keys[i])], newCookie(KindRule, hash("rule "+r.Group+"/"+r.Name)), matchesOf(dims)})
		}
	}
	return out
}

// clauses are the choices of one dimension, each the terms of a match.
type clauses [][]Term

// matchesOf are the dimensions of a rule, or, where that takes no more flows, the
// one of all combinations: the switch finds a plain flow sooner than a
// conjunction, of which it collects the clauses of all rules that may apply.
func matchesOf(dims []clauses) [][]Match {
	product, sum := 1, 1
	for _, d := range dims {
		product, sum = product*len(d), sum+len(d)
		if product > maxPlain {
			break
		}
	}
	if product <= min(sum, maxPlain) {
		all := clauses{nil}
		for _, d := range dims {
			var longer clauses
			for _, ts := range all {
				for _, more := range d {
					if !contradict(ts, more) {
						longer = append(longer, append(ts[:len(ts):len(ts)], more...))
					}
				}
			}
			all = longer
		}
		dims = []clauses{all}
	}
	out := make([][]Match, len(dims))
	for i, d := range dims {
		out[i] = make([]Match, len(d))
		for j, ts := range d {
			out[i][j] = NewMatch(ts...)
		}
	}
	return out
}

// contradict says that terms of two dimensions want different families.
func contradict(a, b []Term) bool {
	for _, x := range a {
		for _, y := range b {
			if x.field == FieldEthType && y.field == FieldEthType && string(x.value) != string(y.value) {
				return true
			}
		}
	}
	return false
}

// maxPlain keeps products from overflowing.
const maxPlain = 1 << 20

// clauseFlow is the flow of clauses that have a match in common.
func clauseFlow(s side, k clauseKey, cs []Conjunction, emit emitter) {
	slices.SortFunc(cs, func(a, b Conjunction) int { return int(int64(a.ID) - int64(b.ID)) })
	as := make([]Action, len(cs))
	for i, conj := range cs {
		as[i] = conj.action()
	}
	emit(s.rules(), k.priority, newCookie(KindClause, 0), k.match, drop, as...)
}

func registerClause(reg Field, ids []uint32) clauses {
	out := make(clauses, len(ids))
	for i, id := range ids {
		out[i] = []Term{RegIs(reg, id)}
	}
	return out
}

func (s side) prefixClause(prefixes []netip.Prefix) clauses {
	out := make(clauses, len(prefixes))
	for i, p := range prefixes {
		out[i] = []Term{tracked, family(p.Addr()), Prefix(s.addr(p.Addr()), p)}
	}
	return out
}
