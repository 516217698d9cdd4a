package controller

import (
	"slices"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/ovsdb"
	"github.com/ovs-sg/ovs-sg/policy"
)

// The flows are lost while no agent runs (del-flows, a switch that starts anew
// beside a kernel datapath whose connections stay), and the switch cannot
// forget the connections of an address: no connection may look judged.
func TestFlowsLostWhileStopped(t *testing.T) {
	sw := newFakeSwitch()
	sw.noFlushAddr = true
	r := newRig(t, sw)
	r.set(state{twoVMs(nil, ssh, egress), twoPorts})
	before := r.epochs()
	r.stop()
	r.sw.flows = &flows.Set{}
	r.forget()
	r.start()
	r.set(state{twoVMs(nil, egress), twoPorts}) // port 2 may not be reached any more
	after := r.epochs()
	_, flushed, _ := r.noted()
	if before[2].Ingress == after[2].Ingress && !slices.Contains(flushed, "32768") {
		t.Errorf("port 2 has ingress epoch %d as before, though a rule is gone, and zone 32768 is not flushed: %v", after[2].Ingress, flushed)
	}
}

// Epochs that begin anew while members who have left are seen to, in the first
// of two directions.
func TestWrapWhenTakingOver(t *testing.T) {
	both := []string{"{direction: Ingress, remote: {securityGroupRef: {name: b}}}", "{direction: Egress, remote: {securityGroupRef: {name: b}}}"}
	r := newRig(t, newFakeSwitch())
	far := []string{"far 10.0.0.9 b"}
	r.set(state{twoVMs(far, both...), twoPorts})
	r.stop()
	h := newHost(ovsdb.Snapshot{Bridge: ovsdb.Bridge{Exists: true}, Ports: twoPorts})
	objects, _ := policy.Decode(policy.File{Name: "policy.yaml", Data: []byte(twoVMs(far, both...))})
	p, _ := policy.New([]policy.Objects{objects}, policy.Options{})
	e := flows.Epochs{flows.MaxEpoch, flows.MaxEpoch}
	set, err := compile.Full(compile.Input{Model: p.Resolve(h.vifs), Host: flows.Host{Infra: h.infra},
		Classes: map[uint16]compile.Class{2: {Epochs: e}, 3: {Epochs: flows.Epochs{3, 3}}}})
	if err != nil {
		t.Fatal(err)
	}
	r.sw.flows = set
	r.forget()
	r.start()
	r.set(state{twoVMs(nil, both...), twoPorts})
	_, flushed, _ := r.noted()
	if !slices.Contains(flushed, "32768") {
		t.Errorf("epochs began anew (%v) and nothing was flushed: %v", r.epochs(), flushed)
	}
}

// Without a store nothing is kept for one.
func TestNothingKeptWithoutStore(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh), twoPorts})
	r.set(state{twoVMs(nil, ssh, egress), twoPorts})
	if n := len(r.c.unsaved); n > 0 {
		t.Errorf("%d files wait to be saved", n)
	}
}
