package flows

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Set is a set of flows, at most one for a key. The zero Set is empty and
// ready.
type Set struct{ m map[Key]Flow }

// NewSet returns an empty set with room for n flows.
func NewSet(n int) *Set { return &Set{make(map[Key]Flow, n)} }

// Len returns the number of flows.
func (s *Set) Len() int { return len(s.m) }

// Get returns the flow with a key.
func (s *Set) Get(k Key) (Flow, bool) {
	f, ok := s.m[k]
	return f, ok
}

// Put adds a flow or replaces the one with its key.
func (s *Set) Put(f Flow) {
	if s.m == nil {
		s.m = map[Key]Flow{}
	}
	s.m[f.Key] = f
}

// Delete removes the flow with a key, if the set has it.
func (s *Set) Delete(k Key) { delete(s.m, k) }

// Clone returns a copy.
func (s *Set) Clone() *Set { return &Set{maps.Clone(s.m)} }

// Add adds a flow. Errors: the set has another flow with the same key, which
// stays; the compiler must never make two such flows.
func (s *Set) Add(f Flow) error {
	if old, ok := s.m[f.Key]; ok && old != f {
		return fmt.Errorf("compile: two flows with one key: %s / %s", old, f)
	}
	s.Put(f)
	return nil
}

// All yields the flows in no order.
func (s *Set) All() iter.Seq[Flow] { return maps.Values(s.m) }

// Sorted returns the flows in the order in which String lists them: by table, then from the highest
// priority to the lowest, then by the text of the match.
func (s *Set) Sorted() []Flow {
	type line struct {
		Flow
		match string
	}
	lines := make([]line, 0, len(s.m))
	for _, f := range s.m {
		lines = append(lines, line{f, f.Match.String()})
	}
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(int(a.Table)-int(b.Table), int(b.Priority)-int(a.Priority), strings.Compare(a.match, b.match))
	})
	out := make([]Flow, len(lines))
	for i, l := range lines {
		out[i] = l.Flow
	}
	return out
}

// inOrder sorts flows by Key.Compare, which needs no text.
func inOrder(fs []Flow) []Flow {
	slices.SortFunc(fs, func(a, b Flow) int { return a.Compare(b.Key) })
	return fs
}

// String lists the flows, one line each, sorted, with a comment line in front
// of each table.
func (s *Set) String() string {
	var b strings.Builder
	last := numTables
	for _, f := range s.Sorted() {
		if f.Table != last {
			fmt.Fprintf(&b, "# %s\n", f.Table)
			last = f.Table
		}
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}
