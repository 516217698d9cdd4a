package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// Flows of other programs in later tables stay, and so do their groups.
func TestForeignFlowsStay(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	if err := h.ovs.AddFlows("table=40,priority=7,ip,cookie=0x77 actions=drop\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ovs.Ofctl("-O", "OpenFlow14", "add-group", "br0", "group_id=9,type=all,bucket=output:1"); err != nil {
		t.Fatal(err)
	}
	h.example()
	h.start()
	h.wait()
	if after := h.flows(); !strings.Contains(after, "cookie=0x77, table=40, priority=7,ip actions=drop") {
		t.Errorf("somebody else's flow is gone:\n%s", after)
	}
	if groups, err := h.ovs.Ofctl("-O", "OpenFlow14", "dump-groups", "br0"); err != nil || !strings.Contains(groups, "group_id=9") {
		t.Errorf("groups: %s, %v", groups, err)
	}
}

// The agent takes over a bridge in standalone mode and replaces the bridge's
// NORMAL flow. (Open vSwitch deletes all flows and groups when fail_mode changes.)
func TestTakesBridgeOver(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true, Standalone: true})
	if before := h.flows(); !strings.Contains(before, "actions=NORMAL") {
		t.Fatalf("the bridge does not forward by itself:\n%s", before)
	}
	h.example()
	h.start()
	h.wait()
	for _, l := range lines(h.flows()) {
		if !strings.HasPrefix(l, "cookie=0x5e62") {
			t.Errorf("not ours: %s", l)
		}
	}
	if mode, err := h.ovs.Vsctl("get-fail-mode", "br0"); err != nil || strings.TrimSpace(mode) != "secure" {
		t.Errorf("fail_mode %q, %v", mode, err)
	}
}

// While flows of other programs would act before ours, the agent enforces nothing.
func TestForeignFlowsInTheWay(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	if err := h.ovs.AddFlows("table=0,priority=500,ip actions=NORMAL\n"); err != nil {
		t.Fatal(err)
	}
	h.example()
	h.start()
	if _, err := h.status("--wait", "--timeout", "500ms"); err == nil {
		t.Error("the wait did not fail")
	}
	s, err := h.status()
	if err != nil || s.State != "out of date" || !strings.Contains(s.Reason, "priority=500,ip actions=NORMAL") {
		t.Errorf("status %q %q, %v", s.State, s.Reason, err)
	}
	if flows := lines(h.flows()); len(flows) != 1 {
		t.Errorf("%d flows", len(flows))
	}
	if _, err := h.ovs.Ofctl("-O", "OpenFlow14", "--strict", "del-flows", "br0", "table=0,priority=500,ip"); err != nil {
		t.Fatal(err)
	}
	if s := h.wait(); s.State != "enforcing" || s.Drift != nil {
		t.Errorf("status %q %q %+v", s.State, s.Reason, s.Drift)
	}
}

// An audit says whether the switch agrees, and a repair takes a bridge over.
func TestAudit(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	audit := func(want int, says string, args ...string) {
		t.Helper()
		cmd := ovssg(within(t, 30*time.Second), append([]string{"audit", "--control", h.path("control.sock")}, args...)...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != want || !strings.Contains(string(out), says) {
			t.Errorf("audit %v: %v, %s", args, err, out)
		}
	}
	audit(1, "no such file")
	if err := h.ovs.AddFlows("table=0,priority=500,ip actions=NORMAL\n"); err != nil {
		t.Fatal(err)
	}
	h.example()
	h.start()
	h.until("in the way", func(s control.Status) bool { return strings.Contains(s.Reason, "in the way") })
	audit(1, "priority=500,ip actions=NORMAL")
	audit(0, "found: not in force: flows of somebody else", "--repair")
	audit(0, "the switch has what the agent has installed")
	audit(0, `{"found":[],"left":[]}`, "-o", "json")
	if s := h.wait(); s.State != "enforcing" {
		t.Errorf("status %q %q", s.State, s.Reason)
	}
}
