package pipeline_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ovs-sg/ovs-sg/flows"
)

const pipelineDoc = "../../docs/pipeline.md"

func readDoc(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(pipelineDoc)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDocumentedFlowsAreReal holds each line of a block of flows in the
// document against the flows of the worked example.
func TestDocumentedFlowsAreReal(t *testing.T) {
	example, err := txtar.ParseFile("../compile/testdata/worked-example.txtar")
	if err != nil {
		t.Fatal(err)
	}
	golden := map[string]bool{}
	for _, f := range example.Files {
		if f.Name == "want.flows" {
			for _, line := range strings.Split(string(f.Data), "\n") {
				golden[line] = true
			}
		}
	}
	tables := map[string]bool{}
	block, lines := "", 0
	for i, line := range strings.Split(readDoc(t), "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			if block == "" {
				block = line
			} else {
				block = ""
			}
		case block != "```flows":
		case line == "" || strings.HasPrefix(line, "#") || !golden[line]:
			t.Errorf("%s:%d: no flow of the worked example: %s", pipelineDoc, i+1, line)
		default:
			lines++
			tables[tableOf(line)] = true
		}
	}
	if block != "" {
		t.Errorf("%s: a block is not closed", pipelineDoc)
	}
	for _, table := range flows.Tables() {
		if !tables[fmt.Sprint(uint8(table))] {
			t.Errorf("%s shows no flow of table %s", pipelineDoc, table)
		}
	}
	t.Logf("%d flows", lines)
}

func tableOf(line string) string {
	_, rest, ok := strings.Cut(line, ", table=")
	if !ok {
		return "0"
	}
	number, _, _ := strings.Cut(rest, ",")
	return number
}

// TestDocumentNamesEverything looks for the row of every table, register,
// cause and kind of cookie, with its number.
func TestDocumentNamesEverything(t *testing.T) {
	doc := readDoc(t)
	want := func(row string) {
		t.Helper()
		if !strings.Contains(doc, "\n"+row) {
			t.Errorf("%s has no row %q", pipelineDoc, row)
		}
	}
	for _, table := range flows.Tables() {
		want(fmt.Sprintf("| %d | %s |", uint8(table), table))
	}
	for i, name := range constants(t, "../table.go", "Reg") {
		want(fmt.Sprintf("| reg%d | %s |", i, name))
	}
	for i, name := range constants(t, "../table.go", "Cause") {
		want(fmt.Sprintf("| 0x%x | %s | %s |", i+1, name, flows.Cause(i+1)))
	}
	for i, name := range constants(t, "../cookie.go", "Kind") {
		want(fmt.Sprintf("| %02x | %s |", i, name))
	}
	// The places where the constants begin, so that the numbers are right.
	if flows.RegSrc != flows.FieldReg0 || flows.CauseUnidentified != 1 || flows.KindPipeline != 0 {
		t.Error("the constants begin elsewhere: put this test right")
	}
	for _, t2 := range flows.Tables() {
		for _, prefix := range t2.Prefixes() {
			if !strings.Contains(doc, "`"+prefix+"`") {
				t.Errorf("%s does not name the prefixes field %s", pipelineDoc, prefix)
			}
		}
	}
}

// constants lists, in their order, the constants of a source file whose names
// begin with a prefix.
func constants(t *testing.T, file, prefix string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		decl, ok := n.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			return true
		}
		for _, spec := range decl.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				if strings.HasPrefix(name.Name, prefix) {
					names = append(names, name.Name)
				}
			}
		}
		return false
	})
	if len(names) < 2 {
		t.Fatalf("%s has no constants %s…", file, prefix)
	}
	return names
}
