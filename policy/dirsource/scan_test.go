package dirsource

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestScanReadsOnlyWhatChanged checks that a scan believes an unchanged identity
// only once it is old enough.
func TestScanReadsOnlyWhatChanged(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newScanner(dir)
	scan := func(verify bool) int {
		results, err := s.scan(func(name string) job { return job{name: name, verify: verify} })
		if err != nil {
			t.Fatal(err)
		}
		return len(s.remember(results))
	}
	scan(true)
	e := s.entries["a.yaml"]
	if e.settled() {
		t.Error("a file that was written just now is taken for settled")
	}
	e.flags &^= flagRacy
	e.sum = sum{}
	s.entries["a.yaml"] = e
	if scan(false) != 0 {
		t.Error("an unchanged file was read")
	}
	if scan(true) != 1 {
		t.Error("a full scan did not read it")
	}
}

// TestRacyWindow checks that a time stamp without a fraction is believed later.
func TestRacyWindow(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, test := range []struct {
		changed time.Time
		want    bool
	}{
		{now.Add(-time.Millisecond), true},
		{now.Add(-60 * time.Millisecond), false},
		{now.Add(time.Hour), true}, // the clock was set back
		{now.Add(-time.Second), true},
		{now.Add(-3 * time.Second), false},
	} {
		st := unix.Statx_t{Ctime: unix.StatxTimestamp{Sec: test.changed.Unix(), Nsec: uint32(test.changed.Nanosecond())}}
		if got := racy(&st, now); got != test.want {
			t.Errorf("changed %v ago: %v", now.Sub(test.changed), got)
		}
	}
}
