package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// manifests writes VMs "name addr groups…" and groups "name: rule; rule".
func manifests(vms []string, groups map[string][]string) string {
	var out []string
	for _, line := range vms {
		f := strings.Fields(line)
		member := ""
		for _, g := range f[2:] {
			member += "{name: " + g + "}, "
		}
		out = append(out, fmt.Sprintf(`apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: %s}
spec: {networking: {interfaces: [{ipAddresses: [%s]}], securityGroups: {securityGroupMemberships: [%s]}}}
`, f[0], f[1], member))
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		out = append(out, fmt.Sprintf(`apiVersion: networking.evroclabs.net/v1alpha1
kind: SecurityGroup
metadata: {name: %s}
spec: {rules: [%s]}
`, name, strings.Join(groups[name], ", ")))
	}
	return strings.Join(out, "---\n")
}

const (
	fromB  = "{direction: Ingress, protocol: TCP, port: 80, remote: {securityGroupRef: {name: b}}}"
	ssh    = "{direction: Ingress, protocol: TCP, port: 22}"
	egress = "{direction: Egress}"
)

var twoPorts = []vswitch.Port{uplinkPort, vmPort("tap2", 2, "one"), vmPort("tap3", 3, "two")}

func twoVMs(members []string, a ...string) string {
	return manifests(append([]string{"one 10.0.0.1 a", "two 10.0.0.2 b"}, members...), map[string][]string{"a": a, "b": {egress}})
}

// Nothing is written before both the directory and the bridge are known.
func TestNothingBeforeBothInputs(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.put(twoVMs(nil, ssh))
	if s, err := r.c.Status(context.Background(), true); err != nil || s.State != "starting" || !strings.Contains(s.Reason, "OVSDB") {
		t.Errorf("status %q %q, %v", s.State, s.Reason, err)
	}
	if _, _, calls := r.noted(); len(calls) > 0 {
		t.Errorf("the switch was asked for %v", calls)
	}
	r.set(state{twoVMs(nil, ssh), twoPorts})
	_, _, calls := r.noted()
	if i, j := slices.Index(calls, "no-flood"), slices.Index(calls, "apply"); i < 0 || j < i {
		t.Errorf("NO_FLOOD does not come before the flows: %v", calls)
	}
	if want := map[uint32]bool{1: false, 2: true, 3: true}; !maps.Equal(r.sw.noFlood, want) {
		t.Errorf("NO_FLOOD %v, want %v", r.sw.noFlood, want)
	}
}

// As long as the policy cannot be read, the bridge is looked at at most.
func TestNothingWithoutPolicy(t *testing.T) {
	for _, mode := range []string{"secure", "standalone"} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, newFakeSwitch())
			r.db.send(vswitch.Bridge{Name: "br0", Exists: true, FailMode: mode}, twoPorts)
			if s := r.status(); s.State != "starting" {
				t.Errorf("status %q", s.State)
			}
			r.stop() // waits for what was begun
			_, _, calls := r.noted()
			if mode == "standalone" && len(calls) > 0 || len(calls) > 1 || len(calls) == 1 && calls[0] != "dump" || r.db.prepared.Load() > 0 {
				t.Errorf("calls %v, prepared %d times", calls, r.db.prepared.Load())
			}
		})
	}
}

// The epoch of a port is raised when what it is allowed shrinks, and only then.
func TestEpochs(t *testing.T) {
	steps := []struct {
		name   string
		state  state
		raised []uint16
	}{
		{"start", state{twoVMs(nil, fromB, ssh), twoPorts}, []uint16{2, 3}},
		{"the same", state{twoVMs(nil, fromB, ssh), twoPorts}, nil},
		{"a rule more", state{twoVMs(nil, fromB, ssh, egress), twoPorts}, nil},
		{"a rule less", state{twoVMs(nil, fromB, ssh), twoPorts}, []uint16{2}},
		{"a member more", state{twoVMs([]string{"far 10.0.0.9 b"}, fromB, ssh), twoPorts}, nil},
		{"a member less", state{twoVMs(nil, fromB, ssh), twoPorts}, []uint16{2}},
		{"the remote group's rules", state{manifests([]string{"one 10.0.0.1 a", "two 10.0.0.2 b"},
			map[string][]string{"a": {fromB, ssh}, "b": {}}), twoPorts}, []uint16{3}},
		{"and back", state{twoVMs(nil, fromB, ssh), twoPorts}, nil},
		{"another port", state{twoVMs(nil, fromB, ssh), append(slices.Clone(twoPorts), vmPort("tap4", 4, "three"))}, []uint16{4}},
		{"rules in another order", state{twoVMs(nil, ssh, fromB), append(slices.Clone(twoPorts), vmPort("tap4", 4, "three"))}, nil},
	}
	r := newRig(t, newFakeSwitch())
	last := map[uint16]control.PortEpochs{}
	for _, s := range steps {
		r.set(s.state)
		now := r.epochs()
		var raised []uint16
		for port, e := range now {
			if e != last[port] {
				raised = append(raised, port)
				if e.Egress < last[port].Egress || e.Ingress < last[port].Ingress {
					t.Errorf("%s: epochs %v of port %d are not above %v", s.name, e, port, last[port])
				}
			}
		}
		slices.Sort(raised)
		if !slices.Equal(raised, s.raised) {
			t.Errorf("%s: raised %v, want %v", s.name, raised, s.raised)
		}
		last = now
	}
}

// A new controller adopts what is installed: the same policy changes nothing,
// one that allows more raises no epoch, and any other raises all.
func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name   string
		next   state
		same   bool
		raised []uint16
	}{
		{"the same", state{twoVMs([]string{"far 10.0.0.9 b"}, fromB, ssh), twoPorts}, true, nil},
		{"a rule less", state{twoVMs([]string{"far 10.0.0.9 b"}, fromB), twoPorts}, false, []uint16{2, 3}},
		{"a member less", state{twoVMs(nil, fromB, ssh), twoPorts}, false, []uint16{2, 3}},
		{"a member more", state{twoVMs([]string{"far 10.0.0.9 b", "off 10.0.0.8 b"}, fromB, ssh), twoPorts}, false, nil},
		{"another VM at the port", state{twoVMs([]string{"far 10.0.0.9 b", "new 10.0.0.7 a"}, fromB, ssh),
			[]vswitch.Port{uplinkPort, vmPort("tap2", 2, "new"), vmPort("tap3", 3, "two")}}, false, []uint16{2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, newFakeSwitch())
			r.set(state{twoVMs([]string{"far 10.0.0.9 b"}, fromB, ssh), twoPorts})
			before, epochs := r.installed(), r.epochs()
			r.stop()
			r.forget()
			r.start()
			r.set(c.next)
			bundles, flushed, _ := r.noted()
			if same := r.installed() == before && len(bundles) == 0 && len(flushed) == 0; same != c.same {
				t.Errorf("%d bundles, flushes %v: same is %v, want %v", len(bundles), flushed, same, c.same)
			}
			var raised []uint16
			for port, e := range r.epochs() {
				if e != epochs[port] {
					raised = append(raised, port)
				}
			}
			slices.Sort(raised)
			if !slices.Equal(raised, c.raised) {
				t.Errorf("raised %v, want %v", raised, c.raised)
			}
		})
	}
}

// Whatever happened to a bundle, the next round takes care of both
// possibilities: that it is in force and that it is not.
func TestUnknownOutcome(t *testing.T) {
	for _, made := range []bool{true, false} {
		t.Run(fmt.Sprintf("made=%v", made), func(t *testing.T) {
			r := newRig(t, newFakeSwitch())
			narrow, wide := state{twoVMs(nil, ssh), twoPorts}, state{twoVMs(nil, ssh, fromB), twoPorts}
			r.set(narrow)
			before := r.epochs()

			// The wider policy is sent, the answer is lost, the policy is narrow
			// again: what was allowed in between must be judged again.
			failed := make(chan struct{}, 100)
			r.sw.mu.Lock()
			r.sw.fail = func(flows.Delta) (error, bool) {
				failed <- struct{}{}
				return errors.New("connection reset"), made
			}
			r.sw.mu.Unlock()
			r.put(wide.policy)
			<-failed
			r.put(narrow.policy)
			r.sw.mu.Lock()
			r.sw.fail = nil
			r.sw.mu.Unlock()
			r.set(narrow)
			if after := r.epochs(); after[2].Ingress <= before[2].Ingress {
				t.Errorf("epochs %v after a wider policy that may have been in force, %v before", after[2], before[2])
			}
		})
	}
}

// A switch that refuses for long is asked again and again, for the same flows.
func TestRefusalsDoNotPileUp(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	before, tried := r.epochs(), make(chan string)
	r.sw.mu.Lock()
	r.sw.fail = func(d flows.Delta) (error, bool) {
		tried <- d.String()
		return errors.New("no"), false
	}
	r.sw.mu.Unlock()
	r.put(twoVMs(nil, ssh, fromB))
	first := <-tried
	for range 5 {
		if again := <-tried; again != first {
			t.Errorf("tried again with\n%s instead of\n%s", again, first)
		}
	}
	r.sw.mu.Lock()
	r.sw.fail = nil
	r.sw.mu.Unlock()
	for more := true; more; {
		select {
		case <-tried: // what was still under way
		default:
			more = false
		}
	}
	r.set(state{twoVMs(nil, ssh, fromB), twoPorts})
	if after := r.epochs(); !maps.Equal(before, after) {
		t.Errorf("epochs %v, %v before", after, before)
	}
}

// A port or an address that passes to somebody else leaves its connections
// behind; a change of rules does not.
func TestFlush(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	check := func(name string, s state, want ...string) {
		t.Helper()
		r.forget()
		r.set(s)
		_, flushed, _ := r.noted()
		slices.Sort(flushed)
		flushed = slices.Compact(flushed)
		if !slices.Equal(flushed, want) {
			t.Errorf("%s: flushed %q, want %q", name, flushed, want)
		}
	}
	check("rules", state{twoVMs(nil), twoPorts})
	check("unplug", state{twoVMs(nil), twoPorts[:2]}, "3", "32768 10.0.0.2")
	check("plug", state{twoVMs(nil), twoPorts}, "3", "32768 10.0.0.2")
	check("renumber", state{twoVMs(nil), []vswitch.Port{uplinkPort, twoPorts[1], vmPort("tap3", 7, "two")}}, "3", "32768 10.0.0.2", "7")
}

// A dead connection is dialled again and what is installed is read back.
func TestReconnect(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	want := r.installed()
	for _, lose := range []bool{false, true} {
		r.forget()
		r.sw.mu.Lock()
		if lose { // a switch that restarted has no flows
			r.sw.flows = &flows.Set{}
		}
		r.sw.mu.Unlock()
		r.sw.hangUp()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := testbed.Poll(ctx, time.Millisecond, func() (bool, error) {
			_, _, calls := r.noted()
			return slices.Contains(calls, "dump"), nil
		})
		cancel()
		if err != nil {
			t.Fatal("no new connection")
		}
		r.wait()
		if got := r.installed(); got != want {
			t.Errorf("after a reconnect the flows differ (lost: %v)", lose)
		}
		if bundles, flushed, _ := r.noted(); (len(bundles) == 1) != lose || len(flushed) > 0 {
			t.Errorf("%d bundles, flushes %v (lost: %v)", len(bundles), flushed, lose)
		}
	}
}

// Flows of others that would act on packets are a reason to enforce nothing;
// one that ours replaces, and those in later tables, are not.
func TestForeignFlows(t *testing.T) {
	sw := newFakeSwitch()
	foreign := func(table flows.Table, priority uint16, match flows.Match) flows.Flow {
		return flows.Flow{Key: flows.Key{Table: table, Priority: priority, Match: match}, Actions: flows.NewActions(-1, flows.Normal())}
	}
	harmless := []flows.Flow{foreign(0, 0, flows.Match{}), foreign(77, 5, flows.Match{})}
	bad := foreign(0, 300, flows.NewMatch(flows.InPort(2)))
	for _, f := range append(harmless, bad) {
		sw.foreign.Put(f)
	}
	r := newRig(t, sw)
	r.put(twoVMs(nil, ssh))
	r.db.send(secure, twoPorts)
	var s control.Status
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := testbed.Poll(ctx, time.Millisecond, func() (bool, error) {
		s = r.status()
		return s.State != "starting", nil
	})
	if err != nil || s.State != "out of date" || !strings.Contains(s.Reason, "priority=300,in_port=2 actions=NORMAL") {
		t.Errorf("status %q: %q, %v", s.State, s.Reason, err)
	}
	if bundles, _, _ := r.noted(); len(bundles) > 0 {
		t.Error("flows were installed")
	}
	sw.mu.Lock()
	sw.foreign.Delete(bad.Key)
	sw.mu.Unlock()
	r.wait() // tried again without any event
	if bundles, _, _ := r.noted(); len(bundles) != 1 {
		t.Errorf("%d bundles", len(bundles))
	}
}

// Flows of another layout go in the bundle that brings ours, and nothing that
// was allowed under them goes on unjudged.
func TestOtherLayout(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	want := r.installed()
	r.stop()
	old := &flows.Set{}
	for f := range r.sw.flows.All() {
		f.Cookie ^= 0x3 << 48
		old.Put(f)
	}
	r.sw.flows = old
	r.forget()
	r.start()
	r.set(state{twoVMs(nil, ssh), twoPorts})
	bundles, flushed, _ := r.noted()
	if len(bundles) != 1 || !slices.Contains(flushed, "2") || !slices.Contains(flushed, "32768") {
		t.Errorf("%d bundles, flushed %v", len(bundles), flushed)
	}
	if got := r.installed(); got != want {
		t.Error("the flows are not those of a fresh start")
	}
}

// A port that was added again has lost its NO_FLOOD, though nothing else
// about it changed.
func TestPortStatus(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	r.forget()
	r.sw.ports <- struct{}{}
	r.wait()
	if _, _, calls := r.noted(); !slices.Equal(calls, []string{"no-flood"}) {
		t.Errorf("calls %v", calls)
	}
}

// Snapshots in which nothing changed cost nothing, but count for a wait.
func TestUnchangedSnapshots(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	before, err := r.c.Status(context.Background(), true)
	if err != nil {
		t.Fatal(err)
	}
	r.forget()
	r.set(state{twoVMs(nil, ssh), twoPorts})
	after, err := r.c.Status(context.Background(), true)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, calls := r.noted(); len(calls) > 0 || after.Rounds != before.Rounds {
		t.Errorf("calls %v, %d rounds", calls, after.Rounds-before.Rounds)
	}
}

func TestEpochsWrap(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh, egress), twoPorts})
	r.stop()
	// As if there had been that many changes.
	r.sw.flows = withEpoch(t, r.sw.flows, flows.MaxEpoch)
	r.start()
	r.forget()
	r.set(state{twoVMs(nil, ssh), twoPorts})
	if e := r.epochs(); e[2].Egress == 0 || max(e[2].Egress, e[2].Ingress, e[3].Egress, e[3].Ingress) > 3 {
		t.Errorf("epochs after the highest: %v", e)
	}
	if _, flushed, _ := r.noted(); !slices.Contains(flushed, "2") || !slices.Contains(flushed, "3") || !slices.Contains(flushed, "32768") {
		t.Errorf("flushed only %v", flushed)
	}
}

// withEpoch recompiles the flows of TestEpochsWrap with another epoch.
func withEpoch(t *testing.T, old *flows.Set, epoch uint32) *flows.Set {
	t.Helper()
	h := newHost(vswitch.Snapshot{Bridge: vswitch.Bridge{Exists: true}, Ports: twoPorts})
	objects, _ := manifest.Decode(manifest.File{Name: "policy.yaml", Data: []byte(twoVMs(nil, ssh, egress))})
	m := model(objects, h.vifs)
	out, err := compile.Full(compile.Input{Model: m, Host: flows.Host{Infra: h.infra}, Classes: map[uint16]compile.Class{2: {Epochs: flows.Epochs{epoch, epoch}}, 3: {Epochs: flows.Epochs{epoch, epoch}}}})
	if err != nil || out.Len() != old.Len() {
		t.Fatalf("%v, %d flows, %d before", err, out.Len(), old.Len())
	}
	return out
}
