package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"
)

const snippet = `package p

var table = []int{10, 20}

type T struct{ n int }

func (t *T) add(priority, weight int, terms ...string) {}

func (t *T) m(a, b int, ok bool) int {
	if a == b {
		t.n++
	}
	switch {
	case a < b && ok:
		t.add(30, a, "x", "y")
	}
	swap(a, b)
	if ok {
		return 0
	}
	swap(a, b)
	return 1
}

func swap(a, b int) { panic("no " + "mutation here") }
`

// TestFind lists every mistake that can be made in the snippet. The keys are
// those that equivalent.txt has.
func TestFind(t *testing.T) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", snippet, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	s := &source{fset: fset, files: map[string]*ast.File{"p.go": file}, texts: map[string][]byte{"p.go": []byte(snippet)}}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	if err := s.check(nil, "", info); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range find("p.go", []byte(snippet), fset, file, info) {
		if s.compiles(m) {
			got = append(got, m.String()+" | "+m.key())
		}
	}
	want := strings.Split(strings.TrimSpace(`
p.go:3:19 element | table: element: []int{10, 20} without 10
p.go:3:19 constant | table: constant: []int{10, 20} with 11 for 10
p.go:3:23 element | table: element: []int{10, 20} without 20
p.go:3:23 constant | table: constant: []int{10, 20} with 21 for 20
p.go:10:5 negate | T.m: negate: a == b
p.go:11:3 drop | T.m: drop: t.n++
p.go:14:13 operator | T.m: operator: a < b && ok with ||
p.go:14:9 operator | T.m: operator: a < b with <=
p.go:15:3 case | T.m: case: case a < b && ok: t.add(30, a, "x", "y")
p.go:15:3 drop | T.m: drop: t.add(30, a, "x", "y")
p.go:15:9 swap | T.m: swap: t.add(30, a, "x", "y") with a, 30
p.go:15:9 priority | T.m: priority: t.add(30, a, "x", "y") with 1 for 30
p.go:15:9 priority | T.m: priority: t.add(30, a, "x", "y") with 9999 for 30
p.go:15:16 argument | T.m: argument: t.add(30, a, "x", "y") without "x"
p.go:15:21 argument | T.m: argument: t.add(30, a, "x", "y") without "y"
p.go:17:2 drop | T.m: drop: swap(a, b)
p.go:17:7 swap | T.m: swap: swap(a, b) with b, a
p.go:18:5 negate | T.m: negate: ok
p.go:19:3 drop | T.m: drop: if ok { return 0 } without return 0
p.go:19:10 constant | T.m: constant: return 0 with 1 for 0
p.go:21:2 drop | T.m: drop: swap(a, b) #2
p.go:21:7 swap | T.m: swap: swap(a, b) with b, a #2
p.go:22:9 constant | T.m: constant: return 1 with 2 for 1
`), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
