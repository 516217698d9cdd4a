package compile

import (
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/pipeline"
	"github.com/ovs-sg/ovs-sg/policy"
)

// ruleParts is a rule that may match something, taken apart.
type ruleParts struct {
	id     uint32 // of the conjunction
	cookie flows.Cookie
	dims   [][]flows.Match // see pipeline.Rule
}

// clause returns the action of the flows of dimension k, from 0: clause k+1 of
// the conjunction.
func (r ruleParts) clause(k int) flows.Conjunction {
	return flows.Conjunction{ID: r.id, K: uint8(k + 1), N: uint8(len(r.dims))}
}

// conjKey names the conjunction of a rule of a group.
func conjKey(group, content string) string { return group + "\x00" + content }

// partsOf takes apart what the rules of a group allow in a direction, each content
// once, without rules that can match nothing yet. Locals are the numbers of the
// classes that have the group, remotes the numbers of the sets that a remote group
// is in.
func partsOf(g *groupRules, d policy.Direction, locals []uint32, remotes map[string][]uint32, conj map[string]uint32) []ruleParts {
	var out []ruleParts
	seen := map[string]bool{}
	for i := range g.Rules {
		r, content := &g.Rules[i], g.keys[i]
		if r.Direction != d || seen[content] {
			continue
		}
		seen[content] = true
		if dims := pipeline.Rule(r, locals, remotes[r.Remote.Group]); dims != nil {
			cookie := flows.NewCookie(flows.KindRule, flows.Hash("rule "+r.Group+"/"+r.Name))
			out = append(out, ruleParts{conj[conjKey(g.ID, content)], cookie, dims})
		}
	}
	return out
}

// groupKey names a group in a direction.
type groupKey struct {
	policy.Direction
	group string
}

// groupFlows is what the rules of a group put into a rules table.
type groupFlows struct {
	conjunctions []*pooledID
	flows        []flows.Flow // to which the conjunctions lead
	entries      []clauseEntry
	plain        []flows.Flow
}

// clauseEntry is a conjunction in the flow of a clause.
type clauseEntry struct {
	match flows.Match
	flows.Conjunction
}

// rulesTable has the flows of one rules table that several groups may share.
type rulesTable struct {
	clauses map[flows.Match]*sharedClause
	plain   map[flows.Match]*sharedPlain
}

// sharedClause is a clause flow and the conjunctions in it.
type sharedClause struct {
	of   map[flows.Conjunction]bool
	flow []flows.Flow
}

// sharedPlain is a plain flow that several groups of the same VMs may ask for. The
// flow in force is that of the group with the lowest ID.
type sharedPlain struct {
	byGroup map[string]flows.Flow
	flow    []flows.Flow
}

// rules compiles the rules of groups again.
func (ix *flowIndex) rules(c *Compiler, d policy.Direction, groups map[string]bool) {
	table := &ix.tables[d]
	count := map[clauseEntry]int{}
	plains := map[flows.Match]bool{}
	for id := range groups {
		k := groupKey{d, id}
		old := ix.groups[k]
		if old == nil {
			old = &groupFlows{}
		}
		now := &groupFlows{}
		if g := c.groups[id]; g != nil {
			now = ix.compileGroup(d, g)
		}
		for _, e := range old.entries {
			count[e]--
		}
		for _, e := range now.entries {
			count[e]++
		}
		for _, f := range old.plain {
			delete(table.plain[f.Match].byGroup, id)
			plains[f.Match] = true
		}
		for _, f := range now.plain {
			if table.plain[f.Match] == nil {
				table.plain[f.Match] = &sharedPlain{byGroup: map[string]flows.Flow{}}
			}
			if _, same := table.plain[f.Match].byGroup[id]; !same { // the first rule that says so
				table.plain[f.Match].byGroup[id] = f
			}
			plains[f.Match] = true
		}
		ix.replace(old.flows, now.flows)
		for _, x := range old.conjunctions {
			ix.conj.release(x)
		}
		if ix.groups[k] = now; c.groups[id] == nil {
			delete(ix.groups, k)
		}
	}
	ix.clauses(d, table, count)
	for m := range plains {
		ix.plain(table, m)
	}
}

// clauses updates the clause flows; count has 1 for an entry that comes and -1
// for one that goes.
func (ix *flowIndex) clauses(d policy.Direction, table *rulesTable, count map[clauseEntry]int) {
	dirty := map[flows.Match]bool{}
	for e, n := range count {
		if n == 0 {
			continue
		}
		cl := table.clauses[e.match]
		if cl == nil {
			cl = &sharedClause{of: map[flows.Conjunction]bool{}}
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
		var now []flows.Flow
		if len(cl.of) > 0 {
			now = []flows.Flow{pipeline.Clause(d, pipeline.RulesConjunction, m, unsortedKeys(cl.of))}
		} else {
			delete(table.clauses, m)
		}
		// With more, the order of all rules decides which of them take a lower
		// priority.
		ix.needsFull = ix.needsFull || len(cl.of) > pipeline.MaxConjunctions
		cl.flow = ix.replace(cl.flow, now)
	}
}

func unsortedKeys[K comparable](m map[K]bool) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// plain updates the plain flow with a match.
func (ix *flowIndex) plain(table *rulesTable, m flows.Match) {
	p := table.plain[m]
	if len(p.byGroup) == 0 {
		ix.replace(p.flow, nil)
		delete(table.plain, m)
		return
	}
	p.flow = ix.replace(p.flow, []flows.Flow{p.byGroup[sortedKeys(p.byGroup)[0]]})
}

// compileGroup compiles the rules of a group.
func (ix *flowIndex) compileGroup(d policy.Direction, g *groupRules) *groupFlows {
	out := &groupFlows{}
	conj := make(map[string]uint32, len(g.keys))
	for _, content := range g.keys {
		// All rules count, whatever their direction, because Full numbers them all.
		key := conjKey(g.ID, content)
		x, _ := ix.conj.acquire(key)
		out.conjunctions = append(out.conjunctions, x)
		conj[key] = x.number
	}
	for _, r := range partsOf(g, d, ix.locals[g.ID], ix.remotes[d], conj) {
		if len(r.dims) == 1 {
			for _, m := range r.dims[0] {
				out.plain = append(out.plain, pipeline.PlainRule(d, r.cookie, m))
			}
			continue
		}
		for k, dim := range r.dims {
			for _, m := range dim {
				out.entries = append(out.entries, clauseEntry{m, r.clause(k)})
			}
		}
		out.flows = append(out.flows, pipeline.Conjunction(d, pipeline.RulesConjunction, r.cookie, r.id))
	}
	return out
}
