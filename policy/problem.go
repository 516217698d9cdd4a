package policy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Position is a place in a manifest file. Line and Column count from 1; zero
// means unknown.
type Position struct {
	File         string
	Line, Column int32
}

// Spot is a Position without its file. The object that has the Spot has the file
// too.
type Spot struct{ Line, Column int32 }

// In returns the Position of s in the file.
func (s Spot) In(file string) Position { return Position{file, s.Line, s.Column} }

// String returns "file:line:column" without the parts that are unknown.
func (p Position) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		b.WriteString(":" + strconv.Itoa(int(p.Line)))
		if p.Column > 0 {
			b.WriteString(":" + strconv.Itoa(int(p.Column)))
		}
	}
	return b.String()
}

// Compare orders positions by file, line and column.
func (p Position) Compare(o Position) int {
	return cmp.Or(cmp.Compare(p.File, o.File), cmp.Compare(p.Line, o.Line), cmp.Compare(p.Column, o.Column))
}

// Problem is something wrong with the manifests or with how they meet the
// interfaces of this host. An error makes the file unacceptable; a warning
// leaves it in force. It is comparable and implements error.
type Problem struct {
	Pos     Position // zero if it is not about a manifest
	Object  string   // what the problem is about, such as "SecurityGroup default/web" or "VIF tap0"; may be empty
	Field   string   // path such as "spec.rules[1].port"; may be empty
	Reason  string
	Warning bool
}

// Error returns "file:line:column: field: reason", made Printable; Object stands in
// for the position when there is none.
func (p Problem) Error() string {
	var parts []string
	if s := p.Pos.String(); s != "" {
		parts = append(parts, s)
	} else if p.Object != "" {
		parts = append(parts, p.Object)
	}
	if p.Field != "" {
		parts = append(parts, p.Field)
	}
	return Printable(strings.Join(append(parts, p.Reason), ": "))
}

// String returns the same as Error.
func (p Problem) String() string { return p.Error() }

// Compare orders problems by position, then by their texts.
func (p Problem) Compare(o Problem) int {
	return cmp.Or(p.Pos.Compare(o.Pos), cmp.Compare(p.Object, o.Object),
		cmp.Compare(p.Field, o.Field), cmp.Compare(p.Reason, o.Reason))
}

// SortProblems sorts ps with Compare, in place, and removes repetitions.
func SortProblems(ps []Problem) []Problem {
	slices.SortFunc(ps, Problem.Compare)
	return slices.Compact(ps)
}
