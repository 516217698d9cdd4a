package policy

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
)

// Accept decides which version of each file is in force, given the versions
// that were in force before and the files that are there now. Both results are
// sorted by name. A file that is gone is in force no more.
//
// A file with errors keeps its previous version, and so does one that has
// become empty. An object that two files
// define belongs to the one that is already in force with it, else to the
// first by name; the other file is refused as a whole and keeps its previous
// version. A file is only refused for a conflict with what is in force in the
// end.
//
// A version whose bytes are already in force is not decoded again. The result
// never defines an object twice. A Ledger gives the same, change by change.
func Accept(previous []Revision, files []File) ([]Revision, []UnitStatus) {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	files = slices.CompactFunc(files, func(a, b File) bool { return a.Name == b.Name })
	before := make(map[string]*Revision, len(previous))
	for i := range previous {
		before[previous[i].Name] = &previous[i]
	}
	a := make(acceptance, len(files))
	for i, f := range files {
		r := readingOf(f)
		a[i] = newContender(r, before[f.Name], func() (*Revision, []Problem) { return r.decode(f) })
	}
	a.settle()
	a.restore()
	return a.result()
}

// reading is what there is to know of a file's newest content before it is
// decoded.
type reading struct {
	name       string
	sum        [sha256.Size]byte
	unreadable string // as File.Unreadable
	unknown    bool   // there is no content
	blank      bool
}

func readingOf(f File) reading {
	return reading{
		name: f.Name, sum: sha256.Sum256(f.Data), unreadable: f.Unreadable,
		unknown: f.Unreadable != "" && f.Data == nil, blank: len(bytes.TrimSpace(f.Data)) == 0,
	}
}

// decode makes a version of the content of f.
func (r reading) decode(f File) (*Revision, []Problem) {
	o, errs := Decode(f)
	if len(errs) > 0 {
		return nil, errs
	}
	return &Revision{Name: r.name, Sum: r.sum, Objects: o}, nil
}

// contender is a file and the two versions that may be in force.
type contender struct {
	name     string
	newest   *Revision // nil if it cannot be decoded
	previous *Revision // nil if there is none
	useNew   bool
	has      map[defined]bool // previous defines it
	errors   []Problem        // other than conflicts
}

func newContender(r reading, previous *Revision, decode func() (*Revision, []Problem)) *contender {
	c := &contender{name: r.name, previous: previous}
	if previous != nil {
		c.has = make(map[defined]bool)
		for _, o := range previous.Objects.defined() {
			c.has[o.id()] = true
		}
	}
	if r.blank && r.unreadable == "" && len(c.has) > 0 {
		// So looks a file that is being written in place, or a full disk.
		c.errors = append(c.errors, Problem{Pos: Position{File: r.name},
			Reason: "empty, where something is in force: remove the file to revoke it"})
		return c
	}
	if r.unreadable != "" {
		c.errors = append(c.errors, Problem{Pos: Position{File: r.name}, Reason: "cannot be read: " + r.unreadable})
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

// chosen returns the version in force, or nil.
func (c *contender) chosen() *Revision {
	if c.useNew {
		return c.newest
	}
	return c.previous
}

// settled reports whether the choice cannot be reverted: it is the previous
// version already.
func (c *contender) settled() bool { return !c.useNew || c.newest == c.previous }

// acceptance is every file, sorted by name.
type acceptance []*contender

// use is an object and the contender whose chosen version defines it.
type use struct {
	by *contender
	at defined
}

// settle refuses newest versions until no object is defined twice. The surest
// refusals come first: those against a version that is certain to stay.
func (a acceptance) settle() {
	for loser := a.loser(); loser != nil; loser = a.loser() {
		if loser.settled() {
			loser.previous = nil // previous was not free of duplicates
		}
		loser.useNew = false
	}
}

// loser returns the contender to refuse next, or nil if nothing is defined
// twice.
func (a acceptance) loser() *contender {
	var loser *contender
	best := -1
	first := make(map[defined]use)
	for _, c := range a {
		v := c.chosen()
		if v == nil {
			continue
		}
		for _, o := range v.Objects.defined() {
			other, taken := first[o.id()]
			if !taken {
				first[o.id()] = use{c, o}
				continue
			}
			win, lose := other.by, c
			if prefer(c, other.by, o.id()) {
				win, lose = c, other.by
			}
			rank := 0
			switch {
			case win.settled():
				rank = 2
			case win.has[o.id()]:
				rank = 1
			}
			if rank > best {
				loser, best = lose, rank
			}
		}
	}
	return loser
}

// prefer reports whether the object belongs to a rather than to b, which is
// before it by name.
func prefer(a, b *contender, object defined) bool {
	if a.settled() != b.settled() {
		return a.settled()
	}
	return a.has[object] && !b.has[object]
}

// restore takes back refusals for which the reason is gone: what a file was
// refused for was itself refused later.
func (a acceptance) restore() {
	for again := true; again; {
		again = false
		for _, c := range a {
			if c.useNew || c.newest == nil {
				continue
			}
			c.useNew = true
			if a.loser() == nil {
				again = true
			} else {
				c.useNew = false
			}
		}
	}
}

// conflicts says what stands against the newest version of c.
func (a acceptance) conflicts(c *contender) []Problem {
	if c.useNew || c.newest == nil {
		return nil
	}
	mine := make(map[defined]defined)
	for _, o := range c.newest.Objects.defined() {
		mine[o.id()] = o
	}
	var ps []Problem
	for _, other := range a {
		if v := other.chosen(); v != nil && other != c {
			for _, o := range v.Objects.defined() {
				if m, ok := mine[o.id()]; ok {
					ps = append(ps, duplicateOf(m, o))
				}
			}
		}
	}
	return ps
}

// status says what became of c.
func (a acceptance) status(c *contender) UnitStatus {
	s := UnitStatus{Name: c.name, Errors: sortProblems(append(a.conflicts(c), c.errors...))}
	switch {
	case c.chosen() == nil:
		s.State = Rejected
	case len(s.Errors) > 0:
		s.State = Kept
	}
	return s
}

func (a acceptance) result() ([]Revision, []UnitStatus) {
	var versions []Revision
	status := make([]UnitStatus, 0, len(a))
	for _, c := range a {
		if v := c.chosen(); v != nil {
			versions = append(versions, *v)
		}
		status = append(status, a.status(c))
	}
	return versions, status
}
