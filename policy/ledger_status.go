package policy

import (
	"cmp"
	"slices"
)

// Len is the number of files.
func (l *Ledger) Len() int { return len(l.plain) + len(l.odd) }

// Refused returns what became of the files that are not accepted, sorted by
// name.
func (l *Ledger) Refused() []UnitStatus {
	var out []UnitStatus
	for _, f := range l.odd {
		if l.started && f.status.State != Accepted {
			out = append(out, f.status)
		}
	}
	slices.SortFunc(out, func(a, b UnitStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// InForce says whether some version of a file is in force.
func (l *Ledger) InForce(name string) bool {
	f, ok := l.filing(name)
	return ok && f.inForce != nil
}

// Versions returns what is in force, sorted by name.
func (l *Ledger) Versions() []*Revision {
	all := make([]*Revision, 0, l.Len())
	for _, v := range l.plain {
		all = append(all, v)
	}
	for _, f := range l.odd {
		if f.inForce != nil {
			all = append(all, f.inForce)
		}
	}
	slices.SortFunc(all, func(a, b *Revision) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
