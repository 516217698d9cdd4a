package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/flows/openflow"
	"github.com/ovs-sg/ovs-sg/ovsdb/unixctl"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// appctl stands between the agent and ovs-vswitchd's control socket.
type appctl struct {
	path string
	mu   sync.Mutex
	done map[string]int // commands that were carried out
	// treat, if set, decides about a command: after false, appctl hangs up.
	treat func(command string) bool
	// change, if set, changes the answer to a command.
	change func(command, text string) string
}

// alter sets change.
func (a *appctl) alter(change func(command, text string) string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.change = change
}

func newAppctl(h *host) *appctl {
	h.t.Helper()
	a := &appctl{path: h.path("ctl"), done: map[string]int{}}
	l, err := net.Listen("unix", a.path)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go a.serve(conn, h.ovs.Ctl)
		}
	}()
	return a
}

func (a *appctl) serve(conn net.Conn, real func() string) {
	defer conn.Close()
	in := json.NewDecoder(conn)
	for {
		var req struct {
			ID     uint64   `json:"id"`
			Method string   `json:"method"`
			Params []string `json:"params"`
		}
		if in.Decode(&req) != nil {
			return
		}
		a.mu.Lock()
		treat := a.treat
		a.mu.Unlock()
		if treat != nil && !treat(req.Method) {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		c, err := unixctl.Dial(ctx, real())
		var text string
		if err == nil {
			text, err = c.Call(ctx, req.Method, req.Params...)
			c.Close()
		}
		cancel()
		if err != nil {
			return
		}
		a.mu.Lock()
		a.done[req.Method]++
		if a.change != nil {
			text = a.change(req.Method, text)
		}
		a.mu.Unlock()
		reply, _ := json.Marshal(map[string]any{"id": req.ID, "result": text, "error": nil})
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

// refuse hangs up on a command n times; broken receives each time.
func (a *appctl) refuse(command string, n int) (broken <-chan struct{}) {
	ch := make(chan struct{}, n)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = map[string]int{}
	a.treat = func(c string) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		if c == command && n > 0 {
			n--
			ch <- struct{}{}
			return false
		}
		return true
	}
	return ch
}

func (a *appctl) times(command string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done[command]
}

// The agent purges megaflows after every change of flows, even if the switch
// refused the first purge or the agent died before it: without the purge this
// datapath goes on with mixed-up megaflows.
func TestPurgeIsNotForgotten(t *testing.T) {
	h := newHost(t, testbed.Options{})
	h.setVersion("3.1.0")
	h.vm("server", 21)
	h.write("vms.yaml", streamVMs)
	h.write("groups.yaml", clientGroups)
	h.write("server.yaml", serverGroup(fromClients))
	a := newAppctl(h)
	h.spawn("--unixctl", a.path)
	h.inForce()
	const purge = "revalidator/purge"

	// One member more: no epoch is raised, so a second attempt has no flows to
	// change.
	a.refuse(purge, 2)
	h.write("client.yaml", clientIn("clientSG"))
	h.inForce()
	if a.times(purge) == 0 {
		t.Error("a purge that failed was not made up for")
	}

	broken := a.refuse(purge, 1000)
	h.write("client.yaml", clientIn("strangerSG"))
	select {
	case <-broken:
	case <-within(t, 20*time.Second).Done():
		t.Fatal("nothing is purged")
	}
	h.murder()
	a.refuse(purge, 0)
	h.spawn("--unixctl", a.path)
	h.inForce()
	if a.times(purge) == 0 {
		t.Error("an agent died between the change and the purge, and the next one did not make up for it")
	}
}

// exit ends ovs-vswitchd as an operator does.
func (h *host) exitSwitchd() {
	h.t.Helper()
	pid := h.ovs.SwitchdPID()
	if _, err := h.ovs.Appctl("exit"); err != nil {
		h.t.Fatal(err)
	}
	if err := testbed.Poll(within(h.t, 20*time.Second), time.Millisecond, func() (bool, error) {
		return !isRunning(pid), nil
	}); err != nil {
		h.t.Fatalf("ovs-vswitchd does not exit: %v", err)
	}
	_ = h.ovs.KillSwitchd() // it says that it has ended by itself
}

// isRunning is false for a process that has ended, waited for or not.
func isRunning(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// received returns how many packets the switch has taken from a port.
func (h *host) received(name string) (n int) {
	h.t.Helper()
	out, err := h.ovs.Ofctl("dump-ports", h.ovs.Bridge(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	if m := regexp.MustCompile(`rx pkts=(\d+)`).FindStringSubmatch(out); m != nil {
		n, _ = strconv.Atoi(m[1])
	}
	return n
}

// noFlood lists the ports that NORMAL does not flood to.
func (h *host) noFlood() string {
	h.t.Helper()
	out, err := h.ovs.Ofctl("-O", "OpenFlow10", "show", h.ovs.Bridge())
	if err != nil {
		h.t.Fatal(err)
	}
	var ports []string
	for _, m := range regexp.MustCompile(`(?m)^ \S+\((\S+)\):.*\n\s+config:(.*)$`).FindAllStringSubmatch(out, -1) {
		if strings.Contains(m[2], "NO_FLOOD") {
			ports = append(ports, m[1])
		}
	}
	slices.Sort(ports)
	return strings.Join(ports, " ")
}

// tables returns the names that the switch has for its tables, and the prefixes
// in the database.
func (h *host) tables() string {
	h.t.Helper()
	flows, err := h.ovs.Ofctl("--names", "dump-flows", h.ovs.Bridge())
	if err != nil {
		h.t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`table=(\w+)`).FindAllStringSubmatch(flows, -1) {
		names[m[1]] = true
	}
	prefixes, err := h.ovs.Vsctl("--columns=name,prefixes", "--format=csv", "--no-headings", "list", "Flow_Table")
	if err != nil {
		h.t.Fatal(err)
	}
	rows := lines(prefixes)
	slices.Sort(rows)
	return fmt.Sprint(slices.Sorted(maps.Keys(names)), rows)
}

// A switch that was killed or restarted forwards nothing until its flows are back.
// Afterwards the same packets pass as before, with other port numbers too.
func TestSwitchRestarts(t *testing.T) {
	h := toughHost(t)
	for name, n := range map[string]int{"server": 11, "client": 12, "other": 13} {
		if err := h.vms[name].Replug(n); err != nil {
			t.Fatal(err)
		}
	}
	h.write("crowd.yaml", crowd(1000))
	h.spawn()
	h.inForce()
	outside, server := h.vms["outside"], h.vms["server"]
	_, passed := knock(t, outside, server, outside.To(server, server.Addr4()).UDP(7003, 9, nil))
	// The originator sends, because the userspace datapath forgets connections
	// when it ends.
	_, arrived := knock(t, outside, server, outside.To(server, server.Addr4()).UDP(9, 7003, nil))
	flowing := func(what string) {
		t.Helper()
		before := arrived.Load()
		if err := testbed.Poll(within(t, 20*time.Second), time.Millisecond, func() (bool, error) { return arrived.Load() > before, nil }); err != nil {
			t.Fatalf("%s: what is allowed does not arrive: %v", what, err)
		}
	}
	const untrusted = "client other server"
	if got := h.noFlood(); got != untrusted {
		t.Errorf("NO_FLOOD at %q, want %q", got, untrusted)
	}
	installed, tables := h.epochless(), h.tables()
	if !strings.Contains(tables, "ingress_rules") || !strings.Contains(tables, "ct_nw_dst") {
		t.Errorf("no names or no prefixes: %s", tables)
	}
	whole := func(what string) {
		t.Helper()
		h.inForce()
		same(t, what, h.epochless(), installed)
		if got := h.noFlood(); got != untrusted {
			t.Errorf("%s: NO_FLOOD at %q, want %q", what, got, untrusted)
		}
		if got := h.tables(); got != tables {
			t.Errorf("%s: tables %s, want %s", what, got, tables)
		}
	}

	for what, end := range map[string]func(){
		"killed":  func() { _ = h.ovs.KillSwitchd() },
		"exiting": h.exitSwitchd,
	} {
		end()
		back, restarted := make(chan time.Time, 1), make(chan error, 1)
		go func() {
			path := strings.TrimPrefix(h.ovs.Mgmt(), "unix:")
			_ = testbed.Poll(context.Background(), time.Millisecond, func() (bool, error) {
				conn, err := net.Dial("unix", path)
				if err == nil {
					conn.Close()
				}
				return err == nil, nil
			})
			back <- time.Now()
		}()
		arrived.Store(0)
		go func() { restarted <- h.ovs.StartSwitchd() }()
		flowing(what)
		t.Logf("%s: with 1,000 members elsewhere traffic is back %v after the socket", what, time.Since(<-back).Round(time.Millisecond))
		if err := <-restarted; err != nil {
			t.Fatal(err)
		}
		whole(what)
	}

	// While the agent is stopped the switch has no flows: no packet passes.
	h.signal(syscall.SIGSTOP)
	_ = h.ovs.KillSwitchd()
	if err := h.ovs.StartSwitchd(); err != nil {
		t.Fatal(err)
	}
	l := h.tapped()
	for _, from := range []string{"outside", "client"} {
		a := h.vms[from]
		before := h.received(from)
		for range 3 {
			for _, frame := range everyKind(a, server) {
				if err := a.Send(frame); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := testbed.Poll(within(t, 20*time.Second), 5*time.Millisecond, func() (bool, error) { return h.received(from) >= before+15, nil }); err != nil {
			t.Errorf("the switch takes nothing from %s: %v", from, err)
		}
	}
	for name := range h.vms {
		if n := l.count(name, func([]byte) bool { return true }); n > 0 {
			t.Errorf("without flows %s gets %d frames", name, n)
		}
	}
	h.signal(syscall.SIGCONT)
	whole("with the agent held meanwhile")
	flowing("after that")

	// The port numbers are exchanged while the switch is down.
	_ = h.ovs.KillSwitchd()
	for name, n := range map[string]int{"server": 12, "client": 13, "other": 11} {
		if _, err := h.ovs.Vsctl("--no-wait", "set", "Interface", name, fmt.Sprintf("ofport_request=%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.ovs.StartSwitchd(); err != nil {
		t.Fatal(err)
	}
	h.until("the new numbers", func(s control.Status) bool {
		return s.State == "enforcing" && portNamed(t, s, "server").OFPort == 12 && portNamed(t, s, "other").OFPort == 11
	})
	h.inForce()
	flowing("with other numbers")
	if passed.Load() > 0 {
		t.Errorf("%d forbidden frames passed", passed.Load())
	}
	h.sameAsFresh()
}

// hold stops ovs-vswitchd or continues it.
func (h *host) hold(s syscall.Signal) {
	h.t.Helper()
	if err := syscall.Kill(h.ovs.SwitchdPID(), s); err != nil {
		h.t.Fatal(err)
	}
}

// waitsForSwitch waits for a status that says that the agent waits for the switch.
func (h *host) waitsForSwitch() {
	h.t.Helper()
	err := testbed.Poll(within(h.t, 30*time.Second), time.Millisecond, func() (bool, error) {
		s, _ := h.ask(within(h.t, time.Second), false)
		return strings.HasPrefix(s.Reason, "waiting for the switch"), nil
	})
	if err != nil {
		h.t.Fatalf("the status does not say that it waits for the switch: %v", err)
	}
}

// A switch that hangs in the middle of a change leaves nothing half done, and the
// agent dials a switch anew that is silent for long.
func TestSwitchHangs(t *testing.T) {
	t.Parallel() // it waits much
	h := toughHost(t)
	h.spawn()
	h.inForce()
	bystander := h.stream("other", 7005)
	r := rand.New(rand.NewPCG(chaosSeed(t), 2))
	members := 0
	for i := range 6 {
		members = (members + 1 + r.IntN(1000)) % 1500
		h.write("crowd.yaml", crowd(members))
		time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond) // somewhere in the middle
		h.hold(syscall.SIGSTOP)
		h.write("crowd.yaml", crowd(members+1))
		h.waitsForSwitch()
		h.hold(syscall.SIGCONT)
		if i%2 == 1 {
			h.inForce()
			follows(t, "bystander", bystander, true)
		}
	}

	h.hold(syscall.SIGSTOP)
	h.write("crowd.yaml", crowd(3))
	if err := testbed.Poll(within(t, 60*time.Second), 20*time.Millisecond, func() (bool, error) {
		return strings.Contains(h.log.String(), openflow.ErrSilent.Error()), nil
	}); err != nil {
		t.Errorf("the agent never notices that the switch is silent:\n%s", h.log)
	}
	h.waitsForSwitch() // for the next connection
	h.hold(syscall.SIGCONT)
	h.inForce()
	follows(t, "bystander", bystander, true)
	h.sameAsFresh()
}

// The agent reports its status at any time while the switch hangs.
func TestStatusWhileSwitchHangs(t *testing.T) {
	t.Parallel()
	h := toughHost(t)
	h.spawn()
	h.inForce()
	for what, do := range map[string]func(){
		"much has to be read first": func() { h.write("crowd.yaml", crowd(3000)) },
		"somebody waits": func() {
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			go func() { _, _ = h.ask(ctx, true) }()
		},
	} {
		h.hold(syscall.SIGSTOP)
		do()
		for range 4 {
			asked := time.Now()
			if _, err := h.ask(within(t, 20*time.Second), false); err != nil || time.Since(asked) > 4*time.Second {
				t.Errorf("%s: the status took %v (%v)", what, time.Since(asked), err)
			}
			time.Sleep(100 * time.Millisecond) // so that one falls in the middle
		}
		h.hold(syscall.SIGCONT)
		h.inForce()
	}
}
