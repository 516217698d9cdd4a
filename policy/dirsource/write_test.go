package dirsource

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHalfIsNotShown checks that a Watcher waits for a file that is written in
// two halves, also in a resync.
func TestHalfIsNotShown(t *testing.T) {
	b := startWith(t, "", Options{Resync: 3 * time.Millisecond, Debounce: time.Hour})
	b.replace("a.yaml", "old")
	b.until("a.yaml=old")
	for i := range 20 {
		f, err := os.OpenFile(b.path("a.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
		b.must(err)
		_, err = f.WriteString("half ")
		b.must(err)
		before := b.describe()
		// Another file shows that the events of this one were looked at.
		b.replace("b.yaml", fmt.Sprint(i))
		for string(b.have["b.yaml"].Data) != fmt.Sprint(i) {
			b.take(<-b.w.Snapshots())
			if got := string(b.have["a.yaml"].Data); got == "" || strings.HasSuffix(got, " ") {
				t.Fatalf("half of a file is shown after %q: %q", before, got)
			}
		}
		_, err = fmt.Fprintf(f, "whole %d", i)
		b.must(err)
		b.must(f.Close())
		b.until(fmt.Sprintf("a.yaml=half whole %d; b.yaml=%d", i, i))
	}
}

// TestWriterThatStays checks that a file that is kept open is read in the end,
// and that Sync reads it at once.
func TestWriterThatStays(t *testing.T) {
	b := startWith(t, "", Options{Resync: time.Hour})
	b.until("")
	f, err := os.Create(b.path("a.yaml"))
	b.must(err)
	defer f.Close()
	_, err = f.WriteString("1")
	b.must(err)
	b.until("a.yaml=1")
	_, err = f.WriteString("2")
	b.must(err)
	b.synced("still open")
	if b.describe() != "a.yaml=12" {
		t.Errorf("have %q", b.describe())
	}
	_, err = f.WriteString("3")
	b.must(err)
	b.until("a.yaml=123")
}

// TestSyncReadsWhatIsBeingWritten checks that Sync does not wait for a writer.
func TestSyncReadsWhatIsBeingWritten(t *testing.T) {
	b := startWith(t, "", Options{Resync: time.Hour, Debounce: time.Hour})
	b.until("")
	f, err := os.Create(b.path("a.yaml"))
	b.must(err)
	_, err = f.WriteString("half ")
	b.must(err)
	b.replace("b.yaml", "2")
	b.until("b.yaml=2")
	_, err = f.WriteString("whole")
	b.must(err)
	b.synced("still open")
	b.must(f.Close())
	b.quiet()
}

// TestMappedFile checks that the resync finds content that was written through a
// mapping.
func TestMappedFile(t *testing.T) {
	b := startWith(t, "", Options{Resync: 20 * time.Millisecond})
	b.until("")
	b.write("a.yaml", "1111")
	b.until("a.yaml=1111")
	fd, err := unix.Open(b.path("a.yaml"), unix.O_RDWR, 0)
	b.must(err)
	m, err := unix.Mmap(fd, 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	b.must(err)
	b.must(unix.Close(fd))
	for _, text := range []string{"2222", "3333"} {
		copy(m, text)
		b.until("a.yaml=" + text)
	}
	b.must(unix.Munmap(m))
}

// TestRenameIsOneChange checks that no snapshot is without a file that is
// renamed. Because the debounce is so long, this works only if the new name is
// announced as complete.
func TestRenameIsOneChange(t *testing.T) {
	b := startWith(t, "", Options{Resync: time.Hour, Debounce: time.Hour})
	b.replace("a.yaml", "1")
	b.until("a.yaml=1")
	from, to := "a.yaml", "b.yaml"
	for range 200 {
		b.must(os.Rename(b.path(from), b.path(to)))
		for b.describe() != to+"=1" {
			b.take(<-b.w.Snapshots())
			if len(b.have) == 0 {
				t.Fatal("the file was gone")
			}
		}
		from, to = to, from
	}
}

// TestRemovalWaitsForTheWriter checks that a removal that may be half of a rename
// is delivered with the other half.
func TestRemovalWaitsForTheWriter(t *testing.T) {
	b := startWith(t, "", Options{Resync: time.Hour, Debounce: time.Hour})
	b.replace("a.yaml", "1")
	b.until("a.yaml=1")
	f, err := os.Create(b.path("b.yaml"))
	b.must(err)
	b.replace("c.yaml", "c")
	b.until("a.yaml=1; c.yaml=c")
	b.must(os.Remove(b.path("a.yaml")))
	b.replace("c.yaml", "d")
	b.until("a.yaml=1; c.yaml=d")
	b.must(f.Close())
	b.until("b.yaml=; c.yaml=d")
	b.quiet()
}

// TestNothingStaysInProgress checks that a Watcher forgets a new file that is
// gone before it was complete, and every file of a directory that vanishes.
func TestNothingStaysInProgress(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(b *bench)
		want string
	}{
		{"file", func(b *bench) { b.must(os.Remove(b.path("new.yaml"))); b.replace("a.yaml", "3") }, "a.yaml=3; link.yaml=3"},
		{"directory", func(b *bench) { b.must(os.Rename(b.dir, b.dir+".2")) }, "a.yaml=2; link.yaml=2; error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startWith(t, "", Options{Resync: time.Hour, Debounce: time.Hour})
			b.must(os.Symlink("a.yaml", b.path("link.yaml")))
			b.replace("a.yaml", "1")
			b.until("a.yaml=1; link.yaml=1")
			f, err := os.Create(b.path("new.yaml"))
			b.must(err)
			defer f.Close()
			b.replace("a.yaml", "2")
			b.until("a.yaml=2; link.yaml=2")
			test.end(b)
			b.until(test.want)
			b.cancel()
			<-b.ended
			if n := len(b.w.inProgress); n > 0 {
				t.Errorf("%d files are in progress", n)
			}
		})
	}
}

// TestWithoutCompletions checks that without a second inotify instance a file is
// read when no more events come.
func TestWithoutCompletions(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	b := start(t, "", time.Hour)
	b.until("")
	if b.w.completions.watching() {
		t.Fatal("there was another instance")
	}
	b.replace("a.yaml", "1")
	b.until("a.yaml=1")
	b.write("a.yaml", "2")
	b.until("a.yaml=2")
	f, err := os.OpenFile(b.path("a.yaml"), os.O_WRONLY|os.O_APPEND, 0)
	b.must(err)
	defer f.Close()
	_, err = f.WriteString("3")
	b.must(err)
	b.until("a.yaml=23")
	b.must(os.Rename(b.path("a.yaml"), b.path("b.yaml")))
	b.until("b.yaml=23")
}

// TestEventsLost checks that every file is read after events were lost.
func TestEventsLost(t *testing.T) {
	b := start(t, "", time.Hour)
	target := b.linked("a.yaml")
	b.must(os.WriteFile(target, []byte("1"), 0o644))
	b.until("a.yaml=1")
	for i := range 3 {
		b.must(os.WriteFile(target, fmt.Append(nil, "changed ", i), 0o644)) // no event announces it
		b.w.fs.Errors <- errors.New("queue overflow")
		b.until(fmt.Sprint("a.yaml=changed ", i))
	}
}

// TestOverflow makes the queue of the kernel overflow while Run waits for the
// test.
func TestOverflow(t *testing.T) {
	data, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || limit > 1<<17 {
		t.Skipf("the queue is for %d events, %v", limit, err)
	}
	dir := filepath.Join(t.TempDir(), "later")
	missing, blocked, resume := make(chan struct{}), make(chan struct{}), make(chan struct{})
	w, err := NewWatcher(dir, Options{Resync: time.Hour, Report: func(err error) {
		if err != nil {
			close(missing)
			return
		}
		close(blocked)
		<-resume
	}})
	if err != nil {
		t.Fatal(err)
	}
	b := run(t, dir, w)
	<-missing
	b.must(os.Mkdir(dir, 0o755))
	<-blocked
	b.write("a.yaml", "1")
	from, to := "a.yaml", "b.yaml"
	for range (limit+2*queue)/2 + 1000 {
		b.must(os.Rename(b.path(from), b.path(to)))
		from, to = to, from
	}
	b.write("c.yaml", "2")
	b.write("d.yaml", "3")
	b.must(os.Remove(b.path("c.yaml")))
	close(resume)
	b.until(from + "=1; d.yaml=3")
	b.quiet()
}

func TestUnreceivedSnapshotsAreMerged(t *testing.T) {
	w, err := NewWatcher(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := func(name, data string) FileChange {
		return FileChange{File: File{Name: name, Data: []byte(data)}}
	}
	start := time.Now()
	w.emit([]FileChange{text("b", "1"), text("d", "1")}, nil, start.Add(time.Second))
	w.emit([]FileChange{text("a", "2"), {File: File{Name: "b"}, Gone: true}, text("c", "2")}, nil, start)
	w.emit(nil, nil, start.Add(2*time.Second)) // nothing
	w.emit(nil, errors.New("gone"), start.Add(3*time.Second))
	s := <-w.Snapshots()
	const format = "%v %v %v %v"
	if got := fmt.Sprintf(format, s.Seq, s.Err, s.First == start, s.Changes); got != fmt.Sprintf(format, 3, "gone", true,
		[]FileChange{text("a", "2"), {File: File{Name: "b"}, Gone: true}, text("c", "2"), text("d", "1")}) {
		t.Errorf("got %s", got)
	}
	w.emit([]FileChange{text("b", "3")}, nil, start)
	if s := <-w.Snapshots(); s.Seq != 4 || len(s.Changes) != 1 {
		t.Errorf("got %+v", s)
	}
}

// TestSweepIsNotInTheWay checks that events are handled while a sweep reads every
// file.
func TestSweepIsNotInTheWay(t *testing.T) {
	b := startWith(t, "", Options{Resync: time.Millisecond})
	const files = 1000
	for i := range files {
		b.write(fmt.Sprintf("f%d.yaml", i), "1")
	}
	outside := filepath.Join(t.TempDir(), "x")
	b.must(os.WriteFile(outside, []byte("1"), 0o644))
	b.must(os.Link(outside, b.path("x.yaml")))
	b.synced("made")
	for i := range 10 {
		text := fmt.Sprint(i)
		b.replace("a.yaml", text)
		b.must(os.WriteFile(outside, []byte(text), 0o644)) // no event announces it
		b.must(os.Rename(b.path(fmt.Sprintf("f%d.yaml", i)), b.path(fmt.Sprintf("g%d.yaml", i))))
		for string(b.have["a.yaml"].Data) != text || string(b.have["x.yaml"].Data) != text {
			b.take(<-b.w.Snapshots())
		}
	}
	b.synced("end")
}
