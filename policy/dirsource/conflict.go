package dirsource

import "github.com/ovs-sg/ovs-sg/policy"

// candidate is a file and the two revisions of it that may be in force.
type candidate struct {
	name     string
	newest   *policy.Revision           // nil if it cannot be decoded
	previous *policy.Revision           // nil if there is none
	useNew   bool                       // newest is chosen, not previous
	has      map[policy.Definition]bool // the objects that previous defines
	errors   []policy.Problem           // other than conflicts
}

// newCandidate returns the candidate for a file, with the newest revision chosen
// if that revision may be in force. decode is called only if the content is not
// that of previous.
func newCandidate(r content, previous *policy.Revision, decode func() (*policy.Revision, []policy.Problem)) *candidate {
	c := &candidate{name: r.name, previous: previous}
	if previous != nil {
		c.has = make(map[policy.Definition]bool)
		for _, o := range previous.Objects.Definitions() {
			c.has[o.ID()] = true
		}
	}
	if r.blank && r.unreadable == "" && len(c.has) > 0 {
		// A file that is being written in place looks like this, or a full disk.
		c.errors = append(c.errors, policy.Problem{Pos: policy.Position{File: r.name},
			Reason: "empty, where something is in force: remove the file to revoke it"})
		return c
	}
	if r.unreadable != "" {
		c.errors = append(c.errors, policy.Problem{Pos: policy.Position{File: r.name}, Reason: "cannot be read: " + r.unreadable})
		if r.unknown {
			return c
		}
	}
	if previous != nil && previous.Sum == r.sum {
		c.newest = previous
	} else if v, errs := decode(); len(errs) == 0 {
		c.newest = v
	} else {
		c.errors = append(c.errors, errs...)
	}
	c.useNew = c.newest != nil
	return c
}

// chosen returns the revision that is to be in force, or nil.
func (c *candidate) chosen() *policy.Revision {
	if c.useNew {
		return c.newest
	}
	return c.previous
}

// settled reports whether the choice is final, because the previous revision is
// chosen.
func (c *candidate) settled() bool { return !c.useNew || c.newest == c.previous }

// candidates are the files that may define the same objects, sorted by name.
type candidates []*candidate

// definition is an object and the candidate whose chosen revision defines it.
type definition struct {
	by *candidate
	at policy.Definition
}

// settle refuses newest revisions until no object is defined twice. Conflicts
// with a revision that is certain to stay come first.
func (a candidates) settle() {
	for c := a.nextRefused(); c != nil; c = a.nextRefused() {
		if c.settled() {
			c.previous = nil // two previous revisions define one object
		}
		c.useNew = false
	}
}

// nextRefused returns the candidate to refuse next, or nil if no object is
// defined twice. Of several conflicts it takes the first of the highest rank.
func (a candidates) nextRefused() *candidate {
	var refused *candidate
	best := -1
	first := make(map[policy.Definition]definition)
	for _, c := range a {
		v := c.chosen()
		if v == nil {
			continue
		}
		for _, o := range v.Objects.Definitions() {
			other, taken := first[o.ID()]
			if !taken {
				first[o.ID()] = definition{c, o}
				continue
			}
			win, lose := other.by, c
			if prefer(c, other.by, o.ID()) {
				win, lose = c, other.by
			}
			rank := 0 // the newest revision of either may be refused
			switch {
			case win.settled():
				rank = 2 // win is certain to stay
			case win.has[o.ID()]:
				rank = 1 // win had the object before
			}
			if rank > best {
				refused, best = lose, rank
			}
		}
	}
	return refused
}

// prefer reports whether the object belongs to a rather than to b. The name of b
// sorts before that of a.
func prefer(a, b *candidate, object policy.Definition) bool {
	if a.settled() != b.settled() {
		return a.settled()
	}
	return a.has[object] && !b.has[object]
}

// restore takes back the refusals whose reason is gone: the revision that a file
// was in conflict with was refused later.
func (a candidates) restore() {
	for again := true; again; {
		again = false
		for _, c := range a {
			if c.useNew || c.newest == nil {
				continue
			}
			c.useNew = true
			if a.nextRefused() == nil {
				again = true
			} else {
				c.useNew = false
			}
		}
	}
}

// conflicts returns the definitions in force that the newest revision of c
// repeats, as errors; none if that revision is chosen.
func (a candidates) conflicts(c *candidate) []policy.Problem {
	if c.useNew || c.newest == nil {
		return nil
	}
	mine := make(map[policy.Definition]policy.Definition)
	for _, o := range c.newest.Objects.Definitions() {
		mine[o.ID()] = o
	}
	var ps []policy.Problem
	for _, other := range a {
		if v := other.chosen(); v != nil && other != c {
			for _, o := range v.Objects.Definitions() {
				if m, ok := mine[o.ID()]; ok {
					ps = append(ps, policy.DefinedTwice(m, o))
				}
			}
		}
	}
	return ps
}

// status returns the state of c.
func (a candidates) status(c *candidate) policy.UnitStatus {
	s := policy.UnitStatus{Name: c.name, Errors: policy.SortProblems(append(a.conflicts(c), c.errors...))}
	switch {
	case c.chosen() == nil:
		s.State = policy.Rejected
	case len(s.Errors) > 0:
		s.State = policy.Kept
	}
	return s
}
