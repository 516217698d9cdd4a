package resolve

import (
	"cmp"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Resolver holds a policy, the VM ports of this host and the model that follows
// from them. It must not be used by several goroutines at once.
type Resolver struct {
	index      *index
	vifs       []policy.VIF
	local      policy.Model                // without Members; its lists are never changed
	ruleGroups map[string]policy.RuleGroup // the rule groups in local, by ID
	ifaceIDs   map[string]bool             // iface-ids of vifs
	vmIDs      map[string]bool             // vm-ids of vifs
	vms        map[policy.Key]bool         // VMs of the endpoints
}

// New returns a Resolver without objects and ports.
func New(opts policy.Options) *Resolver {
	return &Resolver{index: newIndex(opts), ruleGroups: make(map[string]policy.RuleGroup)}
}

// Once returns the model of p and the VM ports, and Problems of a Resolver of
// these.
func Once(p *policy.Policy, vifs []policy.VIF) (*policy.Model, []policy.Problem) {
	r := New(p.Options())
	r.Update([]policy.RevisionChange{{After: &policy.Revision{Objects: p.Objects()}}}, vifs)
	return r.Model(), r.Problems()
}

// Model returns the whole model. It does not change later.
func (r *Resolver) Model() *policy.Model {
	m := r.Local()
	m.Members = r.index.members()
	return m
}

// Local returns the model without its Members, which is cheap.
func (r *Resolver) Local() *policy.Model {
	m := r.local
	return &m
}

// Problems returns the warnings about the objects, sorted, and then those of the
// model. An object is warned about if it refers to an object that does not exist,
// or claims an address or id that belongs to another object.
func (r *Resolver) Problems() []policy.Problem {
	return append(r.index.problems(), r.local.Problems...)
}

// Update applies changes of revisions and the VM ports as they are now, and
// returns the difference that they make to the model. Before of a change must be
// After of an earlier change, or decoded from the same bytes. No two revisions in
// force may define the same object; a source of policy ensures that.
func (r *Resolver) Update(changes []policy.RevisionChange, vifs []policy.VIF) policy.ModelChange {
	u := &update{r: r, index: r.index, members: make(map[memberKey]*policy.Member)}
	u.apply(changes)
	var change policy.ModelChange
	change.Members = u.memberChanges()
	if !slices.Equal(r.vifs, vifs) {
		u.setPorts(vifs)
	}
	before := r.local
	if u.local {
		u.rebuildLocal()
		change.Endpoints = diff(before.Endpoints, r.local.Endpoints,
			func(a, b *policy.Endpoint) int { return cmp.Compare(a.OFPort, b.OFPort) }, (*policy.Endpoint).Equal)
	} else {
		u.rebuildGroups()
	}
	if u.local || u.rebuilt {
		change.Groups = diff(before.Groups, r.local.Groups,
			func(a, b *policy.RuleGroup) int { return cmp.Compare(a.ID, b.ID) }, (*policy.RuleGroup).Equal)
	}
	return change
}

// diff compares two lists that compare has sorted.
func diff[T any](before, after []T, compare func(a, b *T) int, equal func(a, b *T) bool) []policy.Change[T] {
	var out []policy.Change[T]
	for len(before) > 0 || len(after) > 0 {
		c := 0
		switch {
		case len(before) == 0:
			c = 1
		case len(after) == 0:
			c = -1
		default:
			c = compare(&before[0], &after[0])
		}
		switch {
		case c < 0:
			out, before = append(out, policy.Change[T]{Before: &before[0]}), before[1:]
		case c > 0:
			out, after = append(out, policy.Change[T]{After: &after[0]}), after[1:]
		default:
			if !equal(&before[0], &after[0]) {
				out = append(out, policy.Change[T]{Before: &before[0], After: &after[0]})
			}
			before, after = before[1:], after[1:]
		}
	}
	return out
}
