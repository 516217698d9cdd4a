package unixctl

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// vsctl changes the database of startOVS.
func vsctl(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("ovs-vsctl", append([]string{"--timeout=30", "--db=unix:" + filepath.Join(dir, "db.sock")}, args...)...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ovs-vsctl %v: %v: %s", args, err, out)
	}
}

func TestDatapath(t *testing.T) {
	dir := startOVS(t)
	ctx, v := patiently(t), NewVswitchd(dir, "")
	if err := v.Turn(ctx); err != nil {
		t.Fatal(err)
	}
	// Any change of flows wakes the revalidators, also one that changes nothing.
	nudged := 0
	nudge := func(ctx context.Context) error {
		nudged++
		cmd := exec.CommandContext(ctx, "ovs-ofctl", "del-flows", "br0", "in_port=77")
		cmd.Env = append(os.Environ(), "OVS_RUNDIR="+dir)
		return cmd.Run()
	}
	other := NewVswitchd(dir, "")
	wake := func(ctx context.Context) error {
		_, err := other.Call(ctx, "version")
		return err
	}
	const rounds = 12
	slow := 0
	for range rounds {
		begun := time.Now()
		if err := v.AwaitRound(ctx, nudge, wake); err != nil {
			t.Fatal(err)
		}
		if time.Since(begun) > 400*time.Millisecond {
			slow++
		}
	}
	// Revalidators at rest rest for 500 ms; one time this may be the machine.
	if nudged != rounds || slow > 1 {
		t.Errorf("%d rounds with %d nudges, %d of them slow", rounds, nudged, slow)
	}
	failed := errors.New("no nudge")
	if err := v.AwaitRound(ctx, func(context.Context) error { return failed }, wake); !errors.Is(err, failed) {
		t.Errorf("with a nudge that fails: %v", err)
	}
	if err := v.Purge(ctx); err != nil { // the next call connects anew
		t.Fatal(err)
	}

	vsctl(t, dir, "add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=netdev")
	if err := v.AwaitRound(ctx, nudge, wake); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("with two datapath types: %v", err)
	}
	if err := v.Turn(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.Purge(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestTurn: the commands of a turn are sent at once, so that ovs-vswitchd cannot
// answer all of them in one turn.
func TestTurn(t *testing.T) {
	got := make(chan int, 1)
	path := peer(t, func(conn net.Conn) {
		buf := make([]byte, 4096)
		n, _ := conn.Read(buf)
		got <- strings.Count(string(buf[:n]), `"version"`)
	})
	if err := NewVswitchd("", path).Turn(patiently(t)); err == nil {
		t.Error("no error without an answer")
	}
	if n := <-got; n != oneTurn+1 {
		t.Errorf("%d commands at once, want %d", n, oneTurn+1)
	}
}
