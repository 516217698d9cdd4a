package flows

import "strings"

// Delta is the changes that turn one set of flows into another. Each list is in the
// order of Key.Compare.
type Delta struct {
	Add    []Flow
	Modify []Flow // the new flows; their keys are installed already
	Delete []Flow // the old flows
}

// Diff returns the changes that turn installed into desired.
func Diff(desired, installed *Set) Delta {
	var d Delta
	for k, f := range desired.m {
		switch old, ok := installed.m[k]; {
		case !ok:
			d.Add = append(d.Add, f)
		case old != f:
			d.Modify = append(d.Modify, f)
		}
	}
	for k, f := range installed.m {
		if _, ok := desired.m[k]; !ok {
			d.Delete = append(d.Delete, f)
		}
	}
	return Delta{inOrder(d.Add), inOrder(d.Modify), inOrder(d.Delete)}
}

// Empty reports whether the delta changes nothing.
func (d Delta) Empty() bool { return d.Len() == 0 }

// Len returns the number of flows in the delta.
func (d Delta) Len() int { return len(d.Add) + len(d.Modify) + len(d.Delete) }

// ApplyTo makes the changes in a set.
func (d Delta) ApplyTo(s *Set) {
	for _, f := range d.Delete {
		s.Delete(f.Key)
	}
	for _, f := range d.Add {
		s.Put(f)
	}
	for _, f := range d.Modify {
		s.Put(f)
	}
}

// String lists the changes as ovs-ofctl diff-flows does: "-" for a flow that goes,
// "+" for one that comes. A flow that changes is listed as it will be, with "~".
func (d Delta) String() string {
	var b strings.Builder
	for _, part := range []struct {
		sign string
		fs   []Flow
	}{{"-", d.Delete}, {"~", d.Modify}, {"+", d.Add}} {
		for _, f := range part.fs {
			b.WriteString(part.sign + f.String() + "\n")
		}
	}
	return b.String()
}
