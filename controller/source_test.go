package controller

import (
	"context"
	"crypto/sha256"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/dirsource"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// source is a policy.Source that tests write to. What it keeps outlives the
// runs of a controller.
type source interface {
	policy.Source
	// start begins a new run, which knows what was kept; stop ends it.
	start(t *testing.T)
	stop()
	// put changes the content of a unit, remove takes the unit away.
	put(name, text string)
	remove(name string)
	// look makes the source deliver the whole policy, if this run has not.
	look()
	// kept returns what was kept of the units, by name.
	kept() map[string]string
}

// memorySource is a source without files: documents in memory. A document is
// refused if it does not decode, or if it defines an object that another one
// has in force. It is as small as a source can be that keeps what is enforced.
type memorySource struct {
	guarded bool

	mu      sync.Mutex
	updates chan policy.Update
	docs    map[string]string
	store   map[string]*policy.Revision // kept across runs; not to be changed
	texts   map[[sha256.Size]byte]string

	seq      uint64
	looked   bool
	inForce  map[string]*policy.Revision
	statuses map[string]policy.UnitStatus
	pending  map[uint64]map[string]*policy.Revision // in force at an update, not enforced yet
}

func newMemorySource(guarded bool) *memorySource {
	return &memorySource{guarded: guarded, docs: map[string]string{}, store: map[string]*policy.Revision{}, texts: map[[sha256.Size]byte]string{}}
}

func (m *memorySource) String() string { return "policy directory" }

func (m *memorySource) Updates() <-chan policy.Update {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.updates
}

func (m *memorySource) Sync(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seq, nil
}

func (m *memorySource) Status(most int) (s policy.SourceStatus, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.statuses)) {
		u := m.statuses[name]
		*[]*int{policy.Accepted: &s.Accepted, policy.Kept: &s.Kept, policy.Rejected: &s.Rejected}[u.State]++
		s.Units = append(s.Units, u)
	}
	if s.Accepted > most {
		s.Units = slices.DeleteFunc(s.Units, func(u policy.UnitStatus) bool { return u.State == policy.Accepted })
	}
	s.Seq = m.seq
	return s, m.looked
}

func (m *memorySource) Release(context.Context) (bool, error) { return false, nil }

func (m *memorySource) Enforced(seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(seq)
}

// keep keeps what was in force at an update.
func (m *memorySource) keep(seq uint64) {
	for _, s := range slices.Sorted(maps.Keys(m.pending)) {
		if s <= seq {
			m.store = m.pending[s]
			delete(m.pending, s)
		}
	}
}

func (m *memorySource) start(*testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.updates, m.looked = make(chan policy.Update, 2), false
	m.inForce, m.statuses = map[string]*policy.Revision{}, map[string]policy.UnitStatus{}
	m.pending = map[uint64]map[string]*policy.Revision{}
	if m.guarded && len(m.store) > 0 {
		m.inForce = maps.Clone(m.store)
		m.updates <- policy.Update{Changes: difference(nil, m.store), Restored: true}
	}
}

func (m *memorySource) stop() {}

func (m *memorySource) put(name, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.docs[name] = text
	m.texts[sha256.Sum256([]byte(text))] = text
	if m.looked {
		m.deliver()
	}
}

func (m *memorySource) remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.docs, name)
	if m.looked {
		m.deliver()
	}
}

func (m *memorySource) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.looked {
		m.looked = true
		m.deliver()
	}
}

func (m *memorySource) kept() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]string{}
	for name, r := range m.store {
		out[name] = m.texts[r.Sum]
	}
	return out
}

// deliver judges all documents and sends what changes.
func (m *memorySource) deliver() {
	first := m.seq == 0 || len(m.statuses) == 0
	before, was := m.inForce, maps.Clone(m.inForce)
	if first { // a document may fall back to what was kept
		was = maps.Clone(m.store)
	}
	after, refused := map[string]*policy.Revision{}, map[string][]policy.Problem{}
	owner := map[policy.Key]string{}
	claim := func(name string, r *policy.Revision) {
		after[name] = r
		for _, k := range objectKeys(r.Objects) {
			owner[k] = name
		}
	}
	decoded := map[string]*policy.Revision{}
	for name, text := range m.docs {
		o, errs := manifest.Decode(manifest.File{Name: name, Data: []byte(text)})
		if len(errs) > 0 {
			refused[name] = errs
			continue
		}
		decoded[name] = &policy.Revision{Name: name, Sum: sha256.Sum256([]byte(text)), Objects: o}
		if old := before[name]; old != nil && old.Sum == decoded[name].Sum {
			decoded[name] = old
		}
	}
	for name := range m.docs { // what stays as it was comes first
		if old := was[name]; old != nil && (decoded[name] == nil || decoded[name].Sum == old.Sum) {
			if decoded[name] != nil {
				old = decoded[name]
			}
			claim(name, old)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(decoded)) {
		r := decoded[name]
		for _, k := range objectKeys(r.Objects) {
			if other, taken := owner[k]; taken && other != name {
				refused[name] = append(refused[name], policy.Problem{Pos: policy.Position{File: name}, Reason: "duplicate of " + other})
			}
		}
		if len(refused[name]) == 0 {
			claim(name, r)
		} else if old := was[name]; old != nil {
			claim(name, old)
		}
	}
	m.statuses = map[string]policy.UnitStatus{}
	for name := range m.docs {
		u := policy.UnitStatus{Name: name, Errors: refused[name]}
		switch {
		case len(u.Errors) > 0 && after[name] != nil:
			u.State = policy.Kept
		case len(u.Errors) > 0:
			u.State = policy.Rejected
		}
		m.statuses[name] = u
	}
	m.inForce = after
	m.seq++
	m.pending[m.seq] = after
	if !m.guarded {
		m.keep(m.seq)
	}
	m.send(policy.Update{Seq: m.seq, Changes: difference(before, after), Since: time.Now()})
}

// send delivers an update together with those that were not received.
func (m *memorySource) send(u policy.Update) {
	var restored *policy.Update
	for more := true; more; {
		select {
		case old := <-m.updates:
			if old.Restored {
				restored = &old
			} else {
				u.Changes = policy.Merge(old.Changes, u.Changes)
			}
		default:
			more = false
		}
	}
	if restored != nil {
		m.updates <- *restored
	}
	m.updates <- u
}

func objectKeys(o policy.Objects) (keys []policy.Key) {
	for _, g := range o.Groups {
		keys = append(keys, policy.Key{Namespace: "group/" + g.Key.Namespace, Name: g.Key.Name})
	}
	for _, s := range o.Subnets {
		keys = append(keys, policy.Key{Namespace: "subnet/" + s.Key.Namespace, Name: s.Key.Name})
	}
	for _, v := range o.VirtualMachines {
		keys = append(keys, policy.Key{Namespace: "vm/" + v.Key.Namespace, Name: v.Key.Name})
	}
	return keys
}

// difference returns the changes from one set of revisions to another.
func difference(before, after map[string]*policy.Revision) (changes []policy.RevisionChange) {
	names := maps.Clone(before)
	if names == nil {
		names = map[string]*policy.Revision{}
	}
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if before[name] != after[name] {
			changes = append(changes, policy.RevisionChange{Name: name, Before: before[name], After: after[name]})
		}
	}
	return changes
}

// directory is the source of the agent, over a directory of the test's.
type directory struct {
	*dirsource.Source
	t            *testing.T
	guarded      bool
	dir, state   string
	cancel, done func()
}

func newDirectory(t *testing.T, guarded bool) *directory {
	return &directory{t: t, guarded: guarded, dir: t.TempDir(), state: t.TempDir()}
}

func (d *directory) start(t *testing.T) {
	var err error
	d.Source, err = dirsource.New(dirsource.Config{Dir: d.dir, StateDir: d.state, Guarded: d.guarded, Logger: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.Run(ctx)
	}()
	d.cancel, d.done = cancel, func() { <-ended }
}

func (d *directory) stop() {
	d.cancel()
	d.done()
}

func (d *directory) put(name, text string) {
	temp := filepath.Join(d.dir, ".new")
	if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(temp, filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *directory) remove(name string) {
	if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *directory) look() {} // Run has

func (d *directory) kept() map[string]string {
	entries, err := os.ReadDir(d.state)
	if err != nil {
		d.t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(d.state, e.Name()))
		if err != nil {
			d.t.Fatal(err)
		}
		begin, content, _ := strings.Cut(string(data), "\n")
		if !strings.HasPrefix(begin, "# ovs-sg accepted copy, sha256 of the rest: ") {
			d.t.Errorf("%s begins with %q", e.Name(), begin)
		}
		if name := strings.TrimSuffix(e.Name(), ".accepted"); name != "directory" {
			out[name] = content
		}
	}
	return out
}

// sources runs a test with each kind of source.
func sources(t *testing.T, f func(t *testing.T, newSource func(guarded bool) source)) {
	t.Run("memory", func(t *testing.T) {
		f(t, func(guarded bool) source { return newMemorySource(guarded) })
	})
	t.Run("directory", func(t *testing.T) {
		f(t, func(guarded bool) source { return newDirectory(t, guarded) })
	})
}
