package dirsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

const deadline = 10 * time.Second

// bench is a Watcher that runs on a directory of its own.
type bench struct {
	*testing.T
	dir     string
	w       *Watcher
	reports chan string
	cancel  context.CancelFunc
	ended   chan error
	last    Snapshot
	have    map[string]File // the files, added up from the snapshots
}

// start runs a Watcher on dir, "" for a new one. The resync is so rare that
// only events and Sync count.
func start(t *testing.T, dir string, resync time.Duration) *bench {
	t.Helper()
	return startWith(t, dir, Options{Resync: resync})
}

func startWith(t *testing.T, dir string, opts Options) *bench {
	t.Helper()
	if dir == "" {
		dir = filepath.Join(t.TempDir(), "policy.d")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	reports := make(chan string, 100)
	opts.Report = func(err error) { reports <- fmt.Sprint(err) }
	w, err := NewWatcher(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	b := run(t, dir, w)
	b.reports = reports
	return b
}

// run runs a Watcher of dir until the test ends.
func run(t *testing.T, dir string, w *Watcher) *bench {
	b := &bench{T: t, dir: dir, w: w, ended: make(chan error, 1), have: map[string]File{}}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() { b.ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-w.done
	})
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) write(name, text string) {
	b.Helper()
	b.must(os.WriteFile(b.path(name), []byte(text), 0o644))
}

// replace writes a file under another name and renames it into place.
func (b *bench) replace(name, text string) {
	b.Helper()
	b.write(".tmp", text)
	b.must(os.Rename(b.path(".tmp"), b.path(name)))
}

// take receives a snapshot.
func (b *bench) take(s Snapshot) {
	b.Helper()
	if s.Seq <= b.last.Seq || s.First.IsZero() {
		b.Fatalf("snapshot %d after %d, first event %v", s.Seq, b.last.Seq, s.First)
	}
	if !slices.IsSortedFunc(s.Changes, func(x, y FileChange) int { return cmp.Compare(x.File.Name, y.File.Name) }) {
		b.Fatalf("not sorted: %v", s.Changes)
	}
	b.last = s
	for _, c := range s.Changes {
		switch f := c.File; {
		case c.Gone:
			delete(b.have, f.Name)
		case f.Unreadable != "":
			f.Data = b.have[f.Name].Data
			b.have[f.Name] = f
		default:
			b.have[f.Name] = f
		}
	}
}

// describe returns the files, added up from the snapshots received so far, as
// text.
func (b *bench) describe() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(b.have)) {
		f := b.have[name]
		line := f.Name + "=" + string(f.Data)
		if f.Unreadable != "" {
			line += " (" + f.Unreadable + ")"
		}
		out = append(out, line)
	}
	switch {
	case errors.Is(b.last.Err, errEmptied):
		out = append(out, "held")
	case b.last.Err != nil:
		out = append(out, "error")
	}
	return strings.Join(out, "; ")
}

// until receives snapshots until describe returns what is wanted.
func (b *bench) until(want string) Snapshot {
	b.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case s := <-b.w.Snapshots():
			before, seq := b.describe(), b.last.Seq
			b.take(s)
			if s.Seq == seq+1 && seq > 0 && b.describe() == before {
				b.Fatalf("two equal snapshots: %s", before)
			}
			if b.describe() == want {
				return s
			}
		case <-timeout:
			b.Fatalf("have %q, want %q", b.describe(), want)
		}
	}
}

func (b *bench) sync() (uint64, error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return b.w.Sync(ctx)
}

// quiet checks that there is no snapshot for the events so far beyond those
// received.
func (b *bench) quiet() {
	b.Helper()
	if seq, err := b.sync(); err != nil || seq != b.last.Seq {
		b.Errorf("sync gives %d, %v; last snapshot was %d", seq, err, b.last.Seq)
	}
	select {
	case s := <-b.w.Snapshots():
		b.Errorf("unexpected snapshot %+v", s)
	default:
	}
}

func (b *bench) report() string {
	b.Helper()
	select {
	case r := <-b.reports:
		return r
	case <-time.After(deadline):
		b.Fatal("nothing reported")
	}
	return ""
}

func TestWatcherFollowsFiles(t *testing.T) {
	b := start(t, "", time.Hour)
	b.until("")
	b.write("b.yaml", "1")
	b.until("b.yaml=1")
	b.replace("a.yml", "x")
	b.until("a.yml=x; b.yaml=1")
	b.write("b.yaml", "2") // same size, in place
	b.until("a.yml=x; b.yaml=2")
	b.replace("b.yaml", "3")
	b.until("a.yml=x; b.yaml=3")
	b.must(os.Rename(b.path("a.yml"), b.path("c.yml")))
	b.until("b.yaml=3; c.yml=x")
	b.must(os.Remove(b.path("b.yaml")))
	b.until("c.yml=x")
	b.quiet()
}

func TestWatcherReadsWhatIsThereAtStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, dir, time.Hour).until("a.yaml=1")
}

func TestWatcherIgnores(t *testing.T) {
	b := start(t, "", time.Hour)
	b.write("a.yaml", "1")
	b.until("a.yaml=1")
	for _, name := range []string{".a.yaml.swp", ".#a.yaml", "#a.yaml#", "a.yaml~", "a.yaml.bak", "a.json", ".hidden.yaml", ".yaml", "README", "4913"} {
		b.write(name, "2")
	}
	b.must(os.Mkdir(b.path("sub"), 0o755))
	b.must(os.WriteFile(b.path("sub/b.yaml"), []byte("3"), 0o644))
	b.write("a.yaml", "1") // the same again
	b.must(os.Chtimes(b.path("a.yaml"), time.Unix(1, 0), time.Unix(1, 0)))
	b.quiet()
}

func TestWatcherUnreadableKeepsContent(t *testing.T) {
	b := start(t, "", time.Hour)
	b.write("a.yaml", "1")
	b.until("a.yaml=1")
	b.must(os.Remove(b.path("a.yaml")))
	b.must(os.Symlink("nowhere", b.path(".tmp")))
	b.must(os.Rename(b.path(".tmp"), b.path("a.yaml")))
	if _, err := b.sync(); err != nil { // it may have been seen as deleted first
		b.Fatal(err)
	}
	s := <-b.w.Snapshots()
	b.take(s)
	if f := s.Changes; len(f) != 1 || f[0].File.Unreadable != "no such file or directory" || f[0].File.Data != nil {
		b.Fatalf("got %+v", s)
	}
	b.replace("a.yaml", "2")
	b.until("a.yaml=2")
	b.must(syscall.Mkfifo(b.path(".fifo"), 0o644))
	b.must(os.Rename(b.path(".fifo"), b.path("a.yaml")))
	b.until("a.yaml=2 (is not a regular file)")
	b.must(os.Mkdir(b.path("dir"), 0o755))
	b.must(os.Symlink("dir", b.path("z.yaml")))
	b.until("a.yaml=2 (is not a regular file); z.yaml= (is not a regular file)")
	b.must(os.Remove(b.path("z.yaml")))
	b.must(os.Truncate(b.mk("big"), manifest.MaxFileSize+1))
	b.must(os.Rename(b.path("big"), b.path("a.yaml")))
	b.until(fmt.Sprintf("a.yaml=2 (is larger than %d bytes)", manifest.MaxFileSize))
	b.replace("a.yaml", "3")
	b.until("a.yaml=3")
}

func (b *bench) mk(name string) string {
	b.Helper()
	b.write(name, "")
	return b.path(name)
}

// TestWatcherConfigMap swaps the ..data link as the kubelet does.
func TestWatcherConfigMap(t *testing.T) {
	b := start(t, "", time.Hour)
	b.until("")
	publish := func(version, text string) {
		b.must(os.Mkdir(b.path(".."+version), 0o755))
		b.must(os.WriteFile(b.path(".."+version+"/a.yaml"), []byte(text), 0o644))
		b.must(os.Symlink(".."+version, b.path("..data_tmp")))
		b.must(os.Rename(b.path("..data_tmp"), b.path("..data")))
	}
	publish("v1", "1")
	b.must(os.Symlink("..data/a.yaml", b.path("a.yaml")))
	b.until("a.yaml=1")
	publish("v2", "2")
	b.until("a.yaml=2")
	b.must(os.RemoveAll(b.path("..v1")))
	b.quiet()
}

func TestWatcherDirectoryVanishes(t *testing.T) {
	b := start(t, "", time.Hour)
	b.write("a.yaml", "1")
	b.until("a.yaml=1")
	gone := b.dir + ".gone"
	b.must(os.Rename(b.dir, gone))
	b.until("a.yaml=1; error")
	if r := b.report(); !strings.Contains(r, "no such file") {
		b.Errorf("reported %q", r)
	}
	if _, err := b.sync(); err == nil {
		b.Error("sync does not say that the directory is missing")
	}
	// Changes of the old directory do not count any more.
	b.must(os.WriteFile(filepath.Join(gone, "old.yaml"), []byte("x"), 0o644))
	b.must(os.Mkdir(b.dir, 0o755))
	b.until("a.yaml=1; held")
	if r := b.report(); !strings.Contains(r, "holds no manifest") {
		b.Errorf("reported %q", r)
	}
	b.write("b.yaml", "2")
	b.until("b.yaml=2")
	if r := b.report(); r != "<nil>" {
		b.Errorf("reported %q", r)
	}
	// Another directory in its place, with nothing in between.
	b.must(os.Rename(b.dir, b.dir+".2"))
	b.must(os.Rename(gone, b.dir))
	b.until("a.yaml=1; old.yaml=x")
	b.write("a.yaml", "9")
	b.until("a.yaml=9; old.yaml=x")
	b.must(os.RemoveAll(b.dir))
	for b.last.Err == nil {
		select {
		case s := <-b.w.Snapshots():
			b.take(s)
		case <-time.After(deadline):
			b.Fatal("removal not seen")
		}
	}
}

func TestWatcherWaitsForTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	b := start(t, dir, time.Hour)
	if r := b.report(); !strings.Contains(r, "no such file") {
		b.Errorf("reported %q", r)
	}
	if seq, err := b.sync(); err == nil || seq != 0 {
		b.Errorf("sync gives %d, %v", seq, err)
	}
	b.must(os.Mkdir(dir, 0o755))
	b.write("a.yaml", "1")
	b.until("a.yaml=1")
}

func TestWatcherFollowsLinkedDirectory(t *testing.T) {
	root := t.TempDir()
	for _, v := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(root, v), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, v, "a.yaml"), []byte(v), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(root, "current")
	if err := os.Symlink("1", link); err != nil {
		t.Fatal(err)
	}
	b := start(t, link, time.Hour)
	b.until("a.yaml=1")
	b.must(os.Symlink("2", link+".new"))
	b.must(os.Rename(link+".new", link))
	b.until("a.yaml=2")
	b.write("a.yaml", "3")
	b.until("a.yaml=3")
}

func TestWatcherResyncFindsWhatNoEventTells(t *testing.T) {
	b := start(t, "", 20*time.Millisecond)
	target := b.linked("a.yaml")
	b.must(os.WriteFile(target, []byte("1"), 0o644))
	b.until("a.yaml=1")
	b.must(os.WriteFile(target, []byte("2"), 0o644))
	b.until("a.yaml=2")
}

func TestSyncSeesWhatWasWritten(t *testing.T) {
	b := start(t, "", time.Hour)
	target := b.linked("a.yaml")
	for i := range 50 {
		text := fmt.Sprint(i % 10) // the same size within one tick of the clock
		b.must(os.WriteFile(target, []byte(text), 0o644))
		seq, err := b.sync()
		b.must(err)
		s := <-b.w.Snapshots() // sent before Sync returned
		b.take(s)
		if s.Seq != seq || b.describe() != "a.yaml="+text {
			b.Fatalf("sync gives %d, snapshot %d has %q, want %s", seq, s.Seq, b.describe(), text)
		}
	}
	b.quiet()
}

func TestNewestSnapshotWins(t *testing.T) {
	b := start(t, "", time.Hour)
	b.write("a.yaml", "1")
	_, err := b.sync()
	b.must(err)
	b.write("a.yaml", "2")
	seq, err := b.sync()
	b.must(err)
	b.take(<-b.w.Snapshots())
	if b.last.Seq != seq || b.describe() != "a.yaml=2" {
		t.Errorf("got %d: %q", b.last.Seq, b.describe())
	}
}

func TestRunEnds(t *testing.T) {
	b := start(t, "", time.Hour)
	b.until("")
	b.cancel()
	if err := <-b.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returns %v", err)
	}
	if _, err := b.sync(); err == nil {
		t.Error("Sync succeeds after Run")
	}
}

func TestSyncWaitsForItsContext(t *testing.T) {
	w, err := NewWatcher(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.Sync(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestWaitingIsBounded(t *testing.T) {
	start, debounce := time.Now(), 5*time.Millisecond
	for _, test := range []struct {
		last      time.Duration
		announced bool // whether the end of writing is
		want      time.Duration
	}{
		{0, false, 5 * time.Millisecond},
		{20 * time.Millisecond, false, 25 * time.Millisecond},
		{47 * time.Millisecond, false, 50 * time.Millisecond},
		{60 * time.Millisecond, false, 50 * time.Millisecond},
		{0, true, 50 * time.Millisecond},
		{60 * time.Millisecond, true, 50 * time.Millisecond},
	} {
		f := progress{first: start, last: start.Add(test.last)}
		if got := f.due(debounce, test.announced).Sub(start); got != test.want {
			t.Errorf("%+v: due after %v", test, got)
		}
	}
}
