package dirsource

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// direct returns the content of the directory in the form of describe, but
// without the earlier content of unreadable files.
func direct(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		if !IsManifest(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		target, err := filepath.EvalSymlinks(path)
		if err != nil || !strings.HasPrefix(target, dir+"/") {
			out = append(out, e.Name()+" unreadable")
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			out = append(out, e.Name()+" unreadable")
			continue
		}
		out = append(out, e.Name()+"="+string(data))
	}
	return strings.Join(out, "; ")
}

func (b *bench) found() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(b.have)) {
		if f := b.have[name]; f.Unreadable != "" {
			out = append(out, name+" unreadable")
		} else {
			out = append(out, name+"="+string(f.Data))
		}
	}
	return strings.Join(out, "; ")
}

// synced checks that the snapshots up to a Sync have everything.
func (b *bench) synced(what string) {
	b.Helper()
	seq, err := b.sync()
	b.must(err)
	select {
	case s := <-b.w.Snapshots():
		b.take(s)
	default:
	}
	if b.last.Seq != seq {
		b.Fatalf("%s: sync gives %d, last snapshot is %d", what, seq, b.last.Seq)
	}
	want := direct(b.T, b.dir)
	if errors.Is(b.last.Err, errEmptied) {
		if want != "" || b.found() == "" {
			b.Fatalf("%s: held, with %q in the directory and %q in force", what, want, b.found())
		}
		b.release()
	}
	if b.found() != want {
		b.Fatalf("%s: have %q, want %q", what, b.found(), want)
	}
}

// release lets an empty directory take the place of the one before.
func (b *bench) release() {
	b.Helper()
	if released, err := b.w.Release(b.Context()); err != nil || !released {
		b.Fatalf("released: %v, %v", released, err)
	}
	b.take(<-b.w.Snapshots())
}

// TestSyncAlongRandomHistories does what people and programs do to files. The
// small debounce makes files be read that are still being written.
func TestSyncAlongRandomHistories(t *testing.T) {
	for _, debounce := range []time.Duration{DefaultDebounce, time.Microsecond} {
		t.Run(debounce.String(), func(t *testing.T) { history(t, debounce) })
	}
}

func history(t *testing.T, debounce time.Duration) {
	steps := 400
	if testing.Short() {
		steps = 100
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := startWith(t, "", Options{Resync: time.Hour, Debounce: debounce})
	outside := t.TempDir()
	names := []string{"a.yaml", "b.yaml", "c.yml", "d.yaml", "e.yaml"}
	name := func() string { return names[rnd.IntN(len(names))] }
	text := func() string { return strings.Repeat("x", rnd.IntN(3)) + fmt.Sprint(rnd.IntN(100)) }
	writers := map[string]*os.File{}
	b.must(os.MkdirAll(b.path("..1"), 0o755))
	b.must(os.MkdirAll(b.path("..2"), 0o755))
	for i := range steps {
		n, what := name(), ""
		switch rnd.IntN(14) {
		case 0:
			what = "replace " + n
			b.replace(n, text())
		case 1:
			what = "begin " + n
			if f, err := os.OpenFile(b.path(n), os.O_WRONLY|os.O_CREATE, 0o644); err == nil {
				if w := writers[n]; w != nil {
					w.Close()
				}
				writers[n] = f
			}
		case 2, 3:
			what = "write on " + n
			if f := writers[n]; f != nil {
				_, err := f.WriteString(text())
				b.must(err)
			}
		case 4:
			what = "close " + n
			if f := writers[n]; f != nil {
				b.must(f.Close())
				delete(writers, n)
			}
		case 5:
			what = "remove " + n
			_ = os.Remove(b.path(n))
		case 6:
			to := name()
			what = "rename " + n + " to " + to
			_ = os.Rename(b.path(n), b.path(to))
		case 7:
			target := []string{name(), "..data/" + n, filepath.Join(outside, n), "nowhere"}[rnd.IntN(4)]
			what = "link " + n + " to " + target
			b.must(os.Symlink(target, b.path(".tmp")))
			b.must(os.Rename(b.path(".tmp"), b.path(n)))
		case 8:
			v := fmt.Sprintf("..%d", 1+rnd.IntN(2))
			what = "swap " + v
			b.must(os.WriteFile(b.path(v+"/"+n), []byte(text()), 0o644))
			_ = os.Remove(b.path(".tmp"))
			b.must(os.Symlink(v, b.path(".tmp")))
			b.must(os.Rename(b.path(".tmp"), b.path("..data")))
		case 9:
			what = "hard link " + n
			switch to := filepath.Join(outside, name()); rnd.IntN(3) {
			case 0: // a change without an event, which the next Sync sees
				_ = os.Remove(b.path(n))
				b.must(os.WriteFile(to, []byte(text()), 0o644))
				_ = os.Link(to, b.path(n))
			case 1:
				_ = os.Remove(b.path(n))
				_ = os.Link(b.path(name()), b.path(n))
			case 2:
				b.must(os.WriteFile(to, []byte(text()), 0o644)) // in place
			}
		case 10:
			what = "chmod " + n
			_ = os.Chmod(b.path(n), os.FileMode(rnd.IntN(2))*0o200+0o444)
		case 11:
			what = "truncate " + n
			_ = os.Truncate(b.path(n), 0)
		case 12:
			what = "date " + n
			_ = os.Chtimes(b.path(n), time.Time{}, time.Unix(int64(rnd.IntN(2)), 0))
		case 13:
			what = "another directory"
			b.must(os.Rename(b.dir, b.dir+".3"))
			switch rnd.IntN(3) {
			case 0:
				b.must(os.Mkdir(b.dir, 0o755))
				b.must(os.MkdirAll(b.path("..1"), 0o755))
				b.must(os.MkdirAll(b.path("..2"), 0o755))
				b.must(os.RemoveAll(b.dir + ".2"))
				b.must(os.Rename(b.dir+".3", b.dir+".2"))
			case 1:
				if os.Rename(b.dir+".2", b.dir) == nil {
					b.must(os.Rename(b.dir+".3", b.dir+".2"))
					break
				}
				fallthrough
			case 2:
				b.must(os.Rename(b.dir+".3", b.dir))
			}
		}
		if rnd.IntN(3) > 0 {
			b.synced(fmt.Sprintf("step %d, %s", i, what))
		}
	}
	for _, f := range writers {
		b.must(f.Close())
	}
	b.synced("end")
}

// TestEventsAlongRandomHistories makes changes that have events, and waits,
// without a Sync, until the snapshots add up to the content of the directory.
func TestEventsAlongRandomHistories(t *testing.T) {
	steps := 200
	if testing.Short() {
		steps = 50
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := start(t, "", time.Hour)
	names := []string{"a.yaml", "b.yaml", "c.yml", "d.yaml", "e.yaml"}
	name := func() string { return names[rnd.IntN(len(names))] }
	text := func() string { return strings.Repeat("x", rnd.IntN(3)) + fmt.Sprint(rnd.IntN(100)) }
	b.must(os.Mkdir(b.path("..1"), 0o755))
	for range steps {
		for range 1 + rnd.IntN(6) {
			n, to := name(), name()
			switch rnd.IntN(8) {
			case 0, 1:
				b.replace(n, text())
			case 2:
				if b.hasEvents(n) {
					_ = os.WriteFile(b.path(n), []byte(text()), 0o644)
				}
			case 3:
				_ = os.Remove(b.path(n))
			case 4:
				_ = os.Rename(b.path(n), b.path(to))
			case 5:
				if b.hasEvents(n) {
					_ = os.Truncate(b.path(n), 0)
				}
			case 6:
				b.must(os.Symlink([]string{to, "..data/" + n, "nowhere"}[rnd.IntN(3)], b.path(".tmp")))
				b.must(os.Rename(b.path(".tmp"), b.path(n)))
			case 7:
				v := fmt.Sprintf("..%d", rnd.Uint32())
				b.must(os.Mkdir(b.path(v), 0o755))
				b.must(os.WriteFile(b.path(v+"/"+n), []byte(text()), 0o644))
				b.must(os.Symlink(v, b.path(".tmp")))
				b.must(os.Rename(b.path(".tmp"), b.path("..data")))
			}
		}
		b.untilDirect()
	}
	b.synced("end")
}

// hasEvents reports whether writing to a file in place leads to an event: the
// name is that of a file, or a link to a file of the directory.
func (b *bench) hasEvents(name string) bool {
	if fi, err := os.Lstat(b.path(name)); err != nil || fi.Mode().IsRegular() {
		return true
	}
	target, err := filepath.EvalSymlinks(b.path(name))
	return err == nil && filepath.Dir(target) == b.dir
}

// untilDirect receives snapshots until they add up to the content of the
// directory.
func (b *bench) untilDirect() {
	b.Helper()
	timeout := time.After(deadline)
	want := direct(b.T, b.dir)
	for b.found() != want {
		select {
		case s := <-b.w.Snapshots():
			b.take(s)
		case <-timeout:
			b.Fatalf("have %q, want %q", b.found(), want)
		}
	}
}
