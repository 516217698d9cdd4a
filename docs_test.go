package ovssg_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
	"github.com/ovs-sg/ovs-sg/policy/resolve"
)

// maxLines is how long a Go file may be; tooLong are those that may be longer.
const maxLines = 500

var tooLong = map[string]bool{}

// files are the module's files with one of the extensions.
func files(t *testing.T, ext ...string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || name == "bin"):
			return fs.SkipDir
		case d.Type().IsRegular() && slices.Contains(ext, filepath.Ext(name)):
			all = append(all, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestFileLength(t *testing.T) {
	for _, name := range files(t, ".go") {
		if n := strings.Count(read(t, name), "\n"); n > maxLines && !tooLong[name] {
			t.Errorf("%s has %d lines; %d are the limit", name, n, maxLines)
		}
	}
}

func TestLicense(t *testing.T) {
	if !strings.Contains(read(t, "LICENSE"), "Apache License") {
		t.Error("LICENSE is not the Apache License that README.md names")
	}
}

// link is a Markdown link that is no address.
var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

func TestLinks(t *testing.T) {
	for _, name := range files(t, ".md") {
		for _, m := range link.FindAllStringSubmatch(read(t, name), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// block is a fenced block of Markdown.
var block = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```")

// TestManifestsInDocs checks every manifest that the documents show.
func TestManifestsInDocs(t *testing.T) {
	for _, name := range files(t, ".md") {
		for _, m := range block.FindAllStringSubmatch(read(t, name), -1) {
			if m[1] != "yaml" || !strings.Contains(m[2], "apiVersion:") {
				continue
			}
			_, problems := manifest.Decode(manifest.File{Name: name, Data: []byte(m[2])})
			for _, p := range problems {
				t.Errorf("%s: %v in\n%s", name, p, m[2])
			}
		}
	}
}

// TestExample checks the worked example as a whole.
func TestExample(t *testing.T) {
	var objects []policy.Objects
	var problems []policy.Problem
	for _, name := range files(t, ".yaml") {
		if filepath.Dir(name) != filepath.Join("docs", "example") {
			continue
		}
		o, p := manifest.Decode(manifest.File{Name: name, Data: []byte(read(t, name))})
		objects, problems = append(objects, o), append(problems, p...)
	}
	p, more := policy.New(objects, policy.Options{})
	_, warnings := resolve.Once(p, nil)
	for _, problem := range slices.Concat(problems, more, warnings) {
		t.Error(problem)
	}
}

var (
	target = regexp.MustCompile(`(?m)^([a-z-]+):`)
	made   = regexp.MustCompile("(?m)(?:^|`)(?:sudo )?make ([a-z-]+)")
)

// TestTargets looks up every "make something" of the documents.
func TestTargets(t *testing.T) {
	var targets []string
	for _, m := range target.FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets = append(targets, m[1])
	}
	for _, name := range files(t, ".md") {
		for _, m := range made.FindAllStringSubmatch(read(t, name), -1) {
			if !slices.Contains(targets, m[1]) {
				t.Errorf("%s: there is no make %s", name, m[1])
			}
		}
	}
}

var (
	agentCommand = regexp.MustCompile(`(?s)type agentCmd struct \{(.*?)\n\}`)
	agentField   = regexp.MustCompile("(?m)^\t(\\w+) .*`(.*)`$")
	flagName     = regexp.MustCompile(`name:"([^"]+)"`)
	inDocs       = regexp.MustCompile("(?m)^\\| `--([a-z-]+)")
	camel        = regexp.MustCompile(`([a-z])([A-Z])`)
)

// TestFlags looks up the agent's flags that README.md names.
func TestFlags(t *testing.T) {
	source := agentCommand.FindStringSubmatch(read(t, filepath.Join("cmd", "ovs-sg", "agent.go")))
	if source == nil {
		t.Fatal("no type agentCmd")
	}
	var flags []string
	for _, m := range agentField.FindAllStringSubmatch(source[1], -1) {
		name := strings.ToLower(camel.ReplaceAllString(m[1], "$1-$2"))
		if n := flagName.FindStringSubmatch(m[2]); n != nil {
			name = n[1]
		}
		flags = append(flags, name)
	}
	for _, m := range inDocs.FindAllStringSubmatch(read(t, "README.md"), -1) {
		if !slices.Contains(flags, m[1]) {
			t.Errorf("README.md: the agent has no flag --%s, only %s", m[1], flags)
		}
	}
}

// TestNoTrailingSpace keeps the documents tidy.
func TestNoTrailingSpace(t *testing.T) {
	for _, name := range files(t, ".md") {
		for i, line := range bytes.Split([]byte(read(t, name)), []byte("\n")) {
			if len(line) > 0 && line[len(line)-1] == ' ' {
				t.Errorf("%s:%d ends in a space", name, i+1)
			}
		}
	}
}

var (
	quoted   = regexp.MustCompile("`([^`\n]+)`")
	goFile   = regexp.MustCompile(`^[\w/-]+\.go$`)
	goName   = regexp.MustCompile(`^([a-z]\w*)\.(\w+(?:\.\w+)?)$`)
	receiver = regexp.MustCompile(`^\*?(\w+)`)
)

// TestNamesInContributing looks up every Go file, and every function, type,
// method, constant and variable of a package, that docs/contributing.md names.
func TestNamesInContributing(t *testing.T) {
	declared := map[string]bool{}
	packages := map[string]bool{}
	for name, p := range listed(t) {
		short := path.Base(name)
		packages[short] = true
		for _, file := range p.GoFiles {
			declare(t, path.Join(name, file), short, declared)
		}
	}
	text := read(t, filepath.Join("docs", "contributing.md"))
	n := 0
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		if goFile.MatchString(m[1]) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Error(err)
			}
			n++
		} else if parts := goName.FindStringSubmatch(m[1]); parts != nil && packages[parts[1]] && parts[2] != "go" {
			if !declared[m[1]] {
				t.Errorf("there is no %s", m[1])
			}
			n++
		}
	}
	if n == 0 {
		t.Error("no name was found")
	}
}

// declare notes what a file declares at its top level, as "package.Name" and
// "package.Type.Method".
func declare(t *testing.T, name, pkg string, declared map[string]bool) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				name = receiver.FindStringSubmatch(types.ExprString(d.Recv.List[0].Type))[1] + "." + name
			}
			declared[pkg+"."+name] = true
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					declared[pkg+"."+s.Name.Name] = true
					switch x := s.Type.(type) {
					case *ast.InterfaceType:
						for _, m := range x.Methods.List {
							for _, id := range m.Names {
								declared[pkg+"."+s.Name.Name+"."+id.Name] = true
							}
						}
					case *ast.StructType:
						for _, f := range x.Fields.List {
							for _, id := range f.Names {
								declared[pkg+"."+s.Name.Name+"."+id.Name] = true
							}
						}
					}
				case *ast.ValueSpec:
					for _, id := range s.Names {
						declared[pkg+"."+id.Name] = true
					}
				}
			}
		}
	}
}
