package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"
)

// A mutation replaces a piece of a source file.
type mutation struct {
	file         string // relative to the module
	line, column int
	kind         string
	function     string // "F"; "T.M" is a method, "v" a variable of the package
	begin, end   int    // offsets in the file
	text         string // the text that replaces the source from begin to end
	context      string // the source around the mistake and the mistake, on one line
}

func (m mutation) String() string {
	return fmt.Sprintf("%s:%d:%d %s", m.file, m.line, m.column, m.kind)
}

// key names a mutation in equivalent.txt. A key has no line number, so it
// survives changes of the code around it.
func (m mutation) key() string { return m.function + ": " + m.kind + ": " + m.context }

// mutants are the mutations of one file, as they are found.
type mutants struct {
	name     string // of the file
	text     []byte
	fset     *token.FileSet
	info     *types.Info
	function string
	path     []ast.Node        // from the declaration down to the parent of the node
	done     map[ast.Node]bool // nodes whose mutations were found at their parent
	all      []mutation
}

// find returns the mutations of a file, in the order of their positions.
func find(name string, text []byte, fset *token.FileSet, file *ast.File, info *types.Info) []mutation {
	f := &mutants{name: name, text: text, fset: fset, info: info, done: map[ast.Node]bool{}}
	for _, decl := range file.Decls {
		f.decl(decl)
	}
	slices.SortStableFunc(f.all, func(a, b mutation) int { return a.begin - b.begin })
	same := map[string]int{}
	for i := range f.all {
		key := f.all[i].key()
		if same[key]++; same[key] > 1 {
			f.all[i].context += fmt.Sprintf(" #%d", same[key])
		}
	}
	return f.all
}

// decl finds mutations in functions and in variables, because a table is a list
// of decisions too. It passes over constants, whose numbers could as well be
// others.
func (f *mutants) decl(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		f.function = d.Name.Name
		if d.Recv != nil {
			receiver := strings.TrimPrefix(types.ExprString(d.Recv.List[0].Type), "*")
			f.function = strings.SplitN(receiver, "[", 2)[0] + "." + f.function
		}
		if d.Body != nil && d.Name.Name != "String" && d.Name.Name != "Error" {
			f.walk(d.Body)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR {
				f.function = v.Names[0].Name
				for _, value := range v.Values {
					f.walk(value)
				}
			}
		}
	}
}

func (f *mutants) walk(root ast.Node) {
	ast.Inspect(root, func(n ast.Node) bool {
		if n == nil {
			f.path = f.path[:len(f.path)-1]
			return false
		}
		if s, ok := n.(*ast.ExprStmt); ok && isMessage(s.X) {
			return false
		}
		if e, ok := n.(ast.Expr); ok && isMessage(e) {
			return false
		}
		f.node(n)
		f.path = append(f.path, n)
		return true
	})
}

// isMessage reports whether an expression is a call that only makes a text for
// people.
func isMessage(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	name := types.ExprString(call.Fun)
	return name == "panic" || name == "errors.New" || strings.HasPrefix(name, "fmt.")
}

// operators are pairs of operators that programmers mistake for each other.
var operators = map[token.Token]token.Token{
	token.LAND: token.LOR, token.LOR: token.LAND,
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.ADD: token.SUB, token.SUB: token.ADD,
}

// node adds the mistakes that can be made at one node. The path is that of its
// parent.
func (f *mutants) node(n ast.Node) {
	if f.done[n] {
		return
	}
	switch n := n.(type) {
	case *ast.IfStmt:
		f.negate(n.Cond)
	case *ast.ForStmt:
		f.negate(n.Cond)
	case *ast.ExprStmt, *ast.IncDecStmt:
		f.replace("drop", n, n, "")
	case *ast.BranchStmt, *ast.ReturnStmt:
		if len(f.path) > 1 { // the last statement of a function must stay
			f.add("drop", f.short(f.around())+" without "+f.source(n), n.Pos(), n.End(), "")
		}
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			f.replace("drop", n, n, "")
		}
	case *ast.CaseClause:
		if len(n.Body) > 0 {
			f.add("case", f.short(n), n.Body[0].Pos(), n.End(), "")
		}
	case *ast.BinaryExpr:
		if op, ok := operators[n.Op]; ok {
			f.add("operator", f.source(n)+" with "+op.String(), n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), op.String())
		}
	case *ast.Ident:
		if tv := f.info.Types[n]; tv.Value != nil && (n.Name == "true" || n.Name == "false") {
			f.replace("constant", n, f.parent(), strconv.FormatBool(n.Name == "false"))
		}
	case *ast.BasicLit:
		if i, err := strconv.ParseUint(n.Value, 0, 63); err == nil && n.Kind == token.INT {
			f.replace("constant", n, f.parent(), strconv.FormatUint(i+1, 10))
		}
	case *ast.CompositeLit:
		if _, ok := f.info.TypeOf(n).Underlying().(*types.Slice); ok {
			f.without("element", n, n.Elts)
		}
	case *ast.CallExpr:
		f.call(n)
	}
}

func (f *mutants) negate(cond ast.Expr) {
	if cond == nil {
		return
	}
	if b, ok := cond.(*ast.BinaryExpr); ok && (b.Op == token.EQL || b.Op == token.NEQ) {
		f.done[b] = true // a mutation of the other operator would be the same
	}
	f.replace("negate", cond, cond, "!("+f.source(cond)+")")
}

// call swaps arguments of the same type, and leaves out an argument of a variadic
// parameter. Where a parameter is a priority, it puts the flow below or above all
// others.
func (f *mutants) call(call *ast.CallExpr) {
	signature, ok := f.info.TypeOf(call.Fun).(*types.Signature)
	if !ok || f.info.Types[call.Fun].IsBuiltin() {
		return
	}
	params := signature.Params()
	fixed := params.Len()
	if signature.Variadic() {
		fixed--
		if !call.Ellipsis.IsValid() {
			f.without("argument", call, call.Args[min(fixed, len(call.Args)):])
		}
	}
	for i, arg := range call.Args[:min(fixed, len(call.Args))] {
		if strings.HasPrefix(params.At(i).Name(), "prio") {
			f.done[arg] = true
			if v := f.info.Types[arg].Value; v == nil || v.String() != "0" {
				f.replace("priority", arg, call, "1")
			}
			f.replace("priority", arg, call, "9999")
		}
		if i == 0 || strings.HasSuffix(types.ExprString(call.Fun), "Equal") {
			continue
		}
		before := call.Args[i-1]
		if types.Identical(params.At(i-1).Type(), params.At(i).Type()) && f.source(before) != f.source(arg) {
			f.add("swap", f.source(call)+" with "+f.source(arg)+", "+f.source(before), before.Pos(), arg.End(), f.source(arg)+", "+f.source(before))
		}
	}
}

// without leaves out one element of a list of expressions.
func (f *mutants) without(kind string, of ast.Node, list []ast.Expr) {
	for i, e := range list {
		begin, end := e.Pos(), e.End()
		if i+1 < len(list) {
			end = list[i+1].Pos()
		}
		f.add(kind, f.short(of)+" without "+f.source(e), begin, end, "")
	}
}

func (f *mutants) parent() ast.Node {
	if len(f.path) == 0 {
		return nil
	}
	return f.path[len(f.path)-1]
}

// around returns the statement whose block the node stands in.
func (f *mutants) around() ast.Node {
	if _, ok := f.parent().(*ast.BlockStmt); ok {
		return f.path[len(f.path)-2]
	}
	return f.parent()
}

// replace adds the mutation that puts a text in the place of a node; context is
// the node around it.
func (f *mutants) replace(kind string, n, context ast.Node, text string) {
	description := f.source(n)
	if context != nil && context != n {
		description = f.short(context) + " with " + text + " for " + description
	}
	f.add(kind, description, n.Pos(), n.End(), text)
}

func (f *mutants) add(kind, context string, begin, end token.Pos, text string) {
	at := f.fset.Position(begin)
	f.all = append(f.all, mutation{
		file: f.name, line: at.Line, column: at.Column, kind: kind, function: f.function,
		begin: at.Offset, end: f.fset.Position(end).Offset, text: text,
		context: strings.Join(strings.Fields(context), " "),
	})
}

func (f *mutants) source(n ast.Node) string {
	return string(f.text[f.fset.Position(n.Pos()).Offset:f.fset.Position(n.End()).Offset])
}

// short returns the source of a node, cut off where it is long.
func (f *mutants) short(n ast.Node) string {
	const enough = 120
	text := []rune(strings.Join(strings.Fields(f.source(n)), " "))
	if len(text) > enough {
		return string(text[:enough]) + "..."
	}
	return string(text)
}

// apply returns a file's text with a mutation. A list that lost its last element
// keeps the comma, which Go allows.
func (m mutation) apply(text []byte) []byte {
	return slices.Concat(text[:m.begin], []byte(m.text), bytes.Clone(text[m.end:]))
}
