package main

import (
	"fmt"
	"os"
	"syscall"
)

// lockState takes the state directory for this process until it ends (flock(2)):
// two agents would take each other's accepted versions for their own. Errors:
// another process has the directory; it cannot be made or read.
func lockState(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	f, err := os.Open(dir) // nothing is written, since the disk may be full
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("state directory %s: another agent uses it: %w", dir, err)
	}
	return f, nil
}
