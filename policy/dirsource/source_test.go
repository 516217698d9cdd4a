package dirsource

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/ovs-sg/ovs-sg/policy"
)

// sourceTest is a Source and a receiver that adds up what it delivers.
type sourceTest struct {
	*Source
	t       *testing.T
	updates []policy.Update // received
	inForce map[string]*policy.Revision
	cancel  context.CancelFunc
	ended   chan error
}

// newSourceTest returns a Source that does not run yet. Its directory does not
// exist; its state directory holds the files that are kept.
func newSourceTest(t *testing.T, guarded bool, kept []File) *sourceTest {
	t.Helper()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	save(t, open(t, state), kept)
	return openSourceTest(t, Config{Dir: filepath.Join(dir, "policy.d"), StateDir: state, Guarded: guarded})
}

func openSourceTest(t *testing.T, cfg Config) *sourceTest {
	t.Helper()
	cfg.Logger = zaptest.NewLogger(t)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &sourceTest{Source: s, t: t, inForce: map[string]*policy.Revision{}}
}

// run runs the Source. The test ends it with stop, or leaves that to its end.
func (s *sourceTest) run() {
	ctx, cancel := context.WithCancel(context.Background())
	s.start(cancel, func() error { return s.Run(ctx) })
}

// deliverOnly runs the Source without its watcher: the test calls find instead.
func (s *sourceTest) deliverOnly() {
	watched := make(chan error, 1)
	s.start(func() { watched <- context.Canceled }, func() error {
		if s.keeper != nil {
			written := make(chan struct{})
			go func() { s.keeper.run(); close(written) }()
			defer func() { s.keeper.stop(); <-written }()
		}
		return s.deliver(watched)
	})
}

func (s *sourceTest) start(cancel func(), run func() error) {
	s.ended = make(chan error, 1)
	s.cancel = cancel
	go func() { s.ended <- run() }()
	s.t.Cleanup(func() {
		if s.cancel != nil {
			s.stop()
		}
	})
}

func (s *sourceTest) stop() {
	s.t.Helper()
	s.cancel()
	s.cancel = nil
	if err := <-s.ended; !errors.Is(err, context.Canceled) {
		s.t.Errorf("Run: %v", err)
	}
}

// find makes the watcher deliver files as changed, with a reason why the
// directory cannot be read, if any.
func (s *sourceTest) find(reason string, files ...File) {
	var changes []FileChange
	for _, f := range files {
		changes = append(changes, FileChange{File: f})
	}
	var err error
	if reason != "" {
		err = errors.New(reason)
	}
	s.watcher.emit(changes, err, time.Now())
}

// lose makes the watcher deliver that a file is gone.
func (s *sourceTest) lose(name string) {
	s.watcher.emit([]FileChange{{File: File{Name: name}, Gone: true}}, nil, time.Now())
}

// next receives an update.
func (s *sourceTest) next() policy.Update {
	s.t.Helper()
	u := <-s.Updates()
	if n := len(s.updates); n > 0 && (u.Restored || u.Seq <= s.updates[n-1].Seq) {
		s.t.Fatalf("update %d (restored: %v) after %d", u.Seq, u.Restored, s.updates[n-1].Seq)
	}
	s.updates = append(s.updates, u)
	for i, c := range u.Changes {
		if i > 0 && u.Changes[i-1].Name >= c.Name {
			s.t.Fatalf("out of order: %s", c.Name)
		}
		if before := s.inForce[c.Name]; (before == nil) != (c.Before == nil) || before != nil && before.Sum != c.Before.Sum {
			s.t.Fatalf("%s: the change is not from what was in force", c.Name)
		}
		if s.inForce[c.Name] = c.After; c.After == nil {
			delete(s.inForce, c.Name)
		}
	}
	return u
}

// until receives updates up to one with a Seq, and returns the last.
func (s *sourceTest) until(seq uint64) (u policy.Update) {
	s.t.Helper()
	if n := len(s.updates); n > 0 {
		u = s.updates[n-1]
	}
	for u.Seq < seq {
		u = s.next()
	}
	return u
}

// groups returns the groups in force, by file: "a.yaml=web".
func (s *sourceTest) groups() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.inForce)) {
		for _, g := range s.inForce[name].Objects.Groups {
			out = append(out, name+"="+g.Key.Name)
		}
	}
	return strings.Join(out, " ")
}

// kept returns the names of the files in the state directory with the groups in
// them, once the Source has ended.
func (s *sourceTest) kept() string {
	s.t.Helper()
	again := openSourceTest(s.t, s.cfg)
	for _, c := range again.tracker.Restored().Revisions {
		again.inForce[c.Name] = c.After
	}
	return again.groups()
}

func (s *sourceTest) expect(what, got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func group(file, name string) File { return File{Name: file, Data: manifestNamed(name)} }

// TestRestoredComesFirst: what was in force in an earlier run is delivered before
// anything else and alone, whenever the receiver comes. The more updates are not
// received yet, the more there is to go wrong.
func TestRestoredComesFirst(t *testing.T) {
	kept := []File{group("a.yaml", "old"), group("b.yaml", "other")}
	for unread := range 4 {
		s := newSourceTest(t, true, kept)
		s.deliverOnly()
		for i := range unread {
			s.find("", group("a.yaml", "new"+string(rune('0'+i))))
		}
		u := s.next()
		if !u.Restored || u.Seq != 0 || u.Err != nil {
			t.Fatalf("%d unread: first comes %+v", unread, u)
		}
		s.expect("restored", s.groups(), "a.yaml=old b.yaml=other")
		s.find("", group("a.yaml", "new"))
		if u := s.until(s.watcher.seq); u.Restored {
			t.Errorf("%d unread: %+v", unread, u)
		}
		s.expect("in force", s.groups(), "a.yaml=new")
	}
}

// A receiver that comes while updates are being merged gets what was restored
// first, too.
func TestRestoredComesFirstInARace(t *testing.T) {
	s := newSourceTest(t, true, []File{group("a.yaml", "old")})
	stored := s.tracker.stored
	for i := range 2000 {
		s.tracker, s.stored, s.updates, s.inForce = Tracker{stored: stored}, map[string]bool{"a.yaml": true}, nil, map[string]*policy.Revision{}
		s.delivered.Store(false)
		s.watcher.seq, s.watcher.ready = 0, false
		watched, ended := make(chan error, 1), make(chan error, 1)
		go func() { ended <- s.deliver(watched) }()
		found := make(chan struct{})
		go func() {
			defer close(found)
			s.find("", group("a.yaml", "new"))
			s.find("", group("b.yaml", "more"))
			s.find("", group("c.yaml", "most"))
		}()
		if u := s.next(); !u.Restored {
			t.Fatalf("run %d: first comes %+v", i, u)
		}
		s.until(3)
		<-found
		watched <- nil
		<-ended
	}
	s.expect("in force", s.groups(), "a.yaml=new b.yaml=more c.yaml=most")
}

// An update that is not received becomes part of the next.
func TestEnqueue(t *testing.T) {
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	rev := func(content byte) *policy.Revision { return &policy.Revision{Name: "a", Sum: [32]byte{content}} }
	change := func(name string, before, after *policy.Revision) []policy.RevisionChange {
		return []policy.RevisionChange{{Name: name, Before: before, After: after}}
	}
	one, two, three := rev(1), rev(2), rev(3)
	restored := policy.Update{Changes: change("a", nil, one), Restored: true}
	queue := enqueue(nil, restored)
	queue = enqueue(queue, policy.Update{Seq: 1, Changes: change("a", one, two), Since: at(5), Err: errors.New("gone")})
	if len(queue) != 2 || !queue[0].Restored || queue[1].Restored {
		t.Fatalf("what was restored is part of the next: %+v", queue)
	}
	queue = enqueue(queue, policy.Update{Seq: 3, Changes: change("b", nil, one)})
	u := queue[1]
	if len(queue) != 2 || u.Seq != 3 || u.Err != nil || u.Since != at(5) || len(u.Changes) != 2 || u.Changes[0].After != two || u.Changes[1].Name != "b" {
		t.Fatalf("merged: %+v", queue)
	}
	queue = enqueue(queue, policy.Update{Seq: 4, Changes: change("a", two, three), Since: at(4)})
	queue = enqueue(queue, policy.Update{Seq: 5, Changes: change("b", one, nil), Since: at(6), Err: errors.New("gone")})
	u = queue[1]
	if u.Seq != 5 || u.Err == nil || u.Since != at(4) || len(u.Changes) != 1 || u.Changes[0].Before != one || u.Changes[0].After != three {
		t.Fatalf("merged: %+v", u)
	}
	// What ends as it began is no change, but the update is delivered for its Seq.
	queue = enqueue(queue, policy.Update{Seq: 6, Changes: change("a", three, one)})
	if u = queue[1]; len(queue) != 2 || u.Seq != 6 || len(u.Changes) != 0 || queue[0].Changes[0].After != one {
		t.Fatalf("merged: %+v", queue)
	}
}

// The first update is the whole policy, and what was not received is delivered
// later, with the newest Seq.
func TestUpdatesAddUp(t *testing.T) {
	s := newSourceTest(t, false, nil)
	s.deliverOnly()
	s.find("", group("a.yaml", "one"), group("b.yaml", "two"))
	s.find("", group("c.yaml", "three"))
	s.until(2) // a content that the next one overtakes is never accepted
	s.lose("a.yaml")
	s.find("", group("b.yaml", "four"), File{Name: "c.yaml", Data: []byte("{")})
	s.until(4)
	s.expect("in force", s.groups(), "b.yaml=four c.yaml=three")
	s.lose("c.yaml")
	if u := s.next(); u.Seq != 5 || u.Since.IsZero() || len(u.Changes) != 1 {
		t.Errorf("update %+v", u)
	}
	s.expect("in force", s.groups(), "b.yaml=four")
}

// Before the first update without Restored there is no status; a source that is
// not guarded does not restore either, but falls back to what was kept.
func TestSourceStatus(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		s := newSourceTest(t, guarded, []File{group("a.yaml", "old"), group("gone.yaml", "gone")})
		s.deliverOnly()
		if guarded {
			s.next()
		}
		if status, ok := s.Status(9); ok {
			t.Errorf("guarded %v: status before the first update: %+v", guarded, status)
		}
		s.find("", File{Name: "a.yaml", Data: []byte("{")}, group("b.yaml", "new"), File{Name: "c.yaml", Data: []byte("{")})
		if u := s.next(); u.Restored || u.Seq != 1 {
			t.Errorf("guarded %v: update %+v", guarded, u)
		}
		s.expect("in force", s.groups(), "a.yaml=old b.yaml=new")
		for _, most := range []int{0, 1, 9} {
			status, ok := s.Status(most)
			var units []string
			for _, u := range status.Units {
				units = append(units, u.Name+" "+u.State.String())
			}
			want := "a.yaml kept, c.yaml rejected"
			if most > 0 {
				want = "a.yaml kept, b.yaml accepted, c.yaml rejected"
			}
			if got := strings.Join(units, ", "); !ok || got != want || status.Accepted != 1 || status.Kept != 1 || status.Rejected != 1 {
				t.Errorf("guarded %v, most %v: %v %+v", guarded, most, ok, status)
			}
		}
	}
}

// Errors of the directory are delivered, though nothing changes with them.
func TestSourceErrors(t *testing.T) {
	s := newSourceTest(t, false, nil)
	s.run()
	dir := s.cfg.Dir
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sync := func() (uint64, error) { return s.Sync(t.Context()) }
	if _, err := sync(); err == nil {
		t.Error("a directory that was never there can be read")
	}
	if _, ok := s.Status(9); ok {
		t.Error("there is a status")
	}
	must(os.Mkdir(dir, 0o700))
	must(os.WriteFile(filepath.Join(dir, "a.yaml"), manifestNamed("one"), 0o600))
	seq, err := sync()
	must(err)
	if u := s.until(seq); u.Err != nil {
		t.Errorf("error %v", u.Err)
	}
	s.expect("in force", s.groups(), "a.yaml=one")

	must(os.Rename(dir, dir+".away"))
	for _, err = sync(); err == nil; _, err = sync() { // until the watcher has tried
	}
	var u policy.Update
	for u.Err == nil {
		u = s.next()
	}
	s.expect("in force without the directory", s.groups(), "a.yaml=one")
	must(os.Rename(dir+".away", dir))
	seq, err = sync()
	must(err)
	if u := s.until(seq); u.Err != nil {
		t.Errorf("error %v", u.Err)
	}
	s.expect("in force again", s.groups(), "a.yaml=one")
}

// What may be held is kept when it is enforced, and not before; what may not is
// kept at the end.
func TestSourceKeeps(t *testing.T) {
	for _, c := range []struct {
		guarded  bool
		enforced uint64
		want     string
	}{
		{true, 0, "a.yaml=old b.yaml=other"},
		{true, 1, "a.yaml=one"}, // b.yaml has vanished
		{true, 2, "a.yaml=two"},
		{true, 3, "a.yaml=two c.yaml=three"},
		{false, 0, "a.yaml=two c.yaml=three"},
		{false, 3, "a.yaml=two c.yaml=three"},
	} {
		s := newSourceTest(t, c.guarded, []File{group("a.yaml", "old"), group("b.yaml", "other")})
		s.deliverOnly()
		for i, f := range []File{group("a.yaml", "one"), group("a.yaml", "two"), group("c.yaml", "three")} {
			s.find("", f)
			if seq := uint64(i + 1); s.until(seq).Seq <= c.enforced {
				s.Enforced(seq)
			}
		}
		s.stop()
		if got := s.kept(); got != c.want {
			t.Errorf("guarded %v, enforced up to %d: kept %q, want %q", c.guarded, c.enforced, got, c.want)
		}
	}
}

// A copy that does not decode any more is nothing, and goes with the first
// update.
func TestSourceBrokenCopy(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		s := newSourceTest(t, guarded, []File{{Name: "a.yaml", Data: []byte("{")}, {Name: "b.yaml", Data: []byte("{")}})
		s.deliverOnly()
		if guarded {
			if u := s.next(); !u.Restored || len(u.Changes) > 0 {
				t.Errorf("restored %+v", u)
			}
		}
		s.find("", group("a.yaml", "new"), File{Name: "b.yaml", Data: []byte("{")})
		s.Enforced(s.until(1).Seq)
		s.expect("in force", s.groups(), "a.yaml=new")
		s.stop()
		s.expect("kept", s.kept(), "a.yaml=new")
		if _, err := os.Stat(filepath.Join(s.cfg.StateDir, "b.yaml"+acceptedSuffix)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("guarded %v: the copy of b.yaml: %v", guarded, err)
		}
	}
}

// Without a state directory nothing is restored and nothing kept.
func TestSourceWithoutState(t *testing.T) {
	s := openSourceTest(t, Config{Dir: t.TempDir(), Guarded: true})
	s.run()
	u := s.next()
	if u.Restored || u.Seq != 1 || len(u.Changes) != 0 {
		t.Errorf("first comes %+v", u)
	}
	s.Enforced(u.Seq)
	s.stop()
	if _, err := s.Sync(t.Context()); err == nil {
		t.Error("Sync after the end")
	}
	s.Enforced(u.Seq + 1)
}

// TestSourceAlongRandomHistories: whatever happens to the files, and however far
// behind the receiver is, the updates add up to what is in force, and after each
// run the state directory holds what was in force at the last update that was
// enforced; if nothing is ever held, what was in force in the end.
func TestSourceAlongRandomHistories(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 0))
		guarded := seed%2 == 0
		first := newSourceTest(t, guarded, nil)
		cfg, kept := first.cfg, ""
		disk := map[string]File{}
		change := func(s *sourceTest) {
			name := string(rune('a'+random.IntN(4))) + ".yaml"
			switch what := random.IntN(8); {
			case what == 0 && s == nil:
				delete(disk, name)
			case what == 0 && disk[name].Name != "":
				delete(disk, name)
				s.lose(name)
				return
			case what == 1:
				disk[name] = File{Name: name, Data: []byte("{")}
			default: // two files may define one group
				disk[name] = group(name, string(rune('p'+random.IntN(6))))
			}
			if f := disk[name]; s != nil && f.Name != "" {
				s.find("", f)
			}
		}
		for run := range 4 {
			s := openSourceTest(t, cfg)
			s.deliverOnly()
			s.find("", slices.SortedFunc(maps.Values(disk), func(a, b File) int { return cmp.Compare(a.Name, b.Name) })...)
			for range random.IntN(30) {
				switch random.IntN(4) {
				case 0:
					if len(s.updates) == 0 || s.updates[len(s.updates)-1].Seq < s.watcher.seq {
						s.next()
					}
				case 1:
					if n := len(s.updates); n > 0 && !s.updates[n-1].Restored {
						s.Enforced(s.updates[n-1].Seq)
						kept = s.groups()
					}
				default:
					change(s)
				}
			}
			s.until(s.watcher.seq)
			var want []string
			for _, r := range s.tracker.Revisions() {
				for _, g := range r.Objects.Groups {
					want = append(want, r.Name+"="+g.Key.Name)
				}
			}
			s.expect("in force", s.groups(), strings.Join(want, " "))
			if !guarded {
				kept = s.groups()
			}
			s.stop()
			if got := s.kept(); got != kept {
				t.Fatalf("seed %d, run %d: kept %q, want %q", seed, run, got, kept)
			}
			for range random.IntN(3) {
				change(nil)
			}
		}
	}
}
