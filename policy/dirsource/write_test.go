package dirsource

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// noLeases makes leases not to be had, as on a file of somebody else.
func noLeases(t *testing.T) {
	before := setLease
	setLease = func(int) error { return unix.EACCES }
	t.Cleanup(func() { setLease = before })
}

// needLeases skips where there are none to be had.
func needLeases(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	fd, err := unix.Open(f.Name(), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := lease(fd); err != nil {
		t.Skipf("no leases here: %v", err)
	}
}

// fulls is how often the whole directory was read.
func (b *bench) fulls() int64 { return b.w.scans.Load() }

// TestHalfIsNeverShown: one who writes in two halves is waited for.
func TestHalfIsNeverShown(t *testing.T) {
	needLeases(t)
	b := startWith(t, "", Options{Resync: 3 * time.Millisecond, Debounce: time.Hour})
	b.write("a.yaml", "old")
	b.until("a.yaml=old")
	for i := range 20 {
		f, err := os.OpenFile(b.path("a.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
		b.must(err)
		_, err = f.WriteString("half ")
		b.must(err)
		before := b.describe()
		// Another file shows that the events of this one were looked at.
		b.replace("b.yaml", fmt.Sprint(i))
		for b.have["b.yaml"].Data == nil || string(b.have["b.yaml"].Data) != fmt.Sprint(i) {
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

// TestWriterThatStays: a file that is kept open is read in the end, and at once
// if somebody asks.
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
}

// TestMappedFile: what is written through a mapping is not announced, but one
// who has a file open is known.
func TestMappedFile(t *testing.T) {
	needLeases(t)
	b := startWith(t, "", Options{Resync: time.Hour})
	b.until("")
	f, err := os.Create(b.path("a.yaml"))
	b.must(err)
	defer f.Close()
	_, err = f.WriteString("1111")
	b.must(err)
	b.until("a.yaml=1111")
	fd, err := unix.Open(b.path("a.yaml"), unix.O_RDWR, 0)
	b.must(err)
	m, err := unix.Mmap(fd, 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	b.must(err)
	b.must(unix.Close(fd))
	copy(m, "2222")
	b.synced("mapped")
	b.must(unix.Munmap(m))
}

// TestWithoutLeases: the end of writing is found by when it was closed.
func TestWithoutLeases(t *testing.T) {
	noLeases(t)
	b := startWith(t, "", Options{Resync: time.Hour, Debounce: time.Hour})
	b.until("")
	b.replace("a.yaml", "1")
	b.until("a.yaml=1")
	f, err := os.OpenFile(b.path("a.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
	b.must(err)
	_, err = f.WriteString("half ")
	b.must(err)
	b.replace("b.yaml", "2")
	b.until("a.yaml=1; b.yaml=2")
	_, err = f.WriteString("whole")
	b.must(err)
	b.synced("still open")
	b.must(f.Close())
	b.quiet()
}

// TestLeaseLetsWritersIn: one who opens a file while it is read waits, and the
// signal that the kernel sends does no harm.
func TestLeaseLetsWritersIn(t *testing.T) {
	needLeases(t)
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := lease(fd); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK, 0); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("opened without waiting: %v", err)
	}
	unlease(fd)
	if err := lease(fd); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			defer f.Close()
		}
		opened <- err
	}()
	for { // until the kernel has asked for it back
		n, err := unix.FcntlInt(uintptr(fd), unix.F_GETLEASE, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n == unix.F_UNLCK {
			break
		}
	}
	unlease(fd)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// TestSentinelOrder: Sync has what was written before, though it reads nothing
// but what events tell.
func TestSentinelOrder(t *testing.T) {
	b := start(t, "", time.Hour)
	b.until("")
	if !b.w.trusted {
		t.Skip("the filesystem is not trusted")
	}
	scans := b.fulls()
	for i := range 300 {
		b.replace("a.yaml", fmt.Sprint(i))
		b.synced(fmt.Sprint(i))
	}
	if b.fulls() != scans {
		t.Errorf("the directory was read %d times", b.fulls()-scans)
	}
}

// TestSyncWithoutSentinel reads everything when there is no private directory,
// or when it has been taken away.
func TestSyncWithoutSentinel(t *testing.T) {
	private := t.TempDir()
	stale := filepath.Join(private, privatePrefix+"1")
	if err := os.Mkdir(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(stale, time.Time{}, time.Now().Add(-2*privateAge)); err != nil {
		t.Fatal(err)
	}
	b := startWith(t, "", Options{Resync: time.Hour, Private: private})
	b.until("")
	for range 3 {
		list, err := os.ReadDir(private)
		if err != nil || len(list) != 1 {
			t.Fatalf("private directory: %v, %v", list, err)
		}
		b.must(os.RemoveAll(filepath.Join(private, list[0].Name())))
		b.replace("a.yaml", list[0].Name())
		b.synced("taken away")
		b.replace("a.yaml", "again")
		b.synced("made again")
	}
	b.cancel()
	<-b.ended
	if list, _ := os.ReadDir(private); len(list) != 0 {
		t.Errorf("left over: %v", list)
	}
}

// TestOverflow: lost events make the directory be read.
func TestOverflow(t *testing.T) {
	b := start(t, "", time.Hour)
	b.until("")
	b.w.fs.Errors <- errors.New("queue overflow")
	b.synced("nothing")
	scans := b.fulls()
	b.w.fs.Errors <- errors.New("queue overflow")
	for b.fulls() == scans {
	}
	b.replace("a.yaml", "1")
	b.until("a.yaml=1")
}

func TestUnreceivedSnapshotsAreMerged(t *testing.T) {
	w, err := New(t.TempDir(), Options{})
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

// TestSweepIsNotInTheWay: events are looked at while every file is read.
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
		b.must(os.WriteFile(outside, []byte(text), 0o644)) // nobody is told
		b.must(os.Rename(b.path(fmt.Sprintf("f%d.yaml", i)), b.path(fmt.Sprintf("g%d.yaml", i))))
		for string(b.have["a.yaml"].Data) != text || string(b.have["x.yaml"].Data) != text {
			b.take(<-b.w.Snapshots())
		}
	}
	b.synced("end")
}
