package pipeline_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
)

// TestOneFileForEachTable checks that the flows of a table are made in the file
// that has the table's name, without egress_ and ingress_, that their priorities
// have names, and that package compile makes no flows itself.
func TestOneFileForEachTable(t *testing.T) {
	fileOf := map[string]string{} // by the constant of the table and by the method of side
	for i, name := range constants(t, "../table.go", "Table") {
		table := strings.TrimPrefix(strings.TrimPrefix(flows.Table(i).String(), "egress_"), "ingress_")
		fileOf[name], fileOf[table] = table+".go", table+".go"
	}
	made := map[string]int{}
	for _, path := range sources(t, ".") {
		name := filepath.Base(path)
		eachFlow(t, path, func(table string, priority ast.Expr, pos token.Position) {
			if want := fileOf[table]; want != name {
				t.Errorf("%s: a flow of %s, which belongs in %s", pos, table, want)
			}
			made[name]++
			ast.Inspect(priority, func(n ast.Node) bool {
				if number, ok := n.(*ast.BasicLit); ok {
					t.Errorf("%s: priority %s has no name: give it one in priorities.go", pos, number.Value)
				}
				return true
			})
		})
	}
	for _, name := range fileOf {
		if made[name] == 0 {
			t.Errorf("%s makes no flows", name)
		}
	}
	for _, path := range sources(t, "../compile") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "flows.NewMatch(") || strings.Contains(string(text), "flows.NewActions(") {
			t.Errorf("%s makes flows, which belongs in package pipeline", path)
		}
	}
}

// sources returns the Go files of a directory without tests.
func sources(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(dir + "/*.go")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: no files (%v)", dir, err)
	}
	return slices.DeleteFunc(paths, func(p string) bool { return strings.HasSuffix(p, "_test.go") })
}

// eachFlow finds the places where a file makes flows. A table is named by its
// constant or by the method of side that returns it.
func eachFlow(t *testing.T, path string, found func(table string, priority ast.Expr, pos token.Position)) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		local := map[string]string{} // tables in local variables
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if name, ok := n.Lhs[0].(*ast.Ident); ok && len(n.Rhs) == 1 {
					if table := tableName(n.Rhs[0], nil); strings.HasPrefix(table, "Table") {
						local[name.Name] = table
					}
				}
			case *ast.CallExpr:
				if len(n.Args) > 3 && slices.Contains([]string{"emit", "add", "deny", "NewFlow"}, lastName(n.Fun)) {
					if table := tableName(n.Args[0], local); table != "" {
						found(table, n.Args[1], set.Position(n.Pos()))
					}
				}
			case *ast.CompositeLit:
				if lastName(n.Type) == "Key" {
					found(tableName(n.Elts[0].(*ast.KeyValueExpr).Value, local), n.Elts[1].(*ast.KeyValueExpr).Value, set.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// tableName names the table that an expression stands for; "" if it is that of a
// parameter.
func tableName(e ast.Expr, local map[string]string) string {
	switch e := e.(type) {
	case *ast.Ident:
		return local[e.Name]
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.CallExpr:
		return lastName(e.Fun)
	}
	return ""
}

// lastName returns the last name of a call or type: Name of pkg.Name.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
