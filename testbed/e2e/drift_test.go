package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// drift is something that somebody else does to the switch.
type drift struct {
	name string
	do   func(h *host)
	// says is part of what the status says about it.
	says string
	// opens and kills say what it does to packets as long as nobody puts it
	// right: a forbidden one arrives, or an allowed one does not.
	opens, kills bool
}

func ofctl(args ...string) func(*host) {
	return func(h *host) {
		h.t.Helper()
		if out, err := h.ovs.Ofctl(append([]string{args[0], h.ovs.Bridge()}, args[1:]...)...); err != nil {
			h.t.Fatal(err, out)
		}
	}
}

func vsctl(args ...string) func(*host) {
	return func(h *host) {
		h.t.Helper()
		if out, err := h.ovs.Vsctl(args...); err != nil {
			h.t.Fatal(err, out)
		}
	}
}

// readd deletes the bridge and adds it again with the same ports, in one
// transaction.
func readd(h *host) {
	h.t.Helper()
	args := []string{"--", "del-br", "br0", "--", "add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev"}
	for _, name := range []string{"a", "b", "router"} {
		get := func(column string) string {
			h.t.Helper()
			out, err := h.ovs.Vsctl("get", "Interface", name, column)
			if err != nil {
				h.t.Fatal(err)
			}
			return strings.TrimSpace(out)
		}
		args = append(args, "--", "add-port", "br0", name, "--", "set", "Interface", name, "ofport_request="+get("ofport"), "external_ids="+get("external_ids"))
		if kind := get("type"); kind != `""` {
			args = append(args, "type="+kind)
		}
	}
	vsctl(args...)(h)
}

// old is a switch that gets its flows of before a revocation back, as ovs-ctl does
// when it restarts Open vSwitch.
func old(h *host) {
	h.t.Helper()
	h.signal(syscall.SIGCONT)
	h.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP}")
	h.wait()
	before := h.flows()
	h.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7001}")
	h.wait()
	h.signal(syscall.SIGSTOP)
	if err := h.ovs.ReplaceFlows(before); err != nil {
		h.t.Fatal(err)
	}
}

// limit has the switch keep one flow in each table of the agent.
func limit(h *host) {
	h.t.Helper()
	out, err := h.ovs.Vsctl("--bare", "--columns=_uuid", "list", "Flow_Table")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, row := range strings.Fields(out) {
		vsctl("set", "Flow_Table", row, "flow_limit=1", "overflow_policy=evict")(h)
	}
}

// expires replaces a flow by one that is the same but for a timeout.
func expires(h *host) {
	h.t.Helper()
	for l := range strings.Lines(h.flows()) {
		if match, actions, ok := strings.Cut(strings.TrimSpace(l), " actions="); ok && strings.Contains(match, "table=12, priority=0") {
			ofctl("add-flow", match+",hard_timeout=600,actions="+actions)(h)
			return
		}
	}
	h.t.Fatal("no such flow")
}

var drifts = []drift{
	{"flows deleted", ofctl("del-flows"), "gone", false, true},
	{"flows of a table deleted", ofctl("del-flows", "table=2"), "gone", false, true},
	{"flow added in front", ofctl("add-flow", "table=0,priority=65535,actions=NORMAL"), "of somebody else", true, false},
	{"flow added in a rule table", ofctl("add-flow", "table=12,priority=65000,actions=goto_table:13"), "of somebody else", true, false},
	{"flow added with the agent's cookie", ofctl("add-flow", "cookie=0x5e62000000000000,table=12,priority=65000,actions=goto_table:13"), "too many", true, false},
	{"flow replaced under another cookie", ofctl("add-flow", "cookie=7,table=12,priority=0,actions=goto_table:13"), "gone", true, false},
	{"flows modified", ofctl("mod-flows", "table=12,actions=goto_table:13"), "changed", true, false},
	{"flow that expires", expires, "changed", false, false},
	{"old flows put back", old, "too many", true, false},
	{"fail_mode standalone", vsctl("set", "Bridge", "br0", "fail_mode=standalone"), "fail_mode is", true, false},
	{"fail_mode cleared", vsctl("clear", "Bridge", "br0", "fail_mode"), "fail_mode is", true, false},
	{"emer-reset", vsctl("emer-reset"), "fail_mode is", true, false},
	{"controller set", vsctl("set-controller", "br0", "tcp:127.0.0.1:1"), "gone", false, true},
	{"controller deleted", vsctl("del-controller", "br0"), "gone", false, true},
	{"bridge added anew", readd, "bridge was deleted", true, false},
	{"another protocol", vsctl("set", "Bridge", "br0", "protocols=OpenFlow13"), "protocols has no", false, false},
	{"tables without names", vsctl("clear", "Bridge", "br0", "flow_tables"), "Flow_Table", false, false},
	{"tables with a limit", limit, "flow limits", false, false},
	{"in-band control", vsctl("remove", "Bridge", "br0", "other_config", "disable-in-band", "--", "set-manager", "ptcp:0:127.0.0.1"), "disable-in-band", false, false},
}

// Whatever somebody else does to the switch, the agent sees it and puts it right:
// what is allowed passes again, and nothing that is forbidden, not even on
// connections that were made meanwhile.
func TestDrift(t *testing.T) {
	h := protocolHost(t)
	h.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7001}")
	h.wait()
	a, b := h.vms["a"], h.vms["b"]
	try := func(port uint16, want bool) {
		h.t.Helper()
		m := newMark()
		h.arrives("a", "b", want, func(f []byte) bool { return bytes.Contains(f, m) }, a.To(b, b.Addr4()).UDP(5555, port, m))
	}
	hello := testbed.Packet{SrcMAC: b.MAC, DstMAC: testbed.Broadcast}.ARP(testbed.ARPRequest, b.MAC, b.Addr4(), nil, b.Addr4())
	// opens fails if no forbidden packet arrives, with whatever NORMAL has learned.
	opens := func() {
		h.t.Helper()
		m := newMark()
		c, err := b.Capture(func(f []byte) bool { return bytes.Contains(f, m) })
		if err != nil {
			h.t.Fatal(err)
		}
		defer c.Close()
		if err := testbed.Poll(within(h.t, 10*time.Second), time.Millisecond, func() (bool, error) {
			if err := b.Send(hello); err != nil {
				return false, err
			}
			return c.Got(20 * time.Millisecond), a.Send(a.To(b, b.Addr4()).UDP(5555, 7002, m))
		}); err != nil {
			h.t.Errorf("the probe cannot arrive: %v", err)
		}
	}
	try(7001, true)
	try(7002, false)
	flows, noFlood, tables := h.epochless(), h.noFlood(), h.tables()
	for i, d := range drifts {
		t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) {
			h.t = t
			h.signal(syscall.SIGSTOP)
			running := func() { _ = h.agent.Process.Signal(syscall.SIGCONT) }
			defer running()
			d.do(h)
			// The twins: without the agent it matters.
			if d.opens {
				opens()
			}
			if d.kills {
				if err := h.ovs.Purge(); err != nil { // megaflows of the flows before
					t.Fatal(err)
				}
				try(7001, false)
			}
			running()
			s, err := h.ask(within(t, 20*time.Second), true)
			if err != nil || s.State != "enforcing" || s.Drift == nil || s.Drift.Count <= i {
				t.Fatalf("%v: %s %s %+v\n%s", err, s.State, s.Reason, s.Drift, h.log)
			}
			if what := strings.Join(s.Drift.Last.What, "; "); !strings.Contains(what, d.says) {
				t.Errorf("the status says %q, want %q", what, d.says)
			}
			try(7001, true)
			try(7002, false)
			same(t, "put right", h.epochless(), flows)
			if n := h.noFlood(); n != noFlood {
				t.Errorf("NO_FLOOD is set on %q, not %q", n, noFlood)
			}
			if n := h.tables(); n != tables {
				t.Errorf("tables are %q, not %q", n, tables)
			}
			if out, err := h.ovs.Vsctl("get", "Bridge", "br0", "fail_mode", "other_config:disable-in-band"); err != nil || strings.Fields(out)[0] != "secure" || !strings.Contains(out, "true") {
				t.Errorf("%s, %v", out, err)
			}
		})
	}
	h.t = t
	if s := h.inForce(); s.Drift.Count != len(drifts) {
		t.Errorf("%d drifts, not %d", s.Drift.Count, len(drifts))
	}
}

// A difference that only a count can tell, because no report came, is put right
// too, and so is one that was made while the agent was down.
func TestDriftWhileDown(t *testing.T) {
	h := protocolHost(t)
	want := h.epochless()
	h.kill()
	ofctl("add-flow", "table=0,priority=65535,actions=NORMAL")(h)
	h.spawn()
	s := h.inForce()
	same(t, "put right", h.epochless(), want)
	if s.Drift == nil || !strings.Contains(fmt.Sprint(s.Drift.Last.What), "actions=NORMAL") {
		t.Errorf("%+v", s.Drift)
	}
}

// Somebody who changes the switch again and again does not go unseen, and does
// not keep a change of policy from being enforced.
func TestDriftWithoutEnd(t *testing.T) {
	h := protocolHost(t)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = h.ovs.Ofctl("add-flow", "br0", "table=18,priority=65535,udp,tp_dst=1,actions=drop")
			}
		}
	}()
	h.until("drifted", func(s control.Status) bool { return s.State == "drifted" })
	h.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7001}")
	h.until("the change", func(s control.Status) bool {
		return strings.Contains(h.flows(), "tp_dst=7001")
	})
	close(stop)
	<-ended
	h.until("enforcing", func(s control.Status) bool { return s.State == "enforcing" })
	h.inForce()
}
