package dirsource

import (
	"cmp"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Len returns the number of files.
func (t *Tracker) Len() int { return len(t.accepted) + len(t.pending) }

// Status returns the state of every file, sorted by name; nil before the first
// Update.
func (t *Tracker) Status() []policy.UnitStatus {
	if !t.started {
		return nil
	}
	all := make([]policy.UnitStatus, 0, t.Len())
	for name := range t.accepted {
		all = append(all, policy.UnitStatus{Name: name})
	}
	for _, f := range t.pending {
		all = append(all, f.status)
	}
	slices.SortFunc(all, func(a, b policy.UnitStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Refused returns the state of the files that are not accepted, sorted by name;
// nil before the first Update.
func (t *Tracker) Refused() []policy.UnitStatus {
	var out []policy.UnitStatus
	for _, f := range t.pending {
		if t.started && f.status.State != policy.Accepted {
			out = append(out, f.status)
		}
	}
	slices.SortFunc(out, func(a, b policy.UnitStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// InForce reports whether some revision of a file is in force.
func (t *Tracker) InForce(name string) bool {
	f, ok := t.state(name)
	return ok && f.inForce != nil
}

// Revisions returns the revisions in force, sorted by name.
func (t *Tracker) Revisions() []*policy.Revision {
	all := make([]*policy.Revision, 0, t.Len())
	for _, v := range t.accepted {
		all = append(all, v)
	}
	for _, f := range t.pending {
		if f.inForce != nil {
			all = append(all, f.inForce)
		}
	}
	slices.SortFunc(all, func(a, b *policy.Revision) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
