package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// relayed is a socket in front of another one.
type relayed struct {
	target string // path
	path   string

	mu      sync.Mutex
	conns   map[net.Conn]bool
	dialled int
	garbage string // said to who comes, instead of being put through
}

func newRelayed(h *host, name, target string) *relayed {
	h.t.Helper()
	r := &relayed{target: strings.TrimPrefix(target, "unix:"), path: h.path(name), conns: map[net.Conn]bool{}}
	l, err := net.Listen("unix", r.path)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close(); r.hangUp() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r
}

func (r *relayed) serve(conn net.Conn) {
	defer conn.Close()
	r.mu.Lock()
	r.dialled++
	garbage := r.garbage
	r.mu.Unlock()
	if garbage != "" {
		_, _ = io.WriteString(conn, garbage)
		return
	}
	real, err := net.Dial("unix", r.target)
	if err != nil {
		return
	}
	defer real.Close()
	r.mu.Lock()
	r.conns[conn] = true
	r.mu.Unlock()
	go func() { _, _ = io.Copy(real, conn); real.Close() }()
	_, _ = io.Copy(conn, real)
	r.mu.Lock()
	delete(r.conns, conn)
	r.mu.Unlock()
}

// hangUp ends all connections.
func (r *relayed) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
}

// say makes the relay answer with a text from now on, instead of relaying.
func (r *relayed) say(garbage string) {
	r.mu.Lock()
	r.garbage = garbage
	r.mu.Unlock()
	r.hangUp()
}

// count returns the number of dials since the last call.
func (r *relayed) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.dialled
	r.dialled = 0
	return n
}

func (h *host) ovsdbPID() int {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.ovs.Dir(), "ovsdb-server.pid"))
	if err != nil {
		h.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		h.t.Fatal(err)
	}
	return pid
}

// While OVSDB is away, hangs or sends nonsense, everything stays in force and the
// agent follows the policy directory. Afterwards the agent catches up. The agent
// does not dial OVSDB more often than its back-off allows.
func TestDatabaseFails(t *testing.T) {
	t.Parallel() // it waits much
	h := toughHost(t)
	db := newRelayed(h, "db", h.ovs.DB())
	args := []string{"--ovsdb", "unix:" + db.path, "--openflow", h.ovs.Mgmt(), "--unixctl", h.ovs.Ctl()}
	h.spawn(args...)
	h.inForce()
	bystander, outside := h.stream("other", 7005), h.stream("outside", 7003)
	allowed := true
	// without tests a while without OVSDB.
	without := func(what string, switchToo bool) {
		t.Helper()
		h.until("a warning about OVSDB: "+what, func(s control.Status) bool { return warns(s, "OVSDB: ") && warns(s, "stays in force") })
		allowed = !allowed
		h.write("server.yaml", serverGroup(map[bool]string{true: fromClients + ", " + fromOutside7003, false: fromClients}[allowed]))
		if !switchToo {
			follows(t, what+": a change of policy", outside, allowed)
			follows(t, what+": bystander", bystander, true)
		}
		db.count()
		time.Sleep(1500 * time.Millisecond) // the measurement
		n := db.count()
		t.Logf("%s: dialled %d times in 1.5 s", what, n)
		if n > 15 {
			t.Errorf("%s: dialled %d times", what, n)
		}
	}
	caughtUp := func(what string) {
		t.Helper()
		if s := h.inForce(); warns(s, "OVSDB") || s.State != "enforcing" {
			t.Errorf("%s: %+v", what, s)
		}
		follows(t, what+", after: a change of policy", outside, allowed)
		follows(t, what+", after: bystander", bystander, true)
		// The agent sees a change made now.
		id := map[bool]string{true: "client", false: "nobody"}[allowed]
		if _, err := h.ovs.Vsctl("set", "Interface", "client", "external_ids:iface-id="+id); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "enforced", false: "blocked"}[allowed]
		if p := portNamed(t, h.inForce(), "client"); p.State != want {
			t.Errorf("%s: the port is %s, want %s", what, p.State, want)
		}
	}

	db.say("HTTP/1.1 400 Bad Request\r\n\r\n")
	without("nonsense", false)
	// A new agent leaves everything in force too.
	before := h.ageless()
	h.murder()
	h.spawn(args...)
	h.waitReady()
	h.until("that it waits for OVSDB", func(s control.Status) bool {
		return s.State == "starting" && strings.Contains(s.Reason, "OVSDB") && warns(s, "OVSDB: ")
	})
	same(t, "a new agent without OVSDB", h.ageless(), before)
	db.say("")
	caughtUp("nonsense")

	// Without its lock in the database ovs-vswitchd stands still, the userspace
	// datapath and OpenFlow too.
	if err := h.ovs.KillOvsdb(); err != nil {
		t.Fatal(err)
	}
	without("killed", true)
	if err := h.ovs.StartOvsdb(); err != nil {
		t.Fatal(err)
	}
	caughtUp("killed")

	pid := h.ovsdbPID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	without("hanging", true)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	caughtUp("hanging")
	h.sameAsFresh(args...)
}

// metrics returns the text of the agent's metrics.
func metrics(t testing.TB, addr string) string {
	t.Helper()
	var body []byte
	if err := testbed.Poll(within(t, 20*time.Second), 5*time.Millisecond, func() (bool, error) {
		resp, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			return false, nil
		}
		defer resp.Body.Close()
		body, err = io.ReadAll(resp.Body)
		return resp.StatusCode == http.StatusOK, err
	}); err != nil {
		t.Fatalf("metrics: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
	return string(body)
}

// metric returns the value of a metric without labels.
func metric(t testing.TB, text, name string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in\n%s", name, text)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// freeAddr returns a TCP address at which nobody listened a moment ago.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Connections that end leave nothing behind in the agent.
func TestReconnectsLeakNothing(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	h.addDummyPort("web", "tap1", 5)
	h.example()
	db, mgmt := newRelayed(h, "db", h.ovs.DB()), newRelayed(h, "mgmt", h.ovs.Mgmt())
	addr := freeAddr(t)
	h.spawn("--ovsdb", "unix:"+db.path, "--openflow", "unix:"+mgmt.path, "--unixctl", h.ovs.Ctl(), "--metrics-addr", addr)
	h.inForce()
	fds := func() int {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.agent.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before, open := metric(t, metrics(t, addr), "go_goroutines"), fds()
	const rounds = 50
	for i := range rounds {
		for _, r := range []*relayed{mgmt, db} {
			if r == db && i%5 != 0 {
				continue
			}
			r.count()
			r.hangUp()
			if err := testbed.Poll(within(t, 30*time.Second), time.Millisecond, func() (bool, error) {
				r.mu.Lock()
				defer r.mu.Unlock()
				return r.dialled > 0, nil
			}); err != nil {
				t.Fatalf("round %d: nobody dials again", i)
			}
		}
		h.inForce()
	}
	// Goroutines that are about to end may take a moment.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var after float64
	err := testbed.Poll(ctx, 50*time.Millisecond, func() (bool, error) {
		after = metric(t, metrics(t, addr), "go_goroutines")
		return after <= before+5 && fds() <= open+5, nil
	})
	t.Logf("%d reconnects: %v goroutines before, %v after; %d files, %d", rounds, before, after, open, fds())
	if err != nil {
		t.Errorf("goroutines or files leak")
	}
}
