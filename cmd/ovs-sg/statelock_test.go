package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestLockState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	f, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockState(dir); err == nil || !strings.Contains(err.Error(), "another agent uses it") {
		t.Errorf("got %v", err)
	}
	f.Close()
	if f, err = lockState(dir); err != nil {
		t.Fatal(err)
	}
	f.Close()
}
