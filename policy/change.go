package policy

import "slices"

// FileChange is a file of the policy directory that is new, has changed or is
// gone.
type FileChange struct {
	File File // without Data if it is gone or cannot be read
	Gone bool
}

// RevisionChange is a file of which another version is in force now.
type RevisionChange struct {
	Name          string
	Before, After *Revision // nil: none
	Data          []byte    // the content of After
}

// Change is what became of one thing.
type Change[T any] struct{ Before, After *T } // nil: there is none

// ModelChange is what turns one Model into another: only what differs, in the
// order of the Model's lists.
type ModelChange struct {
	Endpoints []Change[Endpoint]  // by OFPort
	Groups    []Change[RuleGroup] // by ID
	Members   []Change[Member]    // by VPC and Addr
}

// Empty says that nothing differs.
func (c ModelChange) Empty() bool {
	return len(c.Endpoints) == 0 && len(c.Groups) == 0 && len(c.Members) == 0
}

// Invert returns the changes that lead back. Data is that of After, so that
// there is none.
func Invert(changes []RevisionChange) []RevisionChange {
	inverse := make([]RevisionChange, len(changes))
	for i, c := range changes {
		inverse[i] = RevisionChange{Name: c.Name, Before: c.After, After: c.Before}
	}
	return inverse
}

// Merge returns the changes of a and then of b; both are sorted by name, and so
// is the result. A file that ends as it began is not in it.
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
			c := RevisionChange{Name: a[0].Name, Before: a[0].Before, After: b[0].After, Data: b[0].Data}
			if !sameVersion(c.Before, c.After) {
				merged = append(merged, c)
			}
			a, b = a[1:], b[1:]
		}
	}
	return merged
}

// sameVersion says whether a and b are nothing, or the same bytes.
func sameVersion(a, b *Revision) bool {
	return a == b || a != nil && b != nil && a.Sum == b.Sum
}
