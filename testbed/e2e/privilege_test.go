package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
)

// sockets lists the agent's sockets that are in a table of /proc/net.
func (h *host) sockets(tables ...string) (out []string) {
	h.t.Helper()
	mine := map[string]bool{}
	fds := fmt.Sprintf("/proc/%d/fd", h.agent.Process.Pid)
	list, err := os.ReadDir(fds)
	must(h.t, err)
	for _, f := range list {
		if to, err := os.Readlink(filepath.Join(fds, f.Name())); err == nil && strings.HasPrefix(to, "socket:[") {
			mine[strings.Trim(to, "socket:[]")] = true
		}
	}
	if len(mine) == 0 {
		h.t.Error("the agent has no sockets at all: is the test blind?")
	}
	for _, table := range tables {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", h.agent.Process.Pid, table))
		must(h.t, err)
		for _, l := range lines(string(text))[1:] {
			if f := strings.Fields(l); len(f) > 9 && mine[f[9]] {
				out = append(out, table+" "+f[1])
			}
		}
	}
	return out
}

// Only the control socket reaches the agent, and only its owner and group may use it.
func TestWhoMayAsk(t *testing.T) {
	h := dirHost(t)
	socket := func() (mode os.FileMode, gid uint32) {
		t.Helper()
		fi, err := os.Stat(h.path("control.sock"))
		must(t, err)
		return fi.Mode().Perm(), fi.Sys().(*syscall.Stat_t).Gid
	}
	inet := []string{"tcp", "tcp6", "udp", "udp6"}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/net/raw", os.Getpid())); err == nil {
		inet = append(inet, "raw", "raw6")
	}
	old := syscall.Umask(0)
	h.spawn()
	syscall.Umask(old)
	h.inForce()
	if mode, gid := socket(); mode != 0o600 || int(gid) != os.Getgid() {
		t.Errorf("the control socket has mode %v and group %d", mode, gid)
	}
	if got := h.sockets(inet...); len(got) > 0 {
		t.Errorf("without --metrics-addr there are %q", got)
	}
	state, err := os.ReadDir(h.path("state"))
	must(t, err)
	for _, f := range state {
		if fi, err := f.Info(); err != nil || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("state file %s has mode %v (%v)", f.Name(), fi.Mode(), err)
		}
	}
	h.murder()

	group, err := user.LookupGroupId("1")
	must(t, err)
	addr := freeAddr(t)
	h.spawn("--control-group", group.Name, "--metrics-addr", addr)
	h.inForce()
	if mode, gid := socket(); mode != 0o660 || gid != 1 {
		t.Errorf("with a group the control socket has mode %v and group %d", mode, gid)
	}
	if got := h.sockets(inet...); len(got) == 0 {
		t.Error("with --metrics-addr the agent has no TCP socket: is the test blind?")
	}

	text := metrics(t, addr)
	line := regexp.MustCompile(`^([a-z_][a-z0-9_]*)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? ([0-9.e+-]+|NaN|[+-]Inf)$`)
	found := map[string]bool{}
	for _, l := range lines(text) {
		if m := line.FindStringSubmatch(l); m != nil {
			found[m[1]] = true
		} else if !strings.HasPrefix(l, "# HELP ") && !strings.HasPrefix(l, "# TYPE ") {
			t.Errorf("no metric: %s", l)
		}
	}
	for _, want := range []string{"ovs_sg_enforcing", "ovs_sg_flows", "ovs_sg_files", "ovs_sg_ports", "go_goroutines", "process_open_fds"} {
		if !found[want] {
			t.Errorf("no %s", want)
		}
	}
	if metric(t, text, "ovs_sg_enforcing") != 1 || metric(t, text, "ovs_sg_flows") < 50 {
		t.Errorf("the metrics say\n%s", text)
	}
	h.murder()
	if _, stderr, code := runCLI(t, "agent", "--ovsdb", h.ovs.DB(), "--bridge", "br0", "--policy-dir", h.path("policy"),
		"--state-dir", "", "--control", h.path("control.sock"), "--control-group", "no-such-group"); code == 0 || !strings.Contains(stderr, "no-such-group") {
		t.Errorf("an unknown group: exit %d, %s", code, stderr)
	}
}

const nobody = 65534

// spawnAs starts the agent as a user without any rights.
func (h *host) spawnAs(id uint32, args ...string) {
	h.t.Helper()
	h.agent = exec.Command(program, append([]string{"agent", "--ovsdb", h.ovs.DB(), "--bridge", h.ovs.Bridge(),
		"--policy-dir", h.path("policy"), "--state-dir", h.path("state"), "--control", h.path("control.sock")}, args...)...)
	h.agent.Env = append(os.Environ(), "HOME=/nonexistent")
	h.agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: id, Gid: id}}
	h.agent.Dir = "/"
	h.log = &logBuffer{}
	h.agent.Stdout, h.agent.Stderr = h.log, h.log
	started := make(chan error)
	forks() <- func() { started <- h.agent.Start() }
	must(h.t, <-started)
	h.t.Cleanup(h.kill)
}

// The agent needs no root if Open vSwitch's daemons run with a group and a umask
// that let the agent use their sockets, as docs/systemd.md says.
func TestWithoutRoot(t *testing.T) {
	h := toughHost(t)
	must(t, os.Chmod(h.dir, 0o755), os.Chown(h.path("state"), nobody, nobody), os.Chmod(h.path("state"), 0o700))
	must(t, os.Chown(h.dir, nobody, nobody)) // for the control socket
	// The group of the directory stands for the Group= of the daemons' units.
	must(t, os.Chown(h.ovs.Dir(), 0, nobody), os.Chmod(h.ovs.Dir(), 0o755|os.ModeSetgid))
	again := func(umask int) {
		t.Helper()
		old := syscall.Umask(umask)
		defer syscall.Umask(old)
		must(t, h.ovs.KillSwitchd(), h.ovs.KillOvsdb(), h.ovs.StartOvsdb(), h.ovs.StartSwitchd())
	}
	again(0o022)
	h.spawnAs(nobody)
	h.until("that it may not", func(s control.Status) bool { return warns(s, "permission denied") })
	if strings.Contains(h.flows(), "cookie=0x5e6") {
		t.Error("with Debian's umask there are flows all the same")
	}
	again(0o007)
	h.inForce()
	outside := h.stream("outside", 7003)
	h.write("server.yaml", serverGroup(fromClients))
	h.inForce()
	follows(t, "outside", outside, false)
	h.write("server.yaml", serverGroup(fromClients+", "+fromOutside7003))
	h.inForce()
	follows(t, "outside", outside, true)
	installed := h.epochless()
	again(0o007)
	if s := h.inForce(); s.State != "enforcing" {
		t.Errorf("after a restart of the switch: %+v", s)
	}
	same(t, "after a restart of the switch", h.epochless(), installed)
	if h.noFlood() != "client other server" {
		t.Errorf("NO_FLOOD at %s", h.noFlood())
	}

	// A file that the agent may not read stays in force; so does a directory.
	must(t, os.Chmod(h.path("policy", "server.yaml"), 0))
	s := h.inForce()
	if got := stateOf(s, "server.yaml"); !strings.HasPrefix(got, "kept") || !strings.Contains(got, "permission denied") {
		t.Errorf("a file that may not be read is %s", got)
	}
	h.murder()
	h.spawnAs(nobody)
	if got := stateOf(h.inForce(), "server.yaml"); !strings.HasPrefix(got, "kept") {
		t.Errorf("a file that may not be read is %s after a restart", got)
	}
	must(t, os.Chmod(h.path("policy", "server.yaml"), 0o644), os.Chmod(h.path("policy"), 0))
	h.until("that the directory may not be read", func(s control.Status) bool {
		return warns(s, "policy directory: ") && warns(s, "permission denied")
	})
	same(t, "a directory that may not be read", h.epochless(), installed)
	must(t, os.Chmod(h.path("policy"), 0o755))
	if s := h.inForce(); len(s.Warnings) > 0 {
		t.Errorf("warnings %q", s.Warnings)
	}
	same(t, "after all that", h.epochless(), installed)
}

// notifications listens like a service manager.
func notifications(t *testing.T) (path string, got <-chan string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sgnotify")
	must(t, err)
	path = filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { conn.Close(); os.RemoveAll(dir) })
	ch := make(chan string, 1000)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			ch <- string(buf[:n])
		}
	}()
	return path, ch
}

func next(t *testing.T, got <-chan string, want string) {
	t.Helper()
	select {
	case s := <-got:
		if strings.TrimSpace(s) != want {
			t.Errorf("notified of %q, want %s", s, want)
		}
	case <-within(t, 30*time.Second).Done():
		t.Fatalf("no %s", want)
	}
}

// The agent tells a service manager that it is ready, and then, as long as its loop
// works, that it is alive.
func TestNotify(t *testing.T) {
	h := dirHost(t)
	path, got := notifications(t)
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "1200000")
	h.spawn()
	next(t, got, "READY=1")
	if _, err := h.ask(within(t, 10*time.Second), false); err != nil {
		t.Errorf("ready, but: %v", err)
	}
	next(t, got, "WATCHDOG=1")
	next(t, got, "WATCHDOG=1")
	// The loop works although the switch hangs.
	h.hold(syscall.SIGSTOP)
	h.write("more.yaml", groupOf("more", allIn))
	h.remove("vms.yaml")
	h.waitsForSwitch()
	for len(got) > 0 {
		<-got
	}
	next(t, got, "WATCHDOG=1")
	h.hold(syscall.SIGCONT)
	h.inForce()
	h.murder()
	for len(got) > 0 {
		<-got
	}
}
