package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/policy/dirsource"
)

// memoryStore is a Store in memory.
type memoryStore struct{ files map[string][]byte }

func newMemoryStore() *memoryStore { return &memoryStore{files: map[string][]byte{}} }

func (s *memoryStore) Files() (out []dirsource.File) {
	for name, data := range s.files {
		out = append(out, dirsource.File{Name: name, Data: data})
	}
	return out
}

func (s *memoryStore) Save(changed []dirsource.File, removed []string) error {
	for _, f := range changed {
		s.files[f.Name] = f.Data
	}
	for _, name := range removed {
		delete(s.files, name)
	}
	return nil
}

// send sends what has changed in the directory, and the ports.
func (r *rig) send(changes ...dirsource.FileChange) {
	r.seq++
	r.files <- Files{Seq: r.seq, Changes: changes, Since: time.Now()}
	r.sendPorts(twoPorts)
}

func change(name, text string) dirsource.FileChange {
	return dirsource.FileChange{File: dirsource.File{Name: name, Data: []byte(text)}}
}

// TestChangedWhileDown: whatever happened to the files while the agent was
// down, what is in force and what is kept afterwards is the same as if the
// agent had seen it happen.
func TestChangedWhileDown(t *testing.T) {
	vms := manifests([]string{"one 10.0.0.1 a", "two 10.0.0.2 b"}, nil)
	group := func(name string, rules ...string) string { return manifests(nil, map[string][]string{name: rules}) }
	first := []dirsource.FileChange{change("a.yaml", group("a", ssh, fromB)), change("b.yaml", group("b", egress)), change("vms.yaml", vms)}
	same := func(c ...dirsource.FileChange) []dirsource.FileChange { return slices.Concat(c, first[len(c):]) }
	removed := dirsource.FileChange{File: dirsource.File{Name: "a.yaml"}, Gone: true}
	for what, files := range map[string][]dirsource.FileChange{
		"same":     same(),
		"changed":  same(change("a.yaml", group("a", egress))),
		"broken":   same(change("a.yaml", "{")),
		"empty":    same(change("a.yaml", "")),
		"removed":  same(removed),
		"another":  append([]dirsource.FileChange{change("0.yaml", group("c", ssh))}, first...),
		"stolen":   append([]dirsource.FileChange{change("0.yaml", group("a", egress))}, first...),
		"renamed":  slices.Concat([]dirsource.FileChange{change("0.yaml", string(first[0].File.Data)), removed}, first[1:]),
		"moved":    same(change("a.yaml", group("b", ssh)), change("b.yaml", group("a", egress))),
		"conflict": same(change("a.yaml", group("b", ssh))),
		"unread":   same(dirsource.FileChange{File: dirsource.File{Name: "a.yaml", Unreadable: "permission denied"}}),
	} {
		for _, revoke := range []float64{0, 0.3} {
			var want string
			for _, down := range []bool{false, true} {
				store := newMemoryStore()
				r := newRigWith(t, newFakeSwitch(), func(c *Config) { c.MaxRevoke, c.Store = revoke, store })
				r.send(first...)
				r.wait()
				files := files
				if down {
					r.stop()
					r.start()
					// The first look at the directory does not tell of what is gone.
					files = slices.DeleteFunc(slices.Clone(files), func(c dirsource.FileChange) bool { return c.Gone })
				}
				r.send(files...)
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				err := r.c.Wait(ctx)
				cancel()
				var out strings.Builder
				st := r.status()
				fmt.Fprintf(&out, "%v, %s\n%+v\n", err, st.State, st.Files)
				r.stop()
				for _, name := range slices.Sorted(maps.Keys(store.files)) {
					fmt.Fprintf(&out, "%s=%s\n", name, store.files[name])
				}
				if !down {
					want = out.String()
				} else if out.String() != want {
					t.Errorf("%s, max-revoke %g: after a restart:\n%s\nwithout:\n%s", what, revoke, out.String(), want)
				}
			}
		}
	}
}

// TestRestartWithAStore: a restart changes no flow, and a file that is broken
// then has its accepted copy in force.
func TestRestartWithAStore(t *testing.T) {
	dir := t.TempDir()
	r := newRigWith(t, newFakeSwitch(), func(c *Config) {
		store, err := dirsource.OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		c.Store = store
	})
	restart := func() {
		t.Helper()
		r.stop()
		r.start()
	}
	full := twoVMs(nil, ssh, egress)
	r.set(state{full, twoPorts})
	flows := r.installed()
	for range 2 {
		restart()
		r.forget()
		r.set(state{full, twoPorts})
		if bundles, _, _ := r.noted(); len(bundles) > 0 {
			t.Errorf("the restart changed flows: %v", bundles)
		}
	}
	restart()
	r.seq++
	r.sendFiles("{")
	r.sendPorts(twoPorts)
	r.wait()
	if r.installed() != flows || r.status().Files[0].State != "kept" {
		t.Errorf("status %+v", r.status().Files)
	}
	restart()
	r.set(state{twoVMs(nil, egress), twoPorts})
}
