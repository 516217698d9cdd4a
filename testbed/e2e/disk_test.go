package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// diskLab is a lab whose agents see a filesystem of their own, which the kernel
// removes with them.
type diskLab struct {
	*lab
	pid string // of a process that keeps the mount namespace
}

// newDiskLab mounts a small filesystem on the named directory of the host.
func newDiskLab(t *testing.T, on string) *diskLab {
	h := newHost(t, testbed.Options{})
	h.vm("client", 50)
	h.vm("server", 51)
	h.uplink("outside", 1)
	must(t, os.MkdirAll(h.path(on), 0o755))
	keep := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=64k none "$1" && echo $$ && exec cat`, "sh", h.path(on))
	in, err := keep.StdinPipe() // closed at the latest when the test ends, and then cat ends
	must(t, err)
	out, err := keep.StdoutPipe()
	must(t, err)
	must(t, keep.Start())
	t.Cleanup(func() {
		in.Close()
		_ = keep.Wait()
	})
	pid, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	l := &diskLab{h.tapped(), strings.TrimSpace(pid)}
	h.under = []string{"nsenter", "--mount", "--target", l.pid}
	l.machines()
	l.allow("7000", "7001")
	return l
}

// seen is a path as the agent sees it.
func (l *diskLab) seen(elem ...string) string {
	return filepath.Join("/proc", l.pid, "root", l.path(elem...))
}

// put puts a manifest in place.
func (l *diskLab) put(name, text string) {
	l.t.Helper()
	tmp := l.seen("policy", ".tmp")
	must(l.t, os.WriteFile(tmp, []byte(text), 0o644), os.Rename(tmp, l.seen("policy", name)))
}

// machines puts the VMs in place, without the group of the server.
func (l *diskLab) machines() {
	l.t.Helper()
	l.put("vms.yaml", groupOf("clientSG", allOut)+machine(l.vms["client"], "clientSG")+machine(l.vms["server"], "serverSG"))
}

// allow lets the server be reached at the ports.
func (l *diskLab) allow(ports ...string) {
	l.t.Helper()
	var rules []string
	for _, p := range ports {
		rules = append(rules, "{direction: Ingress, protocol: UDP, port: "+p+"}")
	}
	l.put("server.yaml", groupOf("serverSG", rules...))
}

// reaches sends packets to the ports 7000 and 7001 of the server, and compares
// which of them arrive.
func (l *diskLab) reaches(what string, first, second bool) {
	l.t.Helper()
	client, server := l.vms["client"], l.vms["server"]
	to := map[bool]string{true: "server"}
	var all []sent
	for port, passes := range map[uint16]bool{7000: first, 7001: second} {
		p := testbed.Packet{SrcMAC: client.MAC, DstMAC: server.MAC, Src: client.Addr4(), Dst: server.Addr4()}
		all = append(all, sent{fmt.Sprintf("%s: to port %d", what, port), "client", p.UDP(5000, port, []byte("x")), to[passes]})
	}
	l.run(all)
}

// inside runs a command that sees what the agent sees.
func (l *diskLab) inside(command ...string) {
	l.t.Helper()
	if out, err := exec.Command("nsenter", append([]string{"--mount", "--target", l.pid}, command...)...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// held waits as an operator does, and expects that the newest policy is held.
func (l *diskLab) held(what string) {
	l.t.Helper()
	l.waitReady()
	s, err := l.status("--wait")
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 4 {
		l.t.Errorf("%s: status --wait: %v", what, err)
	}
	if s.State != "held" || !strings.Contains(s.Reason, l.path("policy")) || !strings.Contains(s.Reason, "holds no manifest") {
		l.t.Errorf("%s: %s (%s)", what, s.State, s.Reason)
	}
}

// A rule that is revoked while the state directory is full is revoked at once, and
// does not come back with a later agent that finds the file broken.
func TestFullStateDirectory(t *testing.T) {
	l := newDiskLab(t, "state")
	addr := freeAddr(t)
	l.spawn("--metrics-addr", addr)
	l.inForce()
	l.reaches("at first", true, true)
	copyOf := func() string {
		data, err := os.ReadFile(l.seen("state", "server.yaml.accepted"))
		if err != nil {
			return ""
		}
		return string(data)
	}
	l.until("that all is saved", func(control.Status) bool { return strings.Contains(copyOf(), "7001") })
	ballast := l.seen("state", "ballast")
	f, err := os.Create(ballast)
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
	must(t, f.Close())
	l.allow("7000")
	l.inForce()
	l.reaches("revoked on a full disk", true, false)
	s := l.until("a file that is not saved", func(s control.Status) bool { return s.Unsaved == 1 })
	if !warns(s, "state directory: 1 files could not be saved") || s.State != "enforcing" {
		t.Errorf("on a full disk: %s, %q", s.State, s.Warnings)
	}
	if n := metric(t, metrics(t, addr), "ovs_sg_unsaved_files"); n != 1 {
		t.Errorf("on a full disk the metric is %v", n)
	}
	must(t, os.Remove(ballast))
	if s := l.until("that all is saved again", func(s control.Status) bool { return s.Unsaved == 0 }); len(s.Warnings) > 0 {
		t.Errorf("afterwards: %q", s.Warnings)
	}
	if n := metric(t, metrics(t, addr), "ovs_sg_unsaved_files"); n != 0 {
		t.Errorf("afterwards the metric is %v", n)
	}
	l.murder()
	l.put("server.yaml", "{")
	l.spawn()
	if got := stateOf(l.inForce(), "server.yaml"); !strings.HasPrefix(got, "kept") {
		t.Errorf("the broken file is %s", got)
	}
	l.reaches("after a restart", true, false)
}

// A policy directory whose filesystem is gone leaves an empty mount point. It
// revokes nothing, neither under this agent nor under the next, until the release.
func TestUnmountedPolicyDirectory(t *testing.T) {
	l := newDiskLab(t, "policy")
	l.spawn()
	l.inForce()
	l.allow("7000")
	l.inForce()
	l.reaches("mounted", true, false)
	bind := l.path("bind")
	must(t, os.Mkdir(bind, 0o755))
	l.inside("mount", "--bind", l.path("policy"), bind)
	l.inside("umount", l.path("policy"))
	l.held("unmounted")
	l.reaches("unmounted", true, false)
	l.murder()
	l.spawn()
	l.held("unmounted, with another agent")
	l.reaches("unmounted, with another agent", true, false)
	l.inside("mount", "--bind", bind, l.path("policy"))
	if s := l.inForce(); s.State != "enforcing" {
		t.Errorf("mounted again: %s (%s)", s.State, s.Reason)
	}
	l.allow("7000", "7001")
	l.inForce()
	l.reaches("mounted again", true, true)
	l.inside("umount", l.path("policy"))
	l.held("unmounted again")
	if out, err := ovssg(within(t, 20*time.Second), "release", "--control", l.path("control.sock")).CombinedOutput(); err != nil {
		t.Fatalf("release: %v: %s", err, out)
	}
	if s := l.inForce(); s.State != "enforcing" || len(s.Files) > 0 {
		t.Errorf("released: %s (%s), %+v", s.State, s.Reason, s.Files)
	}
	l.machines()
	l.inForce()
	l.reaches("released", false, false) // the rules are gone; the VMs are back
}

// A file that is deleted while the agent reads the directory for the first time
// leaves no copy: its rules do not come back.
func TestDeletedDuringTheStart(t *testing.T) {
	l := newDiskLab(t, "unused")
	const n = 400
	for i := range n {
		must(t, os.WriteFile(l.path("policy", fmt.Sprintf("many%d.yaml", i)), []byte(groupOf(fmt.Sprintf("many%d", i), allIn)), 0o644))
	}
	copies := func() int {
		list, err := filepath.Glob(l.path("state", "*.yaml.accepted"))
		must(t, err)
		return len(list)
	}
	l.spawn()
	l.inForce()
	l.until("that all is saved", func(control.Status) bool { return copies() == n+2 })
	l.reaches("at first", true, true)
	l.murder()
	l.spawn()
	l.remove("server.yaml")
	for i := range n {
		l.remove(fmt.Sprintf("many%d.yaml", i))
	}
	l.inForce()
	l.reaches("deleted", false, false)
	l.stop()
	if got := copies(); got != 1 {
		t.Errorf("%d copies are left of one file", got)
	}
	l.put("server.yaml", "{")
	l.spawn()
	l.inForce()
	l.reaches("broken after a restart", false, false)
	l.allow("7000")
	l.inForce()
	l.reaches("allowed again", true, false)
}
