package flows

import (
	"github.com/ovs-sg/ovs-sg/policy"
)

// rulingKey is a group in a direction.
type rulingKey struct {
	policy.Direction
	group string
}

// ruling is what the rules of a group put into a rules table.
type ruling struct {
	conjunctions []*numbered
	flows        []Flow // that the conjunctions lead to
	entries      []clauseEntry
	plain        []Flow
}

type clauseEntry struct {
	match Match
	Conjunction
}

// rulesTable is what the groups share in a rules table.
type rulesTable struct {
	clauses map[Match]*clause
	plain   map[Match]*plain
}

// clause is a clause flow and the rules it is for.
type clause struct {
	of   map[Conjunction]bool
	flow []Flow
}

// plain is a flow that several groups of the same VMs may give; the first by
// ID is the one that counts.
type plain struct {
	by   map[string]Flow
	flow []Flow
}

// rules compiles the rules of groups again.
func (u *increment) rules(c *Compiler, s side, groups map[string]bool) {
	table := &u.tables[s.Direction]
	count := map[clauseEntry]int{}
	plains := map[Match]bool{}
	for id := range groups {
		k := rulingKey{s.Direction, id}
		old := u.rulings[k]
		if old == nil {
			old = &ruling{}
		}
		now := &ruling{}
		if g := c.groups[id]; g != nil {
			now = u.ruling(s, g)
		}
		for _, e := range old.entries {
			count[e]--
		}
		for _, e := range now.entries {
			count[e]++
		}
		for _, f := range old.plain {
			delete(table.plain[f.Match].by, id)
			plains[f.Match] = true
		}
		for _, f := range now.plain {
			if table.plain[f.Match] == nil {
				table.plain[f.Match] = &plain{by: map[string]Flow{}}
			}
			if _, same := table.plain[f.Match].by[id]; !same { // the first rule that says so
				table.plain[f.Match].by[id] = f
			}
			plains[f.Match] = true
		}
		u.replace(old.flows, now.flows)
		for _, x := range old.conjunctions {
			u.conj.drop(x)
		}
		if u.rulings[k] = now; c.groups[id] == nil {
			delete(u.rulings, k)
		}
	}
	u.clauses(s, table, count)
	for m := range plains {
		u.plains(table, m)
	}
}

// clauses changes the clause flows by the entries that come (1) and go (-1).
func (u *increment) clauses(s side, table *rulesTable, count map[clauseEntry]int) {
	dirty := map[Match]bool{}
	for e, n := range count {
		if n == 0 {
			continue
		}
		cl := table.clauses[e.match]
		if cl == nil {
			cl = &clause{of: map[Conjunction]bool{}}
			table.clauses[e.match] = cl
		}
		if dirty[e.match] = true; n > 0 {
			cl.of[e.Conjunction] = true
		} else {
			delete(cl.of, e.Conjunction)
		}
	}
	for m := range dirty {
		cl := table.clauses[m]
		var now []Flow
		if len(cl.of) > 0 {
			clauseFlow(s, clauseKey{priorityConj, m}, keysUnsorted(cl.of), collect(&now))
		} else {
			delete(table.clauses, m)
		}
		// Beyond that the order of all rules decides who goes elsewhere.
		u.spoilt = u.spoilt || len(cl.of) > maxConjunctions
		cl.flow = u.replace(cl.flow, now)
	}
}

func keysUnsorted[K comparable](m map[K]bool) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

func (u *increment) plains(table *rulesTable, m Match) {
	p := table.plain[m]
	if len(p.by) == 0 {
		u.replace(p.flow, nil)
		delete(table.plain, m)
		return
	}
	p.flow = u.replace(p.flow, []Flow{p.by[keysOf(p.by)[0]]})
}

// ruling compiles the rules of a group.
func (u *increment) ruling(s side, g *groupRules) *ruling {
	out := &ruling{}
	conj := make(map[string]uint32, len(g.keys))
	for _, content := range g.keys {
		// All rules count, whatever their direction: Compile numbers them all.
		key := conjKey(g.ID, content)
		x, _ := u.conj.take(key)
		out.conjunctions = append(out.conjunctions, x)
		conj[key] = x.number
	}
	for _, r := range s.ruleParts(g, u.locals[g.ID], u.remotes[s.Direction], conj, u.hash) {
		if len(r.dims) == 1 {
			for _, m := range r.dims[0] {
				out.plain = append(out.plain, Flow{Key{s.rules(), priorityPlain, m}, r.cookie, NewActions(int(s.allowed()))})
			}
			continue
		}
		for k, d := range r.dims {
			for _, m := range d {
				out.entries = append(out.entries, clauseEntry{m, Conjunction{r.id, uint8(k + 1), uint8(len(r.dims))}})
			}
		}
		out.flows = append(out.flows, Flow{Key{s.rules(), priorityConj, NewMatch(ConjID(r.id))}, r.cookie, NewActions(int(s.allowed()))})
	}
	return out
}

// serviceUnit is the table of ports for one protocol.
type serviceUnit struct {
	uses  map[policy.PortRange]int
	flows map[portBlock]Flow
	by    map[string][]policy.PortRange // of each group
}

// services puts the table of ports right after rules of groups have changed.
func (u *increment) services(c *Compiler, touched map[string]bool) {
	for _, protocol := range []policy.Protocol{policy.TCP, policy.UDP} {
		unit := u.service[protocol]
		if unit == nil {
			unit = &serviceUnit{map[policy.PortRange]int{}, map[portBlock]Flow{}, map[string][]policy.PortRange{}}
			u.service[protocol] = unit
		}
		if unit.count(c, protocol, touched) {
			u.blocks(protocol, unit)
		}
	}
}

// count counts who names which ports, and says whether any came or went.
func (unit *serviceUnit) count(c *Compiler, protocol policy.Protocol, touched map[string]bool) (changed bool) {
	before := map[policy.PortRange]bool{} // those that are touched: were they there
	add := func(r policy.PortRange, n int) {
		if _, seen := before[r]; !seen {
			before[r] = unit.uses[r] > 0
		}
		if unit.uses[r] += n; unit.uses[r] == 0 {
			delete(unit.uses, r)
		}
	}
	for id := range touched {
		for _, r := range unit.by[id] {
			add(r, -1)
		}
		delete(unit.by, id)
		if g := c.groups[id]; g != nil {
			if ranges := portRanges([]*groupRules{g})[protocol]; len(ranges) > 0 {
				unit.by[id] = ranges
				for _, r := range ranges {
					add(r, 1)
				}
			}
		}
	}
	for r, was := range before {
		changed = changed || was != (unit.uses[r] > 0)
	}
	return changed
}

func (u *increment) blocks(protocol policy.Protocol, unit *serviceUnit) {
	ranges := make([]policy.PortRange, 0, len(unit.uses))
	for r := range unit.uses {
		ranges = append(ranges, r)
	}
	var blocks []portBlock
	if len(ranges) > 0 {
		blocks = servicePorts(ranges)
	}
	now := make(map[portBlock]Flow, len(blocks))
	for _, b := range blocks {
		f, known := unit.flows[b]
		if !known {
			var made []Flow
			serviceFlow(protocol, b, collect(&made))
			f = made[0]
			u.news = append(u.news, f)
		}
		now[b] = f
	}
	for b, f := range unit.flows {
		if _, stays := now[b]; !stays {
			u.olds = append(u.olds, f)
		}
	}
	unit.flows = now
}
