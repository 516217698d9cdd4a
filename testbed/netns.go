package testbed

import (
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name. It exists as long as the
// file is open or a process runs in it.
type namespace struct {
	mu   sync.Mutex
	file *os.File // nil when closed
}

const threadNetNS = "/proc/thread-self/ns/net"

func newNamespace() (*namespace, error) {
	ns := &namespace{}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so nothing
		// needs restoring.
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("create network namespace: %w", err)
			}
			var err error
			ns.file, err = os.Open(threadNetNS)
			return err
		}()
	}()
	if err := <-done; err != nil {
		return nil, err
	}
	return ns, nil
}

// path names the namespace for programs started by this process or beside it:
// nsenter --net=PATH, ip link set DEV netns PATH.
func (ns *namespace) path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.file.Fd())
}

// do runs f inside the namespace on a thread of its own. Goroutines that f
// starts are outside again; sockets stay where they were made.
func (ns *namespace) do(f func() error) error {
	runtime.LockOSThread()
	restored := false
	defer func() {
		// A thread that could not go back must not be used again: leaving it
		// locked ends it with its goroutine.
		if restored {
			runtime.UnlockOSThread()
		}
	}()
	old, err := os.Open(threadNetNS)
	if err != nil {
		restored = true
		return err
	}
	defer old.Close()
	defer func() { restored = unix.Setns(int(old.Fd()), unix.CLONE_NEWNET) == nil }()

	if err := ns.set(); err != nil {
		return err
	}
	return f()
}

// set moves the calling thread into the namespace.
func (ns *namespace) set() error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.file == nil {
		return fmt.Errorf("enter network namespace: %w", os.ErrClosed)
	}
	if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

func (ns *namespace) close() {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.file != nil {
		ns.file.Close()
		ns.file = nil
	}
}
