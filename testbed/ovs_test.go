package testbed

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNothingStays runs two switches side by side and compares the machine
// before and after.
func TestNothingStays(t *testing.T) {
	before := leftovers(t)
	var ends []func() error
	for range 2 {
		o, err := Start(t.Context(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, o.Close)
		h, err := o.AddVM(VMConfig{Name: "vm1", Addrs: prefixes("10.0.0.1/24")})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.ServeTCP(80); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Capture(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(o.Dir()); err != nil {
			t.Error(err)
		}
		ends = append(ends, func() error {
			if _, err := os.Stat(o.Dir()); !os.IsNotExist(err) {
				return fmt.Errorf("directory stays: %v", err)
			}
			return o.Close() // the second time does nothing
		})
	}
	for _, i := range []int{0, 2, 1, 3} {
		if err := ends[i](); err != nil {
			t.Error(err)
		}
	}
	if after := leftovers(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// leftovers lists our children, this machine's devices and named namespaces.
func leftovers(t *testing.T) string {
	t.Helper()
	var all []string
	for _, cmd := range [][]string{{"ip", "-br", "link"}, {"ip", "netns"}} {
		out, err := exec.Command(cmd[0], cmd[1:]...).Output()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(out))
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	for _, task := range tasks {
		if text, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children"); err == nil {
			children = append(children, strings.Fields(string(text))...)
		}
	}
	slices.Sort(children)
	return strings.Join(append(all, children...), "\n")
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// pair returns a switch with two virtual machines that run servers.
func pair(t *testing.T) (*OVS, *Host, *Host) {
	t.Helper()
	o := New(t, Options{})
	var hosts []*Host
	for i := 1; i <= 2; i++ {
		h := o.VM(t, VMConfig{Name: fmt.Sprint("vm", i), OFPort: i,
			Addrs: prefixes(fmt.Sprintf("10.0.0.%d/24", i), fmt.Sprintf("fd00::%d/64", i))})
		if err := h.ServeTCP(80); err != nil {
			t.Fatal(err)
		}
		if err := h.ServeUDP(53); err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	return o, hosts[0], hosts[1]
}

// probes returns all kinds of probes from one host to the other.
func probes(from, to *Host, want bool) []Probe {
	var all []Probe
	for _, addr := range to.Addrs {
		all = append(all,
			Probe{Proto: "tcp", From: from, To: netip.AddrPortFrom(addr, 80), Want: want},
			Probe{Proto: "udp", From: from, To: netip.AddrPortFrom(addr, 53), Want: want},
			Probe{Proto: "udp", From: from, To: netip.AddrPortFrom(addr, 53), Size: 3000, Want: want},
			Probe{Proto: "ping", From: from, To: netip.AddrPortFrom(addr, 0), Want: want},
			Probe{Proto: "ping", From: from, To: netip.AddrPortFrom(addr, 0), Size: 3000, Want: want},
			Probe{Proto: "frame", From: from, Frame: from.To(to, addr).UDP(1, 2, []byte("x")), Capturer: to,
				Match: func(f []byte) bool { return f[len(f)-1] == 'x' }, Want: want})
	}
	return all
}

func check(t *testing.T, probes []Probe) {
	t.Helper()
	start := time.Now()
	for _, r := range Surprises(Matrix(t.Context(), probes, 0)) {
		t.Error(r)
	}
	t.Logf("%d probes in %v", len(probes), time.Since(start))
}

func setFlows(t *testing.T, o *OVS, text string) {
	t.Helper()
	if err := o.ReplaceFlows(text); err != nil {
		t.Fatal(err)
	}
	if err := o.Purge(); err != nil {
		t.Fatal(err)
	}
}

func TestReachability(t *testing.T) {
	o, vm1, vm2 := pair(t)
	all := func(want bool) []Probe { return append(probes(vm1, vm2, want), probes(vm2, vm1, want)...) }
	setFlows(t, o, "priority=0 actions=NORMAL")
	check(t, all(true))
	setFlows(t, o, "priority=0 actions=drop")
	check(t, all(false))
	if flows, err := o.DumpFlows(); err != nil || flows != "priority=0 actions=drop\n" {
		t.Errorf("flows %q, %v", flows, err)
	}

	// Connection tracking accepts what the hosts send: checksums are right.
	setFlows(t, o, `arp actions=NORMAL
icmp6,icmp_type=135 actions=NORMAL
icmp6,icmp_type=136 actions=NORMAL
ip,ct_state=-trk actions=ct(table=0)
ipv6,ct_state=-trk actions=ct(table=0)
ct_state=+trk+new,ip actions=ct(commit),NORMAL
ct_state=+trk+new,ipv6 actions=ct(commit),NORMAL
ct_state=+trk+est actions=NORMAL
ct_state=+trk+inv actions=drop`)
	check(t, slices.DeleteFunc(all(true), func(p Probe) bool { return p.Proto == "frame" }))
	if lines, err := o.Conntrack(); err != nil || len(lines) == 0 {
		t.Error("no tracked connection", err)
	}
	if lines, err := o.Megaflows(); err != nil || len(lines) == 0 {
		t.Error("no megaflow", err)
	}
}

func TestRestartSwitchd(t *testing.T) {
	o, vm1, vm2 := pair(t)
	setFlows(t, o, "priority=0 actions=NORMAL")
	check(t, probes(vm1, vm2, true))
	old := o.Ctl()
	for _, f := range []func() error{o.KillSwitchd, o.KillOvsdb, o.StartOvsdb, o.StartSwitchd} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	if o.Ctl() == old {
		t.Error("control socket keeps its name")
	}
	if port, err := o.OFPort("vm2"); err != nil || port != 2 {
		t.Errorf("ofport %d, %v", port, err)
	}
	check(t, probes(vm1, vm2, false)) // fail_mode=secure: no flow, no packet
	setFlows(t, o, "priority=0 actions=NORMAL")
	check(t, probes(vm1, vm2, true))
}

func TestReplug(t *testing.T) {
	o, vm1, vm2 := pair(t)
	setFlows(t, o, "priority=0 actions=NORMAL")
	check(t, probes(vm1, vm2, true))
	if err := vm2.Unplug(); err != nil {
		t.Fatal(err)
	}
	check(t, probes(vm1, vm2, false))
	if err := vm2.Replug(7); err != nil {
		t.Fatal(err)
	}
	if err := vm2.Replug(9); err != nil {
		t.Fatal(err)
	}
	if vm2.OFPort() != 9 {
		t.Error("ofport", vm2.OFPort())
	}
	check(t, probes(vm1, vm2, true))
	ids, err := o.Vsctl("get", "Interface", "vm2", "external_ids")
	if err != nil || ids != `{attached-mac="02:00:00:00:00:02", iface-id=vm2}` {
		t.Error(ids, err)
	}
}

// TestRemove checks that another host can have the name and port of a removed
// one.
func TestRemove(t *testing.T) {
	o, vm1, vm2 := pair(t)
	setFlows(t, o, "priority=0 actions=NORMAL")
	for i := range 3 {
		if err := vm2.Remove(); err != nil {
			t.Fatal(err)
		}
		if err := vm2.Do(func() error { return nil }); err == nil {
			t.Error("a removed host still runs things")
		}
		vm2 = o.VM(t, VMConfig{Name: "vm2", OFPort: 2, Addrs: prefixes(fmt.Sprintf("10.0.0.%d/24", 10+i))})
		check(t, []Probe{{Proto: "ping", From: vm1, To: netip.AddrPortFrom(vm2.Addr4(), 0), Want: true}})
	}
}

// TestKilled kills a process that runs a switch with a virtual machine.
func TestKilled(t *testing.T) {
	const variable = "TESTBED_TEST_KILLED"
	if os.Getenv(variable) != "" {
		o := New(t, Options{})
		h := o.VM(t, VMConfig{Name: "vm1", Addrs: prefixes("10.0.0.1/24")})
		if err := h.ServeTCP(80); err != nil {
			t.Fatal(err)
		}
		fmt.Println("pids", o.SwitchdPID(), o.ovsdb.cmd.Process.Pid, o.Dir())
		select {} // until killed
	}
	before := leftovers(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var switchd, ovsdb int
	var dir string
	lines := bufio.NewScanner(out)
	for dir == "" && lines.Scan() {
		_, _ = fmt.Sscanf(lines.Text(), "pids %d %d %s", &switchd, &ovsdb, &dir)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed
	if dir == "" {
		t.Fatal("the process did not start a switch")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, pid := range []int{switchd, ovsdb} {
		err := Poll(ctx, 5*time.Millisecond, func() (bool, error) {
			state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(state), ") Z "), nil
		})
		if err != nil {
			t.Errorf("process %d stays: %v", pid, err)
		}
	}
	if after := leftovers(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// TestDaemonDies checks that Close reports a daemon that ended by itself.
func TestDaemonDies(t *testing.T) {
	o, err := Start(t.Context(), Options{Dummy: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Appctl("exit"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := Poll(ctx, time.Millisecond, func() (bool, error) { return !o.switchd.running(), nil }); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err == nil || !strings.Contains(err.Error(), "ovs-vswitchd ended by itself") {
		t.Error(err)
	}
}
