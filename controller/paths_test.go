package controller

import (
	"errors"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// asFresh compares what is installed with a compile of the state from nothing,
// with the same epochs.
func (r *rig) asFresh(s state) {
	r.t.Helper()
	h := newHost(vswitch.Snapshot{Bridge: vswitch.Bridge{Exists: true}, Ports: s.ports})
	objects, problems := manifest.Decode(manifest.File{Name: "policy.yaml", Data: []byte(s.policy)})
	if len(problems) > 0 {
		r.t.Fatal(problems)
	}
	m := model(objects, h.vifs)
	var in compile.Input
	if err := r.c.do(r.t.Context(), func() { in = r.c.enforcer.compiler.Input() }); err != nil {
		r.t.Fatal(err)
	}
	want, err := compile.Full(compile.Input{Model: m, Host: flows.Host{Infra: h.infra}, Classes: in.Classes, HighestEpoch: in.HighestEpoch})
	if err != nil {
		r.t.Fatal(err)
	}
	if got := r.installed(); got != want.String() {
		r.t.Fatalf("differs from a fresh compile:\n%s", flows.Diff(want, r.sw.flows))
	}
}

// Whatever way a policy is reached, the flows are those of a fresh compile with
// the same epochs.
func TestAnyPathSameFlows(t *testing.T) {
	states := []state{
		{twoVMs(nil, ssh), twoPorts},
		{twoVMs([]string{"far 10.0.0.9 b"}, fromB, ssh), twoPorts[:2]},
		{twoVMs([]string{"far 10.0.0.9 b"}, fromB), twoPorts},
		{"# nothing", twoPorts},
		{twoVMs(nil, egress, ssh), nil},
		{twoVMs(nil, egress, ssh), twoPorts},
	}
	ways := map[string]func(r *rig, s state){
		"one by one": func(r *rig, s state) { r.set(s) },
		"twice each": func(r *rig, s state) { r.set(s); r.set(s) },
		"without waiting": func(r *rig, s state) {
			r.put(s.policy)
			r.db.send(secure, s.ports)
		},
		"over restarts": func(r *rig, s state) {
			r.set(s)
			r.stop()
			r.start()
			r.set(s)
		},
		"over a switch that forgets": func(r *rig, s state) {
			r.sw.mu.Lock()
			r.sw.flows = &flows.Set{}
			r.sw.mu.Unlock()
			r.sw.hangUp()
			r.set(s)
		},
		"over lost answers": func(r *rig, s state) {
			n := 0
			r.sw.mu.Lock()
			r.sw.fail = func(flows.Delta) (error, bool) {
				if n++; n > 2 {
					return nil, true
				}
				return errors.New("connection reset"), n == 2
			}
			r.sw.mu.Unlock()
			r.set(s)
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newFakeSwitch())
			r.set(states[0])
			for _, order := range [][]int{{0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {0, 2, 4, 1, 3, 5}, {3, 3, 0, 0, 5, 2}} {
				for _, i := range order {
					if way(r, states[i]); name != "without waiting" {
						r.asFresh(states[i])
					}
				}
				r.wait()
				r.asFresh(states[order[len(order)-1]])
			}
		})
	}
}
