package flows

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
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

// epoch is the register of that VM's epoch.
func (s side) epoch() Field { return pick(s, RegOrigEpoch, RegRespEpoch) }

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

// epoch adds the flows that recognise the connections whose verdict is up to
// date, and prepare the judging of the others.
func (c *compiler) epoch(e *policy.Endpoint) {
	epoch, ofport := uint32(1), uint32(e.OFPort)
	if n := c.in.Epochs[e.OFPort]; n != 0 {
		epoch = n
	}
	fingerprint := Fingerprint(c.in.Model, e)
	const all = 0xffffffff
	for _, s := range sides {
		port, load := RegIs(s.port(), ofport), SetReg(s.epoch(), epoch)
		// The port is in the label so that the connection is nobody else's: a
		// guest may send its packets to another VM, and an address may move.
		c.add(s.est(), 110, newCookie(KindEpoch, fingerprint),
			NewMatch(port, CTLabel(s.label(ofport, epoch), s.label(all, all))), int(s.allowed()), load)
		c.add(s.est(), 100, newCookie(KindPort, uint64(e.OFPort)), NewMatch(port), int(s.remote()),
			load, SetReg(RegCommit, 1), SetReg(RegLocal, c.local[setKey(e.Groups)]), SetReg(RegVPC, c.vpc[e.VPC]),
			Resubmit(uint8(TableService)))
	}
}

// members adds one flow for each address that is a member of a group that
// some rule of this side refers to.
func (c *compiler) members(s side) {
	numbers := &c.sides[s.Direction]
	for i, m := range c.in.Model.Members {
		set := numbers.setOf[i]
		if set == "" {
			continue
		}
		c.add(s.remote(), 100, newCookie(KindMember, c.hash("vm "+m.VM.String())),
			NewMatch(tracked, family(m.Addr), RegIs(RegVPC, c.vpc[m.VPC]), Addr(s.addr(m.Addr), m.Addr)),
			int(s.rules()), SetReg(RegRemote, numbers.remote[set]))
	}
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

func conjKey(group string, r policy.ResolvedRule) string { return group + "\x00" + contentKey(r) }

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

// rules adds the rules of one side.
func (c *compiler) rules(s side) {
	locals := map[string][]uint32{} // identities that a rule group is part of
	for set, id := range c.local {
		for _, g := range strings.Split(set, "\x00") {
			locals[g] = append(locals[g], id)
		}
	}
	remotes := map[string][]uint32{} // identities that a remote group is part of
	for set, id := range c.sides[s.Direction].remote {
		for _, g := range strings.Split(set, "\x00") {
			remotes[g] = append(remotes[g], id)
		}
	}
	clauses := map[clauseKey][]Conjunction{}
	for _, g := range c.in.Model.Groups {
		seen := map[string]bool{}
		for _, r := range g.Rules {
			key := conjKey(g.ID, r)
			if r.Direction != s.Direction || seen[key] {
				continue
			}
			seen[key] = true
			dims := [][]Match{registerClause(RegLocal, locals[g.ID])}
			switch r.Remote.Kind {
			case policy.ResolvedMembers:
				dims = append(dims, registerClause(RegRemote, remotes[r.Remote.Group]))
			case policy.ResolvedPrefixes:
				dims = append(dims, s.prefixClause(r.Remote.Prefixes))
			}
			if r.Protocol != policy.All {
				dims = append(dims, serviceClause(r.Protocol, r.Ports))
			}
			c.rule(s, g.ID, r, c.conj[key], dims, clauses)
		}
	}
	for k, cs := range clauses {
		slices.SortFunc(cs, func(a, b Conjunction) int { return int(int64(a.ID) - int64(b.ID)) })
		as := make([]Action, len(cs))
		for i, conj := range cs {
			as[i] = conj.action()
		}
		c.add(s.rules(), k.priority, newCookie(KindClause, 0), k.match, drop, as...)
	}
}

// rule adds one rule, the product of its dimensions.
func (c *compiler) rule(s side, group string, r policy.ResolvedRule, id uint32, dims [][]Match, clauses map[clauseKey][]Conjunction) {
	cookie := newCookie(KindRule, c.hash("rule "+r.Group+"/"+r.Name))
	for _, d := range dims {
		if len(d) == 0 {
			return // nothing can match this yet
		}
	}
	if len(dims) == 1 {
		for _, m := range dims[0] {
			// Another group of the same VMs may say the same.
			if _, ok := c.set.Get(Key{s.rules(), priorityPlain, m}); !ok {
				c.add(s.rules(), priorityPlain, cookie, m, int(s.allowed()))
			}
		}
		return
	}
	priority := uint16(priorityConj)
	for crowded(clauses, priority, dims) {
		priority--
	}
	for k, d := range dims {
		for _, m := range d {
			at := clauseKey{priority, m}
			clauses[at] = append(clauses[at], Conjunction{id, uint8(k + 1), uint8(len(dims))})
		}
	}
	c.add(s.rules(), priority, cookie, NewMatch(ConjID(id)), int(s.allowed()))
}

// crowded says that some clause flow at a priority has no room left.
func crowded(clauses map[clauseKey][]Conjunction, priority uint16, dims [][]Match) bool {
	for _, d := range dims {
		for _, m := range d {
			if len(clauses[clauseKey{priority, m}]) >= maxConjunctions {
				return true
			}
		}
	}
	return false
}

func registerClause(reg Field, ids []uint32) []Match {
	out := make([]Match, len(ids))
	for i, id := range ids {
		out[i] = NewMatch(RegIs(reg, id))
	}
	return out
}

func (s side) prefixClause(prefixes []netip.Prefix) []Match {
	out := make([]Match, len(prefixes))
	for i, p := range prefixes {
		out[i] = NewMatch(tracked, family(p.Addr()), Prefix(s.addr(p.Addr()), p))
	}
	return out
}

// Fingerprint is 40 bits that stay the same as long as the rules of an
// endpoint do (its VPC, and what its rules allow, but not who the members of
// remote groups are).
func Fingerprint(m *policy.Model, e *policy.Endpoint) uint64 {
	return hash64("rules "+e.VPC+"\x00"+strings.Join(grants(m, e), "\x00")) & objectMask
}

// grants lists the content of all rules of an endpoint, sorted, each once.
func grants(m *policy.Model, e *policy.Endpoint) []string {
	var out []string
	for _, id := range e.Groups {
		for _, r := range groupByID(m, id).Rules {
			out = append(out, contentKey(r))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func groupByID(m *policy.Model, id string) *policy.RuleGroup {
	i := sort.Search(len(m.Groups), func(i int) bool { return m.Groups[i].ID >= id })
	if i == len(m.Groups) || m.Groups[i].ID != id {
		panic("flows: endpoint in a rule group that the model lacks: " + strconv.Quote(id))
	}
	return &m.Groups[i]
}
