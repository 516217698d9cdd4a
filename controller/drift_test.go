package controller

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// meddle changes flows of the switch behind the controller's back. ring says
// whether the switch tells of it.
func (r *rig) meddle(ring bool, change func(ours, foreign *flows.Set)) {
	r.sw.mu.Lock()
	change(r.sw.flows, r.sw.foreign)
	r.sw.mu.Unlock()
	if ring {
		r.sw.changed <- struct{}{}
	}
}

// modifyOne changes the actions of a rule's flow, so that no count tells.
func modifyOne(ours, _ *flows.Set) {
	for f := range ours.All() {
		if f.Cookie.Kind() == flows.KindRule {
			f.Actions = flows.NewActions(-1, flows.Normal())
			ours.Put(f)
			return
		}
	}
	panic("no flow of a rule")
}

// deleteOne deletes one of the flows.
func deleteOne(ours, _ *flows.Set) {
	for f := range ours.All() {
		ours.Delete(f.Key)
		return
	}
}

func intrude(_, foreign *flows.Set) {
	foreign.Put(flows.Flow{Key: flows.Key{Table: flows.TableDeny, Priority: 9}, Cookie: 7, Actions: flows.NewActions(-1, flows.Normal())})
}

// repaired waits until n differences have been put right.
func (r *rig) repaired(n int) control.Status {
	r.t.Helper()
	var s control.Status
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := testbed.Poll(ctx, time.Millisecond, func() (bool, error) {
		s = r.status()
		return s.State == "enforcing" && s.Drift != nil && s.Drift.Count >= n, nil
	}); err != nil {
		r.t.Fatalf("%v: %+v", err, s)
	}
	return s
}

// noDifference fails if the switch has other flows than the controller believes.
func (r *rig) noDifference() {
	r.t.Helper()
	a, err := r.c.Audit(r.t.Context(), false)
	if err != nil || len(a.Found) > 0 {
		r.t.Errorf("%v, %v", a.Found, err)
	}
	r.sw.mu.Lock()
	defer r.sw.mu.Unlock()
	if n := r.sw.foreign.Len(); n > 0 {
		r.t.Errorf("%d flows of somebody else", n)
	}
}

// A change that the switch tells of is put right before a wait that began after
// the change returns.
func TestDriftIsPutRight(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	for i, change := range []func(ours, foreign *flows.Set){modifyOne, deleteOne, intrude} {
		before := r.epochs()
		r.meddle(true, change)
		r.wait()
		s := r.status()
		if s.State != "enforcing" || s.Drift == nil || s.Drift.Count != i+1 || s.Drift.Last.Took <= 0 {
			t.Fatalf("%+v", s)
		}
		r.noDifference()
		// Connections that were made meanwhile are judged anew.
		for port, e := range r.epochs() {
			if e.Egress <= before[port].Egress || e.Ingress <= before[port].Ingress {
				t.Errorf("port %d had epochs %+v and has %+v", port, before[port], e)
			}
		}
	}
	// Changes that somebody has undone may have let connections in.
	before := r.epochs()
	r.meddle(true, func(_, _ *flows.Set) {})
	r.wait()
	for port, e := range r.epochs() {
		if e.Egress <= before[port].Egress || e.Ingress <= before[port].Ingress {
			t.Errorf("changed and changed back: port %d had epochs %+v and has %+v", port, before[port], e)
		}
	}
	if s := r.status(); s.Drift.Count != 4 || !strings.Contains(s.Drift.Last.What[0], "changed back") {
		t.Errorf("%+v", s.Drift)
	}
	// What is no difference changes nothing.
	before = r.epochs()
	r.meddle(false, func(_, foreign *flows.Set) {
		foreign.Put(flows.Flow{Key: flows.Key{Table: 77}, Actions: flows.NewActions(-1, flows.Normal())})
	})
	if err := r.c.do(t.Context(), func() { r.c.suspect("a test") }); err != nil {
		t.Fatal(err)
	}
	r.wait()
	for port, e := range r.epochs() {
		if e != before[port] {
			t.Errorf("port %d had epochs %+v and has %+v", port, before[port], e)
		}
	}
	if s := r.status(); s.Drift.Count != 4 {
		t.Errorf("%+v", s.Drift)
	}
}

// What the switch does not tell is found by counting.
func TestDriftIsCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	for i, change := range []func(ours, foreign *flows.Set){deleteOne, intrude} {
		r.meddle(false, change)
		r.repaired(i + 1)
		r.noDifference()
	}
}

// A switch that tells nothing is read back often.
func TestDriftOnASilentSwitch(t *testing.T) {
	t.Parallel()
	sw := newFakeSwitch()
	sw.silent = true
	r := newRig(t, sw)
	r.set(state{twoVMs(nil, ssh), twoPorts})
	r.meddle(false, modifyOne)
	r.repaired(1)
	r.noDifference()
}

// The flows that a switch has when it comes back are compared with those that it
// had, and an empty switch is only one that has started anew.
func TestDriftWhileDisconnected(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	connected := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn := func() *fakeConn {
			r.sw.mu.Lock()
			defer r.sw.mu.Unlock()
			return r.sw.conn
		}
		was := conn()
		r.sw.hangUp()
		if err := testbed.Poll(ctx, time.Millisecond, func() (bool, error) { return conn() != was, nil }); err != nil {
			t.Fatal(err)
		}
		r.wait()
		r.noDifference()
	}
	connected()
	r.meddle(false, func(ours, _ *flows.Set) { *ours = flows.Set{} })
	connected()
	if s := r.status(); s.Drift != nil {
		t.Errorf("%+v", s.Drift)
	}
	r.meddle(false, modifyOne)
	connected()
	r.meddle(false, intrude)
	connected()
	if s := r.status(); s.Drift == nil || s.Drift.Count != 2 {
		t.Errorf("%+v", s.Drift)
	}
}

func TestAudit(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	if _, err := r.c.Audit(t.Context(), false); err == nil || !strings.Contains(err.Error(), "nothing is installed yet") {
		t.Errorf("got %v", err)
	}
	r.set(state{twoVMs(nil, ssh), twoPorts})
	r.noDifference()
	r.meddle(false, modifyOne)
	a, err := r.c.Audit(t.Context(), true)
	if err != nil || len(a.Found) != 1 || !strings.HasPrefix(a.Found[0], "1 flow changed: ") || len(a.Left) != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	r.noDifference()
	r.meddle(false, deleteOne)
	a, err = r.c.Audit(t.Context(), false)
	if err != nil || len(a.Found) != 1 || len(a.Left) != 1 || !strings.HasPrefix(a.Found[0], "1 flow gone: ") {
		t.Errorf("%+v, %v", a, err)
	}
	r.repaired(2) // as if the agent had found it
	r.noDifference()
}

// A repair removes the flows that keep an agent from taking a bridge over.
func TestAuditTakesOver(t *testing.T) {
	sw := newFakeSwitch()
	intrude(nil, sw.foreign)
	r := newRig(t, sw)
	r.put(twoVMs(nil, ssh))
	r.db.send(secure, twoPorts)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := testbed.Poll(ctx, time.Millisecond, func() (bool, error) { return strings.Contains(r.status().Reason, "in the way"), nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.c.Audit(ctx, false); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("got %v", err)
	}
	a, err := r.c.Audit(ctx, true)
	if err != nil || len(a.Found) != 1 || len(a.Left) != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	r.wait()
	r.noDifference()
}

// A change of the bridge's row that OVSDB does not let the agent undo is no secret,
// keeps nothing from being enforced, and is undone later.
func TestDriftThatStays(t *testing.T) {
	t.Parallel()
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	r.db.refuses.Store(true)
	r.db.send(vswitch.Bridge{Name: "br0", Exists: true, Unprepared: "fail_mode is open"}, twoPorts)
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.c.Wait(soon); err == nil {
		t.Error("the wait returned")
	}
	r.put(twoVMs(nil, egress))
	until := func(f func(s control.Status) bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := testbed.Poll(ctx, time.Millisecond, func() (bool, error) { return f(r.status()), nil }); err != nil {
			t.Errorf("%+v", r.status())
		}
	}
	until(func(s control.Status) bool {
		return s.State == "drifted" && strings.Contains(s.Reason, "fail_mode") && s.Last != nil && slices.Contains(s.Last.What, "~policy.yaml")
	})
	r.db.refuses.Store(false)
	r.repaired(1)
	r.wait()
}

// A port that has lost NO_FLOOD has it again when a wait that began later returns.
func TestWaitForPorts(t *testing.T) {
	sw := newFakeSwitch()
	sw.ports = make(chan struct{}, 1)
	r := newRig(t, sw)
	r.set(state{twoVMs(nil, ssh), twoPorts})
	sw.mu.Lock()
	sw.noFlood = nil
	sw.mu.Unlock()
	w := wait{ctx: t.Context(), result: make(chan error, 1)}
	if err := r.c.do(t.Context(), func() {
		sw.ports <- struct{}{}
		r.c.waits.list = append(r.c.waits.list, w)
		if r.c.completeWaits(); len(w.result) > 0 {
			t.Error("the wait returned before")
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-w.result; err != nil {
		t.Fatal(err)
	}
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if len(sw.noFlood) == 0 {
		t.Error("NO_FLOOD is not set again")
	}
}

// The text of somebody else's flow does not fill the log.
func TestLongFlow(t *testing.T) {
	many := make([]flows.Action, 5000)
	for i := range many {
		many[i] = flows.Normal()
	}
	f := flows.Flow{Cookie: 7, Actions: flows.NewActions(-1, many...)}
	foreign := &flows.Set{}
	foreign.Put(f)
	if text := compareFlows(&flows.Set{}, &flows.Set{}, foreign)[0]; len(text) > 1000 || !strings.Contains(text, "NORMAL,NORMAL") {
		t.Errorf("%d bytes", len(text))
	}
}
