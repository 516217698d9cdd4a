package main

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// source is a package in which mistakes are planted.
type source struct {
	fset     *token.FileSet
	files    map[string]*ast.File // by path below the module's root
	texts    map[string][]byte
	importer types.Importer
}

// load reads and checks the package in a directory below the module's root.
func load(root, dir string) (s *source, all []mutation, err error) {
	out, err := run(root, "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "./"+dir)
	if err != nil {
		return nil, nil, err
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 {
			exports[f[0]] = f[1]
		}
	}
	out, err = run(root, "go", "list", "-f", `{{join .GoFiles "\n"}}`, "./"+dir)
	if err != nil {
		return nil, nil, err
	}
	s = &source{fset: token.NewFileSet(), files: map[string]*ast.File{}, texts: map[string][]byte{}}
	s.importer = importer.ForCompiler(s.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	names := strings.Fields(string(out))
	for i, name := range names {
		name = path.Join(dir, name)
		names[i] = name
		if s.texts[name], err = os.ReadFile(filepath.Join(root, name)); err != nil {
			return nil, nil, err
		}
		if s.files[name], err = parser.ParseFile(s.fset, name, s.texts[name], parser.SkipObjectResolution); err != nil {
			return nil, nil, err
		}
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	if err := s.check(nil, "", info); err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		all = append(all, find(name, s.texts[name], s.fset, s.files[name], info)...)
	}
	return s, all, nil
}

// check type-checks the package with another file in place of the file with the
// name.
func (s *source) check(other *ast.File, name string, info *types.Info) error {
	var files []*ast.File
	for n, f := range s.files {
		if n == name {
			f = other
		}
		files = append(files, f)
	}
	_, err := (&types.Config{Importer: s.importer}).Check("mutated", s.fset, files, info)
	return err
}

// compiles reports whether the package with a mutation is still valid Go.
func (s *source) compiles(m mutation) bool {
	file, err := parser.ParseFile(s.fset, m.file, m.apply(s.texts[m.file]), parser.SkipObjectResolution)
	return err == nil && s.check(file, m.file, nil) == nil
}

// equivalents reads the keys of the mutations that no test can notice. A comment
// above the keys has the reason; the reason holds up to the next blank line.
func equivalents(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	reasons := map[string]string{}
	var reason string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		comment, isComment := strings.CutPrefix(line, "#")
		switch {
		case line == "":
			reason = ""
		case isComment:
			reason = strings.TrimSpace(reason + comment)
		case reason == "":
			return nil, fmt.Errorf("%s: no reason above %q", file, line)
		default:
			reasons[line] = reason
		}
	}
	return reasons, nil
}
