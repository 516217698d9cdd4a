package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// datapathVariable in the environment chooses another datapath_type for the
// tests that send packets: "system" is the kernel's.
const datapathVariable = "OVS_SG_TEST_DATAPATH"

// host is a hypervisor with a switch, a policy directory and an agent.
type host struct {
	t     testing.TB
	ovs   *testbed.OVS
	dir   string // holds policy/, state/ and control.sock
	agent *exec.Cmd
	log   *logBuffer
	vms   map[string]*testbed.Host
	under []string // the command that runs the agent, with its arguments; nil: none
}

// logBuffer is what the agent has logged so far.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// newHost starts a switch without an agent.
func newHost(t testing.TB, opt testbed.Options) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "sgagent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &host{t: t, dir: dir, vms: map[string]*testbed.Host{}}
	for _, d := range []string{"policy", "state"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if d := os.Getenv(datapathVariable); d != "" && !opt.Dummy {
		opt.Datapath = d
	}
	h.ovs = testbed.New(t, opt)
	return h
}

// start starts the agent and ends it, at the latest, with the test.
func (h *host) start(args ...string) {
	h.t.Helper()
	h.spawn(args...)
	h.waitReady()
}

// waitReady waits until the control socket answers.
func (h *host) waitReady() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := testbed.Poll(ctx, 5*time.Millisecond, func() (bool, error) {
		conn, err := net.Dial("unix", h.path("control.sock"))
		if err == nil {
			conn.Close()
		}
		return err == nil, nil
	}); err != nil {
		h.t.Fatalf("no control socket: %v\n%s", err, h.log)
	}
}

// stop ends the agent as an operator does.
func (h *host) stop() {
	h.t.Helper()
	h.signal(syscall.SIGTERM)
	if err := h.agent.Wait(); err != nil {
		h.t.Fatalf("agent: %v\n%s", err, h.log)
	}
	h.agent = nil
}

func (h *host) signal(s os.Signal) {
	h.t.Helper()
	if err := h.agent.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
}

// kill ends the agent at once.
func (h *host) kill() {
	if h.agent != nil {
		_ = h.agent.Process.Kill()
		_ = h.agent.Wait()
		h.agent = nil
	}
}

func (h *host) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}

// write puts a manifest file in place by renaming.
func (h *host) write(name, text string) {
	h.t.Helper()
	tmp := h.path("tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(tmp, h.path("policy", name)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) remove(name string) {
	h.t.Helper()
	if err := os.Remove(h.path("policy", name)); err != nil {
		h.t.Fatal(err)
	}
}

// example copies the documented example.
func (h *host) example() {
	h.t.Helper()
	for _, name := range []string{"groups.yaml", "network.yaml", "vms.yaml"} {
		h.write(name, exampleFile(h.t, name))
	}
}

func exampleFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "example", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// wait returns as soon as every change made before is in force; files that are not
// accepted must show in the exit code.
func (h *host) wait() control.Status {
	h.t.Helper()
	s, err := h.status("--wait")
	refused := s.Counts.Kept+s.Counts.Rejected > 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 3 && refused {
		return s
	}
	if err != nil || refused {
		h.t.Fatalf("status --wait: %v with %+v\n%s", err, s.Counts, h.log)
	}
	return s
}

func (h *host) status(args ...string) (control.Status, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := ovssg(ctx, append([]string{"status", "--control", h.path("control.sock"), "-o", "json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	var s control.Status
	if len(out) > 0 {
		if err := json.Unmarshal(out, &s); err != nil {
			h.t.Fatalf("%v in %s", err, out)
		}
	}
	return s, err
}

// exampleAddrs returns a host's addresses in the example's subnet.
func exampleAddrs(n int) []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.0.1.%d/24", n)),
		netip.MustParsePrefix(fmt.Sprintf("fd00:1::%x/64", n)),
	}
}

// vm adds a VM of the example's subnet; n is the last byte of its addresses.
func (h *host) vm(name string, n int) *testbed.Host {
	h.t.Helper()
	vm := h.ovs.VM(h.t, testbed.VMConfig{
		Name: name, MAC: fmt.Sprintf("02:00:0a:00:01:%02x", n),
		Addrs: exampleAddrs(n),
	})
	h.vms[name] = vm
	return vm
}

// uplink adds a host outside the bridge.
func (h *host) uplink(name string, n int) *testbed.Host {
	h.t.Helper()
	up := h.ovs.Uplink(h.t, testbed.UplinkConfig{
		Name: name, MAC: fmt.Sprintf("02:00:0a:00:01:%02x", n),
		Addrs: exampleAddrs(n),
	})
	h.vms[name] = up
	return up
}

// flows returns the text of the installed flows.
func (h *host) flows() string {
	h.t.Helper()
	text, err := h.ovs.DumpFlows()
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }
