package policy

import (
	"cmp"
	"slices"
)

// RevisionChange is a unit before and after a change of the revision in force.
type RevisionChange struct {
	Name          string    // of the unit
	Before, After *Revision // nil: none
}

// Change is one thing before and after a change. Before is nil if the thing is
// new, After if it is gone.
type Change[T any] struct{ Before, After *T } // nil: the thing does not exist

// any returns the thing after the change, or before it if the thing is gone.
func (c Change[T]) any() *T { return cmp.Or(c.After, c.Before) }

// ModelChange is what turns one Model into another: only what differs, in the
// order of the Model's lists.
type ModelChange struct {
	Endpoints []Change[Endpoint]  // by OFPort
	Groups    []Change[RuleGroup] // by ID
	Members   []Change[Member]    // by VPC and Addr
}

// Empty reports whether nothing differs.
func (c ModelChange) Empty() bool {
	return len(c.Endpoints) == 0 && len(c.Groups) == 0 && len(c.Members) == 0
}

// Compose returns the change that c makes and next makes after it. A thing that
// ends as it began may still be in the result.
func (c ModelChange) Compose(next ModelChange) ModelChange {
	return ModelChange{
		Endpoints: compose(c.Endpoints, next.Endpoints, func(a, b *Endpoint) int { return cmp.Compare(a.OFPort, b.OFPort) }),
		Groups:    compose(c.Groups, next.Groups, func(a, b *RuleGroup) int { return cmp.Compare(a.ID, b.ID) }),
		Members:   compose(c.Members, next.Members, (*Member).Compare),
	}
}

// compose joins two sorted lists of changes.
func compose[T any](first, second []Change[T], compare func(a, b *T) int) []Change[T] {
	if len(first) == 0 {
		return second
	}
	var out []Change[T]
	for len(first) > 0 && len(second) > 0 {
		switch n := compare(first[0].any(), second[0].any()); {
		case n < 0:
			out, first = append(out, first[0]), first[1:]
		case n > 0:
			out, second = append(out, second[0]), second[1:]
		default:
			if ch := (Change[T]{first[0].Before, second[0].After}); ch.Before != nil || ch.After != nil {
				out = append(out, ch)
			}
			first, second = first[1:], second[1:]
		}
	}
	return append(append(out, first...), second...)
}

// Invert returns the changes that undo the given ones.
func Invert(changes []RevisionChange) []RevisionChange {
	inverse := make([]RevisionChange, len(changes))
	for i, c := range changes {
		inverse[i] = RevisionChange{Name: c.Name, Before: c.After, After: c.Before}
	}
	return inverse
}

// Merge returns the changes of a followed by the changes of b. Both lists are
// sorted by name, and so is the result. A unit that ends as it began is not in
// the result.
func Merge(a, b []RevisionChange) []RevisionChange {
	switch {
	case len(a) == 0:
		return slices.Clip(b)
	case len(b) == 0:
		return slices.Clip(a)
	}
	var merged []RevisionChange
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			merged, a = append(merged, a[0]), a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			merged, b = append(merged, b[0]), b[1:]
		default:
			c := RevisionChange{Name: a[0].Name, Before: a[0].Before, After: b[0].After}
			if !sameRevision(c.Before, c.After) {
				merged = append(merged, c)
			}
			a, b = a[1:], b[1:]
		}
	}
	return merged
}

// sameRevision reports whether a and b are both nil or have the same content.
func sameRevision(a, b *Revision) bool {
	return a == b || a != nil && b != nil && a.Sum == b.Sum
}
