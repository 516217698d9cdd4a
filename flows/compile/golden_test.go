package compile_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
	"github.com/ovs-sg/ovs-sg/policy/resolve"
)

var update = flag.Bool("update", false, "rewrite want.flows in testdata")

// scenario is one story of testdata: a policy, the ports of a host, and the flows
// that the compiler must make of them.
type scenario struct {
	name  string
	in    compile.Input
	want  string
	arch  *txtar.Archive
	path  string
	ports []portLine
	// tables are the tables that the story shows; empty: all.
	tables []string
}

// shown returns the flows of the tables that the story shows.
func (s scenario) shown(set *flows.Set) *flows.Set {
	out := &flows.Set{}
	for f := range set.All() {
		if len(s.tables) == 0 || slices.Contains(s.tables, f.Table.String()) {
			out.Put(f)
		}
	}
	return out
}

// portLine is a line of ports.yaml.
type portLine struct {
	OFPort  uint32   `yaml:"ofport"`
	ID      string   `yaml:"id"`
	VMID    string   `yaml:"vm-id"`
	MAC     string   `yaml:"mac"`
	Tag     uint16   `yaml:"tag"`
	Infra   bool     `yaml:"infra"`
	Access  bool     `yaml:"access"`
	Native  uint16   `yaml:"native"`
	Trunks  []uint16 `yaml:"trunks"`
	EpochIs uint32   `yaml:"epoch"`
}

func loadPolicy(t testing.TB, files ...manifest.File) *policy.Policy {
	t.Helper()
	var all []policy.Objects
	for _, f := range files {
		objects, problems := manifest.Decode(f)
		for _, p := range problems {
			t.Error(p)
		}
		all = append(all, objects)
	}
	p, problems := policy.New(all, policy.Options{})
	for _, p := range problems {
		t.Error(p)
	}
	if t.Failed() {
		t.FailNow()
	}
	return p
}

func loadScenarios(t testing.TB) []scenario {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	var out []scenario
	for _, path := range paths {
		arch, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := scenario{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), path: path, arch: arch}
		var files []manifest.File
		kernel := false
		for _, f := range arch.Files {
			switch {
			case f.Name == "want.flows":
				s.want = string(f.Data)
			case f.Name == "ports.yaml":
				if err := yaml.Unmarshal(f.Data, &s.ports); err != nil {
					t.Fatal(err)
				}
			case f.Name == "tables":
				s.tables = strings.Fields(string(f.Data))
			case f.Name == "kernel": // the kernel's datapath
				kernel = true
			case strings.HasPrefix(f.Name, "../"): // a directory, as seen from flows: the documented example itself
				for _, name := range glob(t, filepath.Join("..", f.Name, "*.yaml")) {
					data, err := os.ReadFile(name)
					if err != nil {
						t.Fatal(err)
					}
					files = append(files, manifest.File{Name: filepath.Base(name), Data: data})
				}
			default:
				files = append(files, manifest.File{Name: f.Name, Data: f.Data})
			}
		}
		s.in = input(t, loadPolicy(t, files...), s.ports)
		s.in.Userspace = !kernel
		out = append(out, s)
	}
	return out
}

func glob(t testing.TB, pattern string) []string {
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: no files (%v)", pattern, err)
	}
	return names
}

func input(t testing.TB, p *policy.Policy, ports []portLine) compile.Input {
	in := compile.Input{Classes: map[uint16]compile.Class{}}
	var vifs []policy.VIF
	for _, l := range ports {
		if l.Infra {
			in.Infra = append(in.Infra, flows.InfraPort{OFPort: l.OFPort, Access: l.Access, Native: l.Native, Trunks: l.Trunks})
			continue
		}
		v := policy.VIF{Name: fmt.Sprintf("tap%d", l.OFPort), OFPort: uint16(l.OFPort), Tag: l.Tag, IfaceID: l.ID, VMID: l.VMID}
		if l.MAC != "" {
			mac, err := policy.ParseMAC(l.MAC)
			if err != nil {
				t.Fatal(err)
			}
			v.MAC = mac
		}
		vifs = append(vifs, v)
		in.Classes[v.OFPort] = compile.Class{Epochs: flows.Epochs{policy.Egress: l.EpochIs, policy.Ingress: l.EpochIs}}
	}
	in.Model, _ = resolve.Once(p, vifs)
	return in
}

// TestEveryTableHasAStory: each table is shown by a story named after it.
func TestEveryTableHasAStory(t *testing.T) {
	shown := map[string]bool{}
	for _, s := range loadScenarios(t) {
		for _, table := range s.tables {
			// egress_est and ingress_est are est.
			name := strings.TrimPrefix(strings.TrimPrefix(table, "egress_"), "ingress_")
			if strings.HasPrefix(s.name, strings.ReplaceAll(name, "_", "-")+"-") {
				shown[table] = true
			}
		}
	}
	for _, table := range flows.Tables() {
		if !shown[table.String()] {
			t.Errorf("no story of testdata shows table %s", table)
		}
	}
}

func TestCompileGolden(t *testing.T) {
	for _, s := range loadScenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			set, err := compile.Full(s.in)
			if err != nil {
				t.Fatal(err)
			}
			got := s.shown(set).String()
			if *update {
				for i := range s.arch.Files {
					if s.arch.Files[i].Name == "want.flows" {
						s.arch.Files[i].Data = []byte(got)
					}
				}
				if err := os.WriteFile(s.path, txtar.Format(s.arch), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != s.want {
				t.Errorf("flows differ from %s (make golden rewrites it):\n%s", s.path, lineDiff(s.want, got))
			}
		})
	}
}

// lineDiff lists the lines that only one of the texts has.
func lineDiff(want, got string) string {
	only := func(a, b, sign string) (out string) {
		in := map[string]bool{}
		for _, l := range strings.Split(b, "\n") {
			in[l] = true
		}
		for _, l := range strings.Split(a, "\n") {
			if !in[l] {
				out += sign + l + "\n"
			}
		}
		return out
	}
	return only(want, got, "-") + only(got, want, "+")
}
