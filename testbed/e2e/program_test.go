// Package e2e tests ovs-sg as its users meet it: the program enforces manifests
// on a private Open vSwitch, and real packets show what passes. The package
// consists of tests only.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// program is the path of the ovs-sg that the tests run. Every user may run it.
var program string

// TestMain builds ovs-sg once, with the race detector if the tests have it.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sge2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "ovs-sg")
	args := []string{"build", "-buildvcs=false", "-o", program}
	if raceDetector {
		args = append(args, "-race")
	}
	code := 1
	if out, err := exec.Command("go", append(args, "../../cmd/ovs-sg")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build ovs-sg: %v\n%s", err, out)
	} else if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// ovssg returns a command that runs ovs-sg. It ends with the test.
func ovssg(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}
