package dirsource

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
)

// keeperTest is a keeper whose state directory the test reads.
type keeperTest struct {
	*keeper
	t    *testing.T
	dir  string
	done chan struct{}
}

func newKeeperTest(t *testing.T, patience time.Duration) *keeperTest {
	k := &keeperTest{t: t, dir: t.TempDir(), done: make(chan struct{})}
	store, err := OpenStore(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	k.keeper = newKeeper(store, patience, zaptest.NewLogger(t))
	go func() {
		defer close(k.done)
		k.run()
	}()
	return k
}

func (k *keeperTest) put(seq uint64, name, text string) {
	k.add(keeping{seq: seq, changed: []File{{Name: name, Data: []byte(text)}}})
}

// kept returns the contents in the state directory, by name.
func (k *keeperTest) kept() map[string]string {
	out := map[string]string{}
	for _, name := range []string{"a.yaml", "b.yaml"} {
		data, err := os.ReadFile(filepath.Join(k.dir, name+acceptedSuffix))
		if err == nil {
			content, sealed, reason := unseal(data)
			if !sealed {
				k.t.Errorf("%s: %q %s", name, data, reason)
			}
			out[name] = string(content)
		} else if !errors.Is(err, os.ErrNotExist) {
			k.t.Fatal(err)
		}
	}
	return out
}

func (k *keeperTest) end() map[string]string {
	k.stop()
	<-k.done
	return k.kept()
}

// If changes may be held, content that was not allowed is not written, not even
// at the end.
func TestKeeperHolds(t *testing.T) {
	k := newKeeperTest(t, 0)
	k.put(1, "a.yaml", "one")
	k.put(2, "a.yaml", "two")
	k.put(3, "b.yaml", "three")
	k.allow(1)
	if got := k.end(); len(got) != 1 || got["a.yaml"] != "one" {
		t.Errorf("kept %q", got)
	}
}

// Of several contents of a file that are allowed together, the last is written.
func TestKeeperFolds(t *testing.T) {
	k := newKeeperTest(t, 0)
	k.put(1, "a.yaml", "one")
	k.put(2, "b.yaml", "two")
	k.put(3, "b.yaml", "three")
	k.add(keeping{seq: 4, removed: []string{"a.yaml"}})
	k.allow(4)
	if got := k.end(); len(got) != 1 || got["b.yaml"] != "three" {
		t.Errorf("kept %q", got)
	}
}

// A held change takes no more memory, however many follow it: a content that was
// replaced while it was held can never be written.
func TestKeeperForgetsWhatWasReplaced(t *testing.T) {
	k := newKeeperTest(t, 0)
	k.put(1, "a.yaml", "one")
	k.received(1)
	k.allow(1)
	for seq := uint64(2); seq < 1000; seq++ {
		k.put(seq, []string{"a.yaml", "b.yaml"}[seq%2], "held")
		k.received(seq)
		k.mu.Lock()
		var files int
		for _, b := range k.waiting {
			if b.seq > 1 {
				files += len(b.changed)
			}
		}
		k.mu.Unlock()
		if files > 2 {
			t.Fatalf("%d contents wait after %d updates", files, seq)
		}
	}
	k.put(1000, "a.yaml", "last") // not received yet
	k.allow(999)
	if got := k.end(); got["a.yaml"] != "held" || got["b.yaml"] != "held" {
		t.Errorf("kept %q", got)
	}
}

// What was allowed before an update is received is written without it.
func TestKeeperWritesWhatWasAllowed(t *testing.T) {
	k := newKeeperTest(t, 0)
	k.put(1, "a.yaml", "one")
	k.put(2, "a.yaml", "two")
	k.received(2)
	k.allow(2)
	k.put(3, "a.yaml", "three")
	k.received(3)
	if got := k.end(); got["a.yaml"] != "two" {
		t.Errorf("kept %q", got)
	}
}

// If changes cannot be held, content is written at the end, and after a while,
// although no one says that it is in force.
func TestKeeperPatience(t *testing.T) {
	k := newKeeperTest(t, time.Hour)
	k.put(1, "a.yaml", "one")
	if got := k.kept(); len(got) != 0 {
		t.Errorf("kept at once: %q", got)
	}
	if got := k.end(); got["a.yaml"] != "one" {
		t.Errorf("kept at the end: %q", got)
	}
	k = newKeeperTest(t, time.Millisecond)
	for i, text := range []string{"one", "two", "three"} {
		k.put(uint64(i+1), "a.yaml", text)
		for k.kept()["a.yaml"] != text { // the test's own limit ends it
			runtime.Gosched()
		}
	}
	k.end()
}
