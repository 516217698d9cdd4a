package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/dirwatch"
)

// memoryStore is a Store in memory.
type memoryStore struct {
	files   map[string][]byte
	parsed  []*policy.Version
	asked   int  // how often SaveParsed was called
	forgets bool // does not keep the parsed form
}

func newMemoryStore() *memoryStore { return &memoryStore{files: map[string][]byte{}} }

func (s *memoryStore) Files() (out []policy.File) {
	if s.parsed != nil {
		return nil
	}
	for name, data := range s.files {
		out = append(out, policy.File{Name: name, Data: data})
	}
	return out
}

func (s *memoryStore) Versions() []*policy.Version { return s.parsed }

func (s *memoryStore) Save(changed []policy.File, removed []string) error {
	for _, f := range changed {
		if old, ok := s.files[f.Name]; !ok || string(old) != string(f.Data) {
			s.parsed = nil
		}
		s.files[f.Name] = f.Data
	}
	for _, name := range removed {
		if s.files[name] != nil {
			s.parsed = nil
		}
		delete(s.files, name)
	}
	return nil
}

func (s *memoryStore) SaveParsed(versions []*policy.Version) error {
	if s.asked++; !s.forgets {
		s.parsed = versions
	}
	return nil
}

// send sends what has changed in the directory, and the ports.
func (r *rig) send(changes ...policy.FileChange) {
	r.seq++
	r.files <- Files{Seq: r.seq, Changes: changes, Since: time.Now()}
	r.sendPorts(twoPorts)
}

func change(name, text string) policy.FileChange {
	return policy.FileChange{File: policy.File{Name: name, Data: []byte(text)}}
}

// TestRestartTakesWhatWasParsed: what has not changed is not decoded again,
// which shows because other objects have been put in its place.
func TestRestartTakesWhatWasParsed(t *testing.T) {
	for _, revoke := range []float64{0, 1} {
		store := newMemoryStore()
		r := newRigWith(t, newFakeSwitch(), func(c *Config) { c.MaxRevoke, c.Store = revoke, store })
		r.set(state{twoVMs(nil, ssh, egress), twoPorts})
		was := r.installed()
		r.set(state{twoVMs(nil, fromB, ssh, egress), twoPorts})
		now := r.installed()
		r.stop()
		if len(store.parsed) != 1 || was == now {
			t.Fatalf("%d versions were kept", len(store.parsed))
		}
		objects, errs := policy.Decode(policy.File{Name: "policy.yaml", Data: []byte(twoVMs(nil, ssh, egress))})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		store.parsed[0].Objects = objects
		before := store.parsed[0]
		r.sw = newFakeSwitch()
		r.start()
		r.set(state{twoVMs(nil, fromB, ssh, egress), twoPorts})
		if r.installed() != was {
			t.Errorf("max-revoke %g: it was decoded again", revoke)
		}
		r.stop()
		if len(store.parsed) != 1 || store.parsed[0] != before {
			t.Errorf("max-revoke %g: another version was kept", revoke)
		}
	}
}

// TestChangedWhileDown: whatever happened to the files while the agent was
// down, it is the same with and without the parsed form.
func TestChangedWhileDown(t *testing.T) {
	vms := manifests([]string{"one 10.0.0.1 a", "two 10.0.0.2 b"}, nil)
	group := func(name string, rules ...string) string { return manifests(nil, map[string][]string{name: rules}) }
	first := []policy.FileChange{change("a.yaml", group("a", ssh, fromB)), change("b.yaml", group("b", egress)), change("vms.yaml", vms)}
	same := func(c ...policy.FileChange) []policy.FileChange { return slices.Concat(c, first[len(c):]) }
	for what, files := range map[string][]policy.FileChange{
		"same":     same(),
		"changed":  same(change("a.yaml", group("a", egress))),
		"broken":   same(change("a.yaml", "{")),
		"empty":    same(change("a.yaml", "")),
		"removed":  first[1:],
		"another":  append([]policy.FileChange{change("0.yaml", group("c", ssh))}, first...),
		"stolen":   append([]policy.FileChange{change("0.yaml", group("a", egress))}, first...),
		"renamed":  append([]policy.FileChange{change("0.yaml", string(first[0].File.Data))}, first[1:]...),
		"moved":    same(change("a.yaml", group("b", ssh)), change("b.yaml", group("a", egress))),
		"conflict": same(change("a.yaml", group("b", ssh))),
		"unread":   same(policy.FileChange{File: policy.File{Name: "a.yaml", Unreadable: "permission denied"}}),
	} {
		for _, revoke := range []float64{0, 0.3} {
			var want string
			for _, parsed := range []bool{false, true} {
				store := newMemoryStore()
				store.forgets = !parsed
				r := newRigWith(t, newFakeSwitch(), func(c *Config) { c.MaxRevoke, c.Store = revoke, store })
				r.send(first...)
				r.wait()
				r.stop()
				if parsed != (len(store.parsed) == len(first)) {
					t.Fatalf("%d versions were kept", len(store.parsed))
				}
				r.start()
				r.send(files...)
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				err := r.c.Wait(ctx)
				cancel()
				var out strings.Builder
				st := r.status()
				fmt.Fprintf(&out, "%v, %s\n%+v\n%s\n", err, st.State, st.Files, r.installed())
				r.stop()
				for _, name := range slices.Sorted(maps.Keys(store.files)) {
					fmt.Fprintf(&out, "%s=%s\n", name, store.files[name])
				}
				if held := st.State == "held"; parsed && store.parsed != nil && held && len(store.parsed) != len(first) {
					t.Errorf("%s: what is held was kept", what)
				}
				if !parsed {
					want = out.String()
				} else if out.String() != want {
					t.Errorf("%s, max-revoke %g: parsed:\n%s\nnot parsed:\n%s", what, revoke, out.String(), want)
				}
			}
		}
	}
}

// TestNothingParsedIsKept before there is anything, and while a change is held.
func TestNothingParsedIsKept(t *testing.T) {
	store := newMemoryStore()
	r := newRigWith(t, newFakeSwitch(), func(c *Config) { c.MaxRevoke, c.Store = 0.5, store })
	r.stop()
	r.start()
	r.seq++
	r.sendFiles(twoVMs(nil, ssh, egress)) // not in force without ports
	r.stop()
	r.start()
	r.set(state{twoVMs(nil, ssh, egress), twoPorts})
	r.seq++
	r.sendFiles("# nothing")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.c.Wait(ctx); err == nil {
		t.Fatal("not held")
	}
	r.stop()
	if store.asked > 0 {
		t.Errorf("asked %d times", store.asked)
	}
	r.start()
	r.set(state{twoVMs(nil, ssh, egress), twoPorts})
	r.stop()
	if store.asked != 1 {
		t.Errorf("asked %d times", store.asked)
	}
}

// TestRestartWithAStore is all of it with files.
func TestRestartWithAStore(t *testing.T) {
	dir := t.TempDir()
	r := newRigWith(t, newFakeSwitch(), func(c *Config) {
		store, err := dirwatch.OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		c.Store = store
	})
	opened := func(parsed bool) {
		t.Helper()
		r.stop()
		store, err := dirwatch.OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		if v := store.Versions(); (len(v) > 0) != parsed {
			t.Errorf("%d versions in parsed form", len(v))
		}
		r.start()
	}
	full := twoVMs(nil, ssh, egress)
	r.set(state{full, twoPorts})
	flows := r.installed()
	for range 2 {
		opened(true)
		r.forget()
		r.set(state{full, twoPorts})
		if bundles, _, _ := r.noted(); len(bundles) > 0 {
			t.Errorf("the restart changed flows: %v", bundles)
		}
	}
	opened(true)
	r.seq++
	r.sendFiles("{") // what was parsed is what it falls back to
	r.sendPorts(twoPorts)
	r.wait()
	if r.installed() != flows || r.status().Files[0].State != "kept" {
		t.Errorf("status %+v", r.status().Files)
	}
	opened(true)
	r.set(state{twoVMs(nil, egress), twoPorts})
	opened(true)
	r.set(state{twoVMs(nil, egress), twoPorts})
}
