package ovsdb

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// holder runs a lock and says when its state changes. It ends with the test, or
// before.
func holder(t *testing.T, endpoint string) (l *Lock, changed chan struct{}, end func()) {
	t.Helper()
	l, err := NewLock(endpoint, "ovs-sg br0")
	if err != nil {
		t.Fatal(err)
	}
	changed = make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.Run(ctx, func() { changed <- struct{}{} })
	}()
	end = func() { cancel(); <-ended }
	t.Cleanup(end)
	return l, changed, end
}

func becomes(t *testing.T, l *Lock, changed chan struct{}, want LockState) {
	t.Helper()
	for l.State() != want {
		select {
		case <-changed:
		case <-patiently(t).Done():
			t.Fatalf("the state is %d, not %d", l.State(), want)
		}
	}
}

// One holds the lock at a time, and the next gets it when the holder ends.
func TestLock(t *testing.T) {
	s := startServer(t)
	a, aChanged, endA := holder(t, s.endpoint())
	becomes(t, a, aChanged, LockHeld)
	b, bChanged, endB := holder(t, s.endpoint())
	becomes(t, b, bChanged, LockWaiting)
	endA()
	becomes(t, b, bChanged, LockHeld)
	endB()
	c, cChanged, _ := holder(t, s.endpoint())
	becomes(t, c, cChanged, LockHeld)
}

// The lock survives the server, and is asked for anew.
func TestLockAfterRestart(t *testing.T) {
	s := startServer(t)
	a, changed, _ := holder(t, s.endpoint())
	becomes(t, a, changed, LockHeld)
	s.stop()
	s.start()
	if a.State() != LockHeld {
		t.Error("the lock is lost with the connection")
	}
	// A second one waits as soon as the first has asked again.
	for deadline := time.Now().Add(patience); ; {
		b, bChanged, end := holder(t, s.endpoint())
		select {
		case <-bChanged:
		case <-patiently(t).Done():
			t.Fatal("no answer")
		}
		state := b.State()
		end()
		if state == LockWaiting {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the lock was not asked for again")
		}
	}
}

// The server's probes are answered, and nonsense ends a connection only.
func TestLockOddServer(t *testing.T) {
	s := startServer(t)
	answered := make(chan string, 1)
	odd := func(conn net.Conn) {
		io.WriteString(conn, `{"method":"echo","params":["a"],"id":"mine"}{"id":"lock","result":{},"error":null}`)
		b := make([]byte, 4096)
		n, _ := io.ReadAtLeast(conn, b, 60)
		answered <- string(b[:n])
	}
	l, changed, _ := holder(t, impostor(t, s.endpoint(), odd, func(conn net.Conn) { io.WriteString(conn, "[[[[") }))
	becomes(t, l, changed, LockHeld)
	if text := <-answered; text == "" {
		t.Error("no answer")
	}
}

func TestLockEndpoint(t *testing.T) {
	if _, err := NewLock("nowhere", "x"); err == nil {
		t.Error("no error")
	}
}

func TestLockName(t *testing.T) {
	for name, want := range map[string]string{"sg br-int": "sg_20br_2dint", "br_int": "br_5fint", "0ä": "_30_c3_a4"} {
		if got := lockName(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}
