package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// runCLI runs ovs-sg to its end.
func runCLI(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := ovssg(within(t, 30*time.Second), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	return out.String(), errs.String(), code
}

func TestConfigFile(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	config := h.path("config.yaml")
	text := "ovsdb: " + h.ovs.DB() + "\nbridge: br0\npolicy-dir: " + h.path("policy") + "\nstate-dir: " + h.path("state") +
		"\ncontrol: " + h.path("control.sock") + "\nlog-format: json\nuplink: [eth7, eth8]\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	h.agent, h.log = ovssg(context.Background(), "--config", config, "agent"), &logBuffer{}
	h.agent.Stdout, h.agent.Stderr = h.log, h.log
	if err := h.agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.kill)
	h.waitReady()
	if s := h.wait(); s.State != "enforcing" || s.Bridge != "br0" {
		t.Errorf("status %+v", s)
	}
	h.stop()
	if !strings.HasPrefix(h.log.String(), "{") {
		t.Errorf("the log is not JSON: %s", h.log)
	}
}

// A refused file delays neither other files nor a wait. The status shows the
// file, and its last accepted version stays in force, across a restart too.
func TestRefusedFile(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	h.addDummyPort("web", "tap1", 5)
	h.example()
	h.start()
	h.wait()
	before := h.flows()
	check := func(when string) {
		t.Helper()
		s := h.wait()
		if after := h.flows(); after != before {
			t.Errorf("%s: the flows changed", when)
		}
		states := map[string]string{}
		for _, f := range s.Files {
			states[f.Name] = f.State
			if f.State == "kept" && (len(f.Errors) != 1 || !strings.HasPrefix(f.Errors[0], "groups.yaml:1:")) {
				t.Errorf("%s: errors %q", when, f.Errors)
			}
		}
		if states["groups.yaml"] != "kept" || states["vms.yaml"] != "accepted" {
			t.Errorf("%s: %v", when, states)
		}
	}
	h.write("groups.yaml", "apiVersion: [\n")
	check("bad file")
	h.stop()
	h.start()
	check("restart with a bad file")
	out, stderr, code := runCLI(t, "status", "--control", h.path("control.sock"), "--wait")
	for _, want := range []string{"enforcing", "groups.yaml   kept", "tap1", "default/web", "10.0.1.11"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the status (exit %d, %s):\n%s", want, code, stderr, out)
		}
	}
	if code != 3 || !strings.Contains(stderr, "in force, but not accepted: groups.yaml (kept)") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	h.remove("groups.yaml")
	if s := h.wait(); len(s.Files) != 2 || len(s.Warnings) == 0 {
		t.Errorf("after removing the file: %+v, warnings %q", s.Files, s.Warnings)
	}
	if h.flows() == before {
		t.Error("removing a file changed nothing")
	}
}

// addDummyPort adds a port to a bridge of the dummy datapath.
func (h *host) addDummyPort(id, name string, n int) {
	h.t.Helper()
	if _, err := h.ovs.Vsctl("add-port", h.ovs.Bridge(), name, "--", "set", "interface", name, "type=dummy",
		"ofport_request="+strings.TrimSpace(string(rune('0'+n))), "external_ids:iface-id="+id, "external_ids:attached-mac=02:00:0a:00:01:0b"); err != nil {
		h.t.Fatal(err)
	}
}

// A hangup does not end the agent: it goes on with the next change.
func TestHangup(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	h.example()
	h.start()
	h.wait()
	h.signal(syscall.SIGHUP)
	h.remove("groups.yaml")
	if s := h.wait(); len(s.Files) != 2 {
		t.Errorf("files %+v", s.Files)
	}
	h.stop()
}

// A wait for a change that is held says so at once, by an exit code of its own,
// until the change is released.
func TestWaitForHeld(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	h.example()
	h.addDummyPort("web", "tap1", 1)
	h.start("--max-revoke=50")
	h.wait()
	h.write("groups.yaml", "# nothing\n")
	wait := []string{"status", "--control", h.path("control.sock"), "--wait"}
	out, stderr, code := runCLI(t, wait...)
	if code != 4 || !strings.Contains(out, "bridge br0: held") || !strings.Contains(stderr, "waits for ovs-sg release") {
		t.Errorf("exit %d, %q, status %s", code, stderr, out)
	}
	if _, stderr, code := runCLI(t, "release", "--control", h.path("control.sock")); code != 0 {
		t.Errorf("release: exit %d, %s", code, stderr)
	}
	if _, stderr, code := runCLI(t, wait...); code != 0 {
		t.Errorf("after the release: exit %d, %s", code, stderr)
	}
}

// A change after which every VM has lost its addresses, or is in another VPC, is
// held like one that takes all rules: what is allowed goes on until the release.
func TestHeldReach(t *testing.T) {
	vms := streamVMs + "---" + clientIn("clientSG") // one file, so that one change is one
	for name, changed := range map[string]string{
		"addresses": regexp.MustCompile(`ipAddresses: \[.*?\]`).ReplaceAllString(vms, "ipAddresses: []"),
		"VPC":       strings.Replace(vms, "fd00:1::/64\"", "fd00:1::/64\", vpcRef: {name: elsewhere}", 1),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, testbed.Options{})
			h.vm("server", 21)
			h.vm("client", 22)
			h.vm("other", 23)
			h.write("vms.yaml", vms)
			h.write("groups.yaml", clientGroups)
			h.write("server.yaml", serverGroup(fromClients))
			h.start("--max-revoke=90")
			h.wait()
			other, server := h.vms["other"], h.vms["server"]
			allowed, match := other.To(server, server.Addr4()).UDP(5000, 7001, []byte("allowed")), ipProto(testbed.ProtoUDP, other.Addr4())
			h.arrives("other", "server", true, match, allowed)
			h.write("vms.yaml", changed)
			if s, err := h.status("--wait"); err == nil || s.State != "held" {
				t.Fatalf("%s, %v", s.State, err)
			}
			h.arrives("other", "server", true, match, allowed)
			if _, stderr, code := runCLI(t, "release", "--control", h.path("control.sock")); code != 0 {
				t.Fatalf("release: exit %d, %s", code, stderr)
			}
			h.inForce()
			h.arrives("other", "server", name != "addresses", match, allowed) // the VPC is that of both
		})
	}
}

// Without the switch a wait fails at its timeout and says why; when the switch is
// back, a wait succeeds.
func TestWaitNeedsTheSwitch(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	h.example()
	h.start()
	h.wait()
	if err := h.ovs.KillSwitchd(); err != nil {
		t.Fatal(err)
	}
	h.write("more.yaml", "apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: more}\nspec: {}\n")
	if _, stderr, code := runCLI(t, "status", "--control", h.path("control.sock"), "--wait", "--timeout", "300ms"); code != 1 || !strings.Contains(stderr, "timed out") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if err := h.ovs.StartSwitchd(); err != nil {
		t.Fatal(err)
	}
	if s := h.wait(); s.State != "enforcing" {
		t.Errorf("status %+v", s)
	}
	if len(lines(h.flows())) < 50 {
		t.Errorf("the flows did not come back:\n%s", h.flows())
	}
	if _, stderr, code := runCLI(t, "status", "--control", h.path("nobody.sock")); code == 0 || stderr == "" {
		t.Errorf("no agent: exit %d, %s", code, stderr)
	}
}

// Clients that do nothing, and clients that ask and never read, do not use up the
// agent's file descriptors: changes are enforced meanwhile, and another client gets
// its answer.
func TestIdleClients(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	h.example()
	h.addDummyPort("web", "tap1", 1)
	h.under = []string{"prlimit", "--nofile=256:256"}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := port.Addr().String()
	port.Close()
	h.start("--metrics-addr", addr)
	h.wait()
	before := h.flows()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range 500 {
		network, address := "unix", h.path("control.sock")
		if i%2 == 0 {
			network, address = "tcp", addr
		}
		c, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			continue // the backlog is full: no harm either
		}
		conns = append(conns, c)
		if i%5 > 0 { // one that asks and never reads
			_, _ = c.Write([]byte("GET /status HTTP/1.1\r\nHost: x\r\n\r\n"))
		}
	}
	if len(conns) < 300 {
		t.Fatalf("%d clients", len(conns))
	}
	h.remove("groups.yaml")
	if err := testbed.Poll(within(t, 10*time.Second), 10*time.Millisecond, func() (bool, error) { return h.flows() != before, nil }); err != nil {
		t.Fatal("a change is not enforced while clients are idle")
	}
	if s, err := h.status("--wait", "--timeout", "60s"); err != nil || len(s.Files) != 2 {
		t.Errorf("%+v, %v", s.Files, err)
	}
}
