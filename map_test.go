package ovssg_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the map of docs/contributing.md")

const mapBegin, mapEnd = "<!-- map: make map -->\n", "<!-- end of the map -->\n"

// TestMap compares the map of the packages in docs/contributing.md with the
// packages.
func TestMap(t *testing.T) {
	name := filepath.Join("docs", "contributing.md")
	text := read(t, name)
	before, rest, ok := strings.Cut(text, mapBegin)
	_, after, ended := strings.Cut(rest, mapEnd)
	if !ok || !ended {
		t.Fatalf("%s has no map", name)
	}
	want := before + mapBegin + drawMap(listed(t)) + mapEnd + after
	if want == text {
		return
	}
	if !*update {
		t.Fatalf("the map of %s is not that of the packages: make map", name)
	}
	if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// drawMap returns the packages with what they are for, those of the testbed last,
// and a matrix of the imports of the others. Every package stands above those
// that it imports, so that all marks are to one side of the diagonal.
func drawMap(all map[string]pkg) string {
	floors := map[string]int{}
	var floor func(name string) int
	floor = func(name string) int {
		n, ok := floors[name]
		if !ok {
			for _, i := range ours(all[name]) {
				n = max(n, floor(i)+1)
			}
			floors[name] = n
		}
		return n
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(all[name].GoFiles) > 0 {
			floor(name)
			names = append(names, name)
		}
	}
	test := func(name string) int {
		if within(name, "testbed") {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Or(test(a)-test(b), floors[b]-floors[a]) })
	var b strings.Builder
	b.WriteString("| | Package | What for |\n|---|---|---|\n")
	for i, name := range names {
		doc := strings.Join(strings.Fields(all[name].Doc), " ")
		_, what, _ := strings.Cut(doc, filepath.Base(name)+" ")
		what, _, _ = strings.Cut(what, ". ")
		sentence, _, _ := strings.Cut(what, ": ")
		fmt.Fprintf(&b, "| %d | `%s` | %s |\n", i+1, name, strings.TrimSuffix(sentence, "."))
	}
	names = slices.DeleteFunc(names, func(name string) bool { return test(name) > 0 })
	b.WriteString("\n```\n")
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	fmt.Fprintf(&b, "%*s", width+4, "")
	for i := range names {
		fmt.Fprintf(&b, "%3d", i+1)
	}
	b.WriteString("\n")
	for i, name := range names {
		line := fmt.Sprintf("%2d  %-*s", i+1, width, name)
		for j, other := range names {
			switch {
			case i == j:
				line += "  \\"
			case slices.Contains(ours(all[name]), other):
				line += "  x"
			default:
				line += "  ."
			}
		}
		b.WriteString(line + "\n")
	}
	b.WriteString("```\n")
	return b.String()
}

// ours are the packages of the module that a package imports outside its tests.
func ours(p pkg) (names []string) {
	for _, i := range p.Imports {
		if name, ok := strings.CutPrefix(i, module+"/"); ok {
			names = append(names, name)
		}
	}
	return names
}
