package policy

import (
	"cmp"
	"slices"
)

// Book is a policy and the VM ports of this host, kept up to date: what New and
// Policy.Resolve give, at a cost that depends on what a change concerns. It is
// for use by one goroutine at a time.
type Book struct {
	x     *catalog
	vifs  []VIF
	local Model                // without Members; its lists are never changed
	known map[string]RuleGroup // the rule groups in local, by ID
	ids   map[string]bool      // iface-ids of vifs
	uids  map[string]bool      // vm-ids of vifs
	vms   map[Key]bool         // VMs of the endpoints
}

// NewBook returns a Book without manifests and ports.
func NewBook(opts Options) *Book {
	return &Book{x: newCatalog(opts), known: make(map[string]RuleGroup)}
}

// Model returns the whole model. It does not change later.
func (b *Book) Model() *Model {
	m := b.Local()
	m.Members = b.x.members()
	return m
}

// Local returns the model without its Members, which is cheap.
func (b *Book) Local() *Model {
	m := b.local
	return &m
}

// Problems returns the warnings about the manifests, as Policy.Problems, and
// then those of the model.
func (b *Book) Problems() []Problem { return append(b.x.problems(), b.local.Problems...) }

// Update takes other versions of files into account, and the VM ports as they
// are now, and returns what differs in the model. A version that goes must be
// one that came, and no object may come twice: a Ledger sees to that.
func (b *Book) Update(versions []RevisionChange, vifs []VIF) ModelChange {
	u := &bookUpdate{b: b, x: b.x, members: make(map[claim]*Member)}
	u.apply(versions)
	var change ModelChange
	change.Members = u.memberChanges()
	if !slices.Equal(b.vifs, vifs) {
		u.ports(vifs)
	}
	before := b.local
	if u.local {
		u.resolve()
		change.Endpoints = changes(before.Endpoints, b.local.Endpoints,
			func(a, b *Endpoint) int { return cmp.Compare(a.OFPort, b.OFPort) }, (*Endpoint).Equal)
	} else {
		u.remake()
	}
	if u.local || u.remade {
		change.Groups = changes(before.Groups, b.local.Groups,
			func(a, b *RuleGroup) int { return cmp.Compare(a.ID, b.ID) }, (*RuleGroup).Equal)
	}
	return change
}

// changes compares two sorted lists.
func changes[T any](before, after []T, compare func(a, b *T) int, same func(a, b *T) bool) []Change[T] {
	var out []Change[T]
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
			out, before = append(out, Change[T]{Before: &before[0]}), before[1:]
		case c > 0:
			out, after = append(out, Change[T]{After: &after[0]}), after[1:]
		default:
			if !same(&before[0], &after[0]) {
				out = append(out, Change[T]{&before[0], &after[0]})
			}
			before, after = before[1:], after[1:]
		}
	}
	return out
}
