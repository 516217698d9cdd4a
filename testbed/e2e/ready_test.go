package e2e

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// The agent tells the service manager that it is ready when the first policy is in
// force, and not before.
func TestReadyWhenInForce(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true, NoBridge: true})
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: h.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", h.path("notify"))
	h.example()
	h.start()
	h.until("that the bridge is missing", func(s control.Status) bool { return strings.Contains(s.Reason, "does not exist") })
	told := make(chan string, 1)
	go func() {
		buf := make([]byte, 4096)
		n, _ := manager.Read(buf)
		told <- string(buf[:n])
	}()
	select {
	case s := <-told:
		t.Fatalf("told %q though nothing is in force", s)
	default:
	}
	if _, err := h.ovs.Vsctl("add-br", h.ovs.Bridge(), "--", "set", "Bridge", h.ovs.Bridge(), "datapath_type=dummy"); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-told:
		if s != "READY=1" {
			t.Errorf("told %q", s)
		}
	case <-within(t, 14*time.Second).Done(): // sooner than without any policy
		t.Fatal("never ready")
	}
	if n := len(lines(h.flows())); n < 20 {
		t.Errorf("ready with %d flows", n)
	}
}

// status --wait may begin before the agent does.
func TestWaitForTheAgent(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	h.example()
	wait := exec.CommandContext(within(t, 30*time.Second), program, "status", "--wait", "--control", h.path("control.sock"))
	var out, errs bytes.Buffer
	wait.Stdout, wait.Stderr = &out, &errs
	if err := wait.Start(); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := runCLI(t, "status", "--wait", "--timeout", "300ms", "--control", h.path("control.sock")); code != 1 ||
		!strings.Contains(stderr, "timed out") || !strings.Contains(stderr, "no such file") {
		t.Errorf("without an agent: exit %d, %s", code, stderr)
	}
	h.start()
	if err := wait.Wait(); err != nil || !strings.Contains(out.String(), "enforcing") {
		t.Errorf("%v: %s%s", err, &out, &errs)
	}
}

// The exit code of status --exit-code says whether the agent enforces.
func TestStatusExitCode(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true, NoBridge: true})
	h.example()
	status := func(want int, text string, flags ...string) {
		t.Helper()
		args := append([]string{"status", "--control", h.path("control.sock")}, flags...)
		if _, stderr, code := runCLI(t, args...); code != want || !strings.Contains(stderr, text) {
			t.Errorf("%v: exit %d, want %d: %s", flags, code, want, stderr)
		}
	}
	status(1, "no such file", "--exit-code")
	h.start("--max-revoke=50")
	status(0, "")
	status(1, "not enforcing: out of date: bridge br0 does not exist", "--exit-code")
	if _, err := h.ovs.Vsctl("add-br", h.ovs.Bridge(), "--", "set", "Bridge", h.ovs.Bridge(), "datapath_type=dummy"); err != nil {
		t.Fatal(err)
	}
	h.addDummyPort("web", "tap1", 1)
	h.wait()
	status(0, "", "--exit-code")
	h.write("more.yaml", "{")
	_, _ = h.status("--wait")
	status(3, "more.yaml (rejected)", "--exit-code")
	h.remove("more.yaml")
	h.write("groups.yaml", "# nothing\n")
	_, _ = h.status("--wait")
	status(4, "held", "--exit-code", "-o", "json")
	status(0, "")
}

// status --wait goes on when the agent is restarted meanwhile.
func TestWaitAcrossRestart(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	h.example()
	h.start()
	h.wait()
	h.hold(syscall.SIGSTOP)
	h.write("more.yaml", "apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: more}\nspec: {}\n")
	wait := exec.CommandContext(within(t, 30*time.Second), program, "status", "--wait", "--control", h.path("control.sock"))
	var out, errs bytes.Buffer
	wait.Stdout, wait.Stderr = &out, &errs
	if err := wait.Start(); err != nil {
		t.Fatal(err)
	}
	h.waitsForSwitch()
	h.stop()
	h.hold(syscall.SIGCONT)
	h.start()
	if err := wait.Wait(); err != nil || !strings.Contains(out.String(), "more.yaml") {
		t.Errorf("%v: %s%s", err, &out, &errs)
	}
}
