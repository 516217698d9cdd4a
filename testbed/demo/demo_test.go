package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

const exampleDir = "../../docs/example"

// TestDemo runs the whole demonstration.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Open vSwitch")
	}
	program := filepath.Join(t.TempDir(), "ovs-sg")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/ovs-sg").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	runtime.LockOSThread() // see init
	defer runtime.UnlockOSThread()
	if err := run(context.Background(), config{program: program, example: exampleDir, datapath: "netdev"}); err != nil {
		t.Fatal(err)
	}
}

// TestInterrupted ends the demonstration before it has begun.
func TestInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Open vSwitch")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := run(ctx, config{program: "/bin/true", example: exampleDir, datapath: "netdev"}); err == nil {
		t.Error("no error")
	}
}

// TestEdits checks that the demonstration's edits fit the example.
func TestEdits(t *testing.T) {
	inv, err := readExample(exampleDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range inv.files {
		if f.Name != changed {
			continue
		}
		text, told, err := edited(string(f.Data))
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := manifest.Decode(manifest.File{Name: changed, Data: []byte(text)}); len(problems) > 0 {
			t.Error(problems)
		}
		want := "webSG  - {name: http, direction: Ingress, protocol: TCP, port: 80}\n" +
			"appSG  + {name: https, direction: Ingress, protocol: TCP, port: 443}\n"
		if told != want {
			t.Errorf("told\n%swant\n%s", told, want)
		}
		return
	}
	t.Errorf("no %s in the example", changed)
}

func TestMatrixText(t *testing.T) {
	var all []reached
	for i := range services {
		all = append(all, reached{i, true, true})
	}
	before := matrix{names: []string{"a", "b"}, cells: map[[2]int][]reached{{0, 1}: all}}
	after := matrix{names: before.names, cells: map[[2]int][]reached{{0, 1}: {{0, true, true}, {1, true, false}, {5, false, true}}}}
	if got, want := before.table(), "from \\ to  a  b\na             all\nb          -\n"; !strings.HasPrefix(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got, want := differences(before, after), "a  to b  all  => 22 80(IPv4) udp53(IPv6)\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := differences(before, before); got != "none\n" {
		t.Errorf("got %q", got)
	}
}
