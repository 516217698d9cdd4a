package ovssg_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ovs-sg/ovs-sg"

// arrows are all the packages, each with those of ours that it may import
// outside its tests, which may import what they like.
var arrows = map[string][]string{
	"":                           {},
	"cmd/ovs-sg":                 {"controller", "controller/control", "flows", "flows/openflow", "ovsdb/unixctl", "ovsdb/vswitch", "policy", "policy/dirsource", "policy/manifest", "policy/resolve"},
	"controller":                 {"controller/control", "flows", "flows/compile", "ovsdb/vswitch", "policy", "policy/resolve"},
	"controller/control":         {},
	"flows":                      {"policy"},
	"flows/compile":              {"flows", "flows/pipeline", "policy"},
	"flows/openflow":             {"flows", "policy"},
	"flows/pipeline":             {"flows", "policy"},
	"ovsdb":                      {},
	"ovsdb/unixctl":              {},
	"ovsdb/vswitch":              {"ovsdb"},
	"policy":                     {},
	"policy/dirsource":           {"policy", "policy/internal/multimap", "policy/manifest"},
	"policy/internal/multimap":   {},
	"policy/internal/policytest": {"policy", "policy/manifest"},
	"policy/manifest":            {"policy"},
	"policy/resolve":             {"policy", "policy/internal/multimap"},
	"testbed":                    {"ovsdb/unixctl"},
	"testbed/bench":              {"flows", "flows/openflow", "policy", "testbed"},
	"testbed/demo":               {"flows", "policy", "policy/manifest", "testbed"},
	"testbed/e2e":                {},
	"testbed/mutate":             {},
}

// owners are libraries that one package keeps to itself, its tests included.
var owners = map[string]string{
	"github.com/contiv/libOpenflow":          "flows/openflow",
	"github.com/fsnotify/fsnotify":           "policy/dirsource",
	"github.com/ovn-kubernetes/libovsdb":     "ovsdb",
	"github.com/digitalocean/go-openvswitch": "testbed",
	"github.com/prometheus/client_golang":    "controller cmd/ovs-sg",
	"go.yaml.in/yaml":                        "cmd/ovs-sg policy/manifest flows/compile",
	"github.com/alecthomas/kong":             "cmd/ovs-sg",
	"github.com/coreos/go-systemd":           "cmd/ovs-sg",
}

// pure packages go from values to values: no file, no socket, no clock, no log.
// Of package time they use the types that they pass on.
var (
	pure   = []string{"policy", "policy/internal/multimap", "policy/manifest", "policy/resolve", "flows", "flows/pipeline", "flows/compile"}
	impure = []string{"os", "os/exec", "os/signal", "io/fs", "io/ioutil", "net", "net/http", "syscall", "math/rand", "math/rand/v2",
		"crypto/rand", "log", "log/slog", "path/filepath", "go.uber.org/zap"}
)

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath, Name, Doc              string
	Imports, TestImports, XTestImports []string
	Deps                               []string
	GoFiles                            []string
}

func (p pkg) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func (p pkg) all() []string { return slices.Concat(p.Imports, p.TestImports, p.XTestImports) }

// listed are the packages of the module, by name.
func listed(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports,TestImports,XTestImports,Deps,GoFiles", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.name()] = p
	}
}

// within says whether an import path is a package or below it.
func within(imported, of string) bool {
	return imported == of || strings.HasPrefix(imported, of+"/")
}

func TestArrows(t *testing.T) {
	for name, p := range listed(t) {
		may, ok := arrows[name]
		if !ok {
			t.Errorf("%s is new: say in arrows what it may import", name)
			continue
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module+"/"); ok && !slices.Contains(may, ours) {
				t.Errorf("%s must not import %s", name, ours)
			}
		}
	}
}

func TestOwners(t *testing.T) {
	for name, p := range listed(t) {
		for _, i := range p.all() {
			for library, owner := range owners {
				if within(i, library) && !slices.Contains(strings.Fields(owner), name) {
					t.Errorf("%s imports %s, which only %s may", name, i, owner)
				}
			}
		}
	}
}

func TestPure(t *testing.T) {
	all := listed(t)
	for _, name := range pure {
		for _, i := range all[name].Imports {
			if slices.Contains(impure, i) {
				t.Errorf("%s imports %s", name, i)
			}
		}
		for _, use := range timeUses(t, name, all[name].GoFiles) {
			if use != "Time" && use != "Duration" {
				t.Errorf("%s uses time.%s", name, use)
			}
		}
		// Nor by a detour: of what is not Go's own, the manifests' YAML only.
		for _, i := range all[name].Deps {
			first, _, _ := strings.Cut(i, "/")
			if strings.Contains(first, ".") && !within(i, module) && !(name == "policy/manifest" && within(i, "go.yaml.in/yaml/v3")) {
				t.Errorf("%s depends on %s", name, i)
			}
		}
	}
}

// timeUses are the names of package time that the files of a package use.
func timeUses(t *testing.T, dir string, files []string) (uses []string) {
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path.Join(dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
					uses = append(uses, s.Sel.Name)
				}
			}
			return true
		})
	}
	return uses
}

func TestPackageComments(t *testing.T) {
	for name, p := range listed(t) {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", name)
		}
		want := "Package " + path.Base(name) + " "
		if p.Name == "main" {
			want = "Command " + path.Base(name) + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("the comment of %s does not begin with %q", name, want)
		}
	}
}
