package dirsource

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Files that are deleted, changed or broken while the agent reads the directory at
// its start have no copy afterwards but what is in force.
func TestFilesChangeDuringTheStart(t *testing.T) {
	for round := range 12 {
		guarded := round%2 == 0
		random := rand.New(rand.NewPCG(uint64(round), 1))
		var kept []File
		const n = 100
		for i := range n {
			kept = append(kept, group(fmt.Sprintf("%03d.yaml", i), fmt.Sprintf("g%d", i)))
		}
		h := &holdTest{newSourceTest(t, guarded, kept)}
		h.must(os.Mkdir(h.cfg.Dir, 0o700))
		for _, f := range kept {
			h.must(os.WriteFile(filepath.Join(h.cfg.Dir, f.Name), f.Data, 0o600))
		}
		begin, done := make(chan struct{}), make(chan error)
		go func() {
			<-begin
			var err error
			for _, i := range random.Perm(n)[:n/2] {
				name := filepath.Join(h.cfg.Dir, kept[i].Name)
				switch random.IntN(3) {
				case 0, 1:
					err = os.Remove(name)
				case 2:
					err = os.WriteFile(name, []byte("{"), 0o600)
				}
				if err != nil {
					break
				}
			}
			done <- err
		}()
		h.run()
		close(begin)
		if round%3 == 0 {
			h.now()
		}
		h.must(<-done)
		h.now()
		inForce := h.groups()
		h.stop()
		entries, err := os.ReadDir(h.cfg.Dir)
		h.must(err)
		there := func(name string) bool {
			return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
		}
		for _, f := range strings.Fields(h.kept()) {
			if name, _, _ := strings.Cut(f, "="); !there(name) {
				t.Errorf("round %d: %s is kept, and the file is not there", round, name)
			}
		}
		h.expect("kept", h.kept(), inForce)
	}
}

// A copy that is damaged, or does not decode any more, is left out: the agent
// starts, and warns as long as it runs.
func TestDamagedCopies(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		s := newSourceTest(t, guarded, []File{group("a.yaml", "old"), group("b.yaml", "other"), broken("c.yaml")})
		path := filepath.Join(s.cfg.StateDir, "a.yaml"+acceptedSuffix)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data[:len(data)-7], 0o600); err != nil {
			t.Fatal(err)
		}
		s = openSourceTest(t, s.cfg)
		warnings := func() string {
			status, _ := s.Status(1000)
			return strings.Join(status.Warnings, "\n")
		}
		const left = "a.yaml.accepted: does not have its checksum"
		if w := warnings(); !strings.Contains(w, left) {
			t.Errorf("guarded %v: before the first update: %q", guarded, w)
		}
		s.deliverOnly()
		s.find("", broken("a.yaml"), broken("b.yaml"), broken("c.yaml"))
		s.until(1)
		s.expect("in force", s.groups(), "b.yaml=other")
		if w := warnings(); !strings.Contains(w, left) || !strings.Contains(w, "c.yaml.accepted: c.yaml:") || strings.Contains(w, "b.yaml") {
			t.Errorf("guarded %v: warnings %q", guarded, w)
		}
	}
}

// Many damaged copies do not flood the status.
func TestManyDamagedCopies(t *testing.T) {
	s := newSourceTest(t, false, nil)
	for i := range 100 {
		name := filepath.Join(s.cfg.StateDir, fmt.Sprintf("%d.yaml%s", i, acceptedSuffix))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status, _ := openSourceTest(t, s.cfg).Status(1000)
	if n := len(status.Warnings); n != 21 || !strings.Contains(status.Warnings[20], "80 more") {
		t.Errorf("%d warnings: %q", n, status.Warnings)
	}
}
