package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/testbed"
)

func init() {
	// A program with the race detector sleeps for a second before it ends,
	// and these tests end hundreds.
	if os.Getenv("GORACE") == "" {
		_ = os.Setenv("GORACE", "atexit_sleep_ms=10")
	}
}

// forks runs what starts agents on a thread of its own: an agent is killed
// when the thread that forked it ends, and threads that made a namespace do.
var forks = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range calls {
			f()
		}
	}()
	return calls
})

// spawn starts the agent without waiting for it.
func (h *host) spawn(args ...string) {
	h.t.Helper()
	if h.log == nil {
		h.t.Cleanup(func() {
			h.kill()
			if h.t.Failed() {
				h.t.Logf("the agent's log:\n%s", h.log)
			}
		})
	}
	args = append([]string{"agent", "--ovsdb", h.ovs.DB(), "--bridge", h.ovs.Bridge(),
		"--policy-dir", h.path("policy"), "--state-dir", h.path("state"), "--control", h.path("control.sock")}, args...)
	h.agent = ovssg(context.Background(), args...)
	if h.under != nil {
		h.agent.Args = append(slices.Clone(h.under), h.agent.Args...)
		h.agent.Path, h.agent.Err = exec.LookPath(h.under[0])
	}
	h.log = &logBuffer{}
	h.agent.Stdout, h.agent.Stderr = h.log, h.log
	started := make(chan error)
	forks() <- func() { started <- h.agent.Start() }
	if err := <-started; err != nil {
		h.t.Fatal(err)
	}
}

// murder kills the agent and looks for data races and panics in its log.
func (h *host) murder() {
	h.t.Helper()
	h.kill()
	if text := h.log.String(); strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic:") {
		h.t.Fatalf("the agent's log:\n%s", text)
	}
}

// ask asks the agent for its status as ovs-sg status does.
func (h *host) ask(ctx context.Context, wait bool) (s control.Status, err error) {
	client := control.New(h.path("control.sock"))
	defer client.Close()
	if wait {
		if err := client.Wait(ctx); err != nil {
			return s, err
		}
	}
	return client.Status(ctx, true)
}

// inForce waits, for an agent that may still be starting, until every change made
// before is in force.
func (h *host) inForce() control.Status {
	h.t.Helper()
	h.waitReady()
	s, err := h.ask(within(h.t, time.Minute), true)
	if err != nil {
		now, _ := h.ask(within(h.t, 5*time.Second), false)
		h.t.Fatalf("wait: %v; status %+v\n%s", err, now, h.log)
	}
	return s
}

// until waits for a status.
func (h *host) until(what string, f func(control.Status) bool) (s control.Status) {
	h.t.Helper()
	err := testbed.Poll(within(h.t, 40*time.Second), 5*time.Millisecond, func() (bool, error) {
		now, err := h.ask(within(h.t, 10*time.Second), false)
		if err == nil {
			s = now
		}
		return err == nil && f(now), nil
	})
	if err != nil {
		h.t.Fatalf("the status never says %s: %+v", what, s)
	}
	return s
}

func warns(s control.Status, text string) bool {
	return strings.Contains(strings.Join(s.Warnings, "\n"), text)
}

// epochs and what holds them, in the tables that compare them.
var (
	inEpochTable = regexp.MustCompile(`(?m)^.*\b(table=(6|10),|cookie=0x[0-9a-f]*, priority=0 ).*$`)
	epochValue   = regexp.MustCompile(`(cookie=|ct_label=|set_field:|load:)[^, ]*`)
)

// epochless returns the installed flows, sorted, without the epochs, which depend
// on the past.
func (h *host) epochless() string {
	text := inEpochTable.ReplaceAllStringFunc(h.flows(), func(l string) string { return epochValue.ReplaceAllString(l, "$1") })
	return strings.Join(slices.Sorted(slices.Values(lines(text))), "\n")
}

// same compares two lists of flows.
func same(t testing.TB, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	in := func(text string) map[string]bool {
		m := map[string]bool{}
		for _, l := range lines(text) {
			m[l] = true
		}
		return m
	}
	var diff []string
	for l := range in(want) {
		if !in(got)[l] {
			diff = append(diff, "missing "+l)
		}
	}
	for l := range in(got) {
		if !in(want)[l] {
			diff = append(diff, "wrong   "+l)
		}
	}
	t.Errorf("%s: %d differences, such as\n%s", what, len(diff), strings.Join(diff[:min(len(diff), 6)], "\n"))
}

// sameAsFresh restarts the agent, which must change no flow, and then starts it on
// an empty switch without a state directory, which must give the same flows.
func (h *host) sameAsFresh(args ...string) {
	h.t.Helper()
	h.idempotent(args...)
	installed := h.epochless()
	h.murder()
	if _, err := h.ovs.Ofctl("del-flows", h.ovs.Bridge(), "cookie=0x5e60000000000000/0xfff0000000000000"); err != nil {
		h.t.Fatal(err)
	}
	h.spawn(args...)
	h.inForce()
	same(h.t, "installed, compared with a fresh start", installed, h.epochless())
}

// idempotent restarts the agent, which must change nothing: it compiles the
// policy as it is now and compares it with what is installed.
func (h *host) idempotent(args ...string) {
	h.t.Helper()
	h.murder()
	before := h.ageless()
	h.spawn(args...)
	if s := h.inForce(); s.Last != nil && s.Last.Added+s.Last.Modified+s.Last.Deleted > 0 {
		h.t.Errorf("a restart changes flows: %+v", *s.Last)
	}
	same(h.t, "before and after a restart", h.ageless(), before)
}

// lostInSocket returns how many datagrams a host's kernel threw away because the
// test's process was too slow to take them.
func lostInSocket(t testing.TB, vm *testbed.Host) (n uint64) {
	t.Helper()
	text, err := vm.Exec("cat", "/proc/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	var head []string
	for _, l := range lines(text) {
		fields := strings.Fields(l)
		if fields[0] != "Udp:" {
			continue
		}
		for i, name := range head {
			if name == "RcvbufErrors" {
				n, _ = strconv.ParseUint(fields[i], 10, 64)
			}
		}
		head = fields
	}
	return n
}

// lostAtPorts returns how many frames the kernel threw away because the switch
// was too slow to take them from its ports' sockets.
func (h *host) lostAtPorts() (n uint64) {
	h.t.Helper()
	out, err := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", h.ovs.SwitchdPID()), "ss", "-0", "-a", "-n", "-m").CombinedOutput()
	if err != nil {
		h.t.Fatalf("ss: %v: %s", err, out)
	}
	drops := regexp.MustCompile(`skmem:\([^)]*,d(\d+)\)`).FindAllSubmatch(out, -1)
	if len(drops) == 0 {
		h.t.Fatalf("ss shows no sockets of ports:\n%s", out)
	}
	for _, m := range drops {
		d, _ := strconv.ParseUint(string(m[1]), 10, 64)
		n += d
	}
	return n
}

// knock sends a forbidden frame every millisecond and counts what comes
// through.
func knock(t testing.TB, from, to *testbed.Host, frame []byte) (sent, passed *atomic.Uint64) {
	t.Helper()
	sent, passed = new(atomic.Uint64), new(atomic.Uint64)
	m := newMark()
	if _, err := to.Capture(func(f []byte) bool {
		if i := bytes.Index(f, marked); i >= 0 && len(f) >= i+len(marked)+8 &&
			binary.BigEndian.Uint64(f[i+len(marked):]) == binary.BigEndian.Uint64(m[len(marked):]) {
			passed.Add(1)
		}
		return false
	}); err != nil {
		t.Fatal(err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(done); <-ended })
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if from.Send(m.on(frame)) == nil {
				sent.Add(1)
			}
		}
	}()
	return sent, passed
}

const fromOutside7003 = `{name: outside, direction: Ingress, protocol: UDP, port: 7003, remote: {address: {IPAddressOrCIDR: 10.0.1.1}}}`

// crowd returns n members of clientSG elsewhere.
func crowd(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\napiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: far%d}\nspec:\n  networking:\n"+
			"    interfaces: [{ipAddresses: [10.0.%d.%d]}]\n    securityGroups: {securityGroupMemberships: [{name: clientSG}]}\n", i, 128+i/250, 1+i%250)
	}
	return b.String()
}

// toughHost is streamHost without an agent, and with a wider subnet.
func toughHost(t *testing.T) *host {
	h := newHost(t, testbed.Options{})
	h.vm("server", 21)
	h.vm("client", 22)
	h.vm("other", 23)
	h.uplink("outside", 1)
	h.write("vms.yaml", strings.Replace(streamVMs, "10.0.1.0/24", "10.0.0.0/16", 1))
	h.write("client.yaml", clientIn("clientSG"))
	h.write("groups.yaml", clientGroups)
	h.write("server.yaml", serverGroup(fromClients+", "+fromOutside7003))
	return h
}

func (h *host) stream(client string, port uint16) *testbed.Stream {
	h.t.Helper()
	s, err := testbed.UDPStream(within(h.t, 20*time.Second), h.vms[client], h.vms["server"], netip.AddrPortFrom(h.vms["server"].Addr4(), port))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { s.Close() })
	return s
}

// flows or not, whatever a policy says.
func follows(t testing.TB, what string, s *testbed.Stream, allowed bool) {
	t.Helper()
	var err error
	if allowed {
		err = s.WaitFlowing(within(t, 15*time.Second))
	} else {
		err = s.WaitStopped(within(t, 15*time.Second), 60*time.Millisecond)
	}
	if err != nil {
		t.Fatalf("%s (allowed: %t): %v", what, allowed, err)
	}
}

// An agent that is killed at any moment of a start or of a change leaves nothing
// half done: the next agent installs what a first agent would, and packets about
// which all policies agree keep their verdict throughout.
func TestKilledAgent(t *testing.T) {
	h := toughHost(t)
	h.spawn()
	h.inForce()
	bystander, client, outside := h.stream("other", 7005), h.stream("client", 7001), h.stream("outside", 7003)
	server := h.vms["server"]
	sent, passed := knock(t, h.vms["outside"], server, h.vms["outside"].To(server, server.Addr4()).UDP(7003, 9, []byte("knock")))
	tooSlow := lostInSocket(t, h.vms["other"]) + h.lostAtPorts()

	rounds := 24
	if *chaosFor > 0 {
		rounds = 1000
	}
	seed := chaosSeed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	asClient, fromOutside := true, true
	for i := range rounds {
		for range 1 + r.IntN(2) {
			switch r.IntN(4) {
			case 0:
				asClient = !asClient
				h.write("client.yaml", clientIn(map[bool]string{true: "clientSG", false: "strangerSG"}[asClient]))
			case 1:
				fromOutside = !fromOutside
				h.write("server.yaml", serverGroup(map[bool]string{true: fromClients + ", " + fromOutside7003, false: fromClients}[fromOutside]))
			default: // much to install, so that a kill meets the middle of it
				h.write("crowd.yaml", crowd(r.IntN(400)))
			}
		}
		after := time.Duration(r.IntN(20000)) * time.Microsecond
		if i%3 == 2 { // a start takes longer
			after *= 10
		}
		time.Sleep(after) // the point of the test
		h.murder()
		h.spawn()
		if i%3 == 1 || i == rounds-1 {
			h.inForce()
			follows(t, "client", client, asClient)
			follows(t, "outside", outside, fromOutside)
		} else if i%3 == 0 {
			h.waitReady()
		}
	}
	h.idempotent()
	lost := bystander.Missing()
	slow := lostInSocket(t, h.vms["other"]) + h.lostAtPorts() - tooSlow
	t.Logf("%d kills; the bystander lost %d of %d packets (this machine was too slow for %d); %d of %d forbidden frames passed",
		rounds+1, lost, bystander.Received(), slow, passed.Load(), sent.Load())
	if lost > slow {
		t.Errorf("%d packets of an allowed stream were lost", lost-slow)
	}
	if passed.Load() > 0 || sent.Load() == 0 {
		t.Errorf("%d of %d forbidden frames passed", passed.Load(), sent.Load())
	}
	h.sameAsFresh()
	left, err := os.ReadDir(h.path("state"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if !strings.HasSuffix(f.Name(), ".accepted") {
			t.Errorf("left over in the state directory: %s", f.Name())
		}
	}
}

// Changes that are made while no agent runs are in force when the next agent is
// ready: revoked connections stop, the others go on.
func TestChangedWhileDown(t *testing.T) {
	h := toughHost(t)
	h.spawn()
	h.inForce()
	bystander, client, outside := h.stream("other", 7005), h.stream("client", 7001), h.stream("outside", 7003)
	for i, c := range []struct {
		name            string
		change          func()
		client, outside bool
	}{
		{"a rule goes", func() { h.write("server.yaml", serverGroup(fromClients)) }, true, false},
		{"a member goes", func() { h.write("client.yaml", clientIn("strangerSG")) }, false, false},
		{"the rule returns", func() { h.write("server.yaml", serverGroup(fromClients+", "+fromOutside7003)) }, false, true},
		{"the client's file goes", func() { h.remove("client.yaml") }, false, true},
		{"it returns", func() { h.write("client.yaml", clientIn("clientSG")) }, true, true},
		{"the server's file goes", func() { h.remove("server.yaml") }, false, false},
	} {
		h.murder()
		c.change()
		follows(t, c.name+": while the agent is down the bystander", bystander, true)
		h.spawn()
		h.inForce()
		follows(t, c.name+": client", client, c.client)
		follows(t, c.name+": outside", outside, c.outside)
		follows(t, c.name+": bystander", bystander, i != 5)
	}
}
