package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// The flows are lost while no agent runs (del-flows, a switch that starts anew
// beside a kernel datapath whose connections stay), and the switch cannot
// forget the connections of an address: no connection may look judged.
func TestFlowsLostWhileStopped(t *testing.T) {
	for name, lost := range map[string]func(flows.Flow) bool{
		"all":            func(flows.Flow) bool { return true },
		"epochs":         func(f flows.Flow) bool { return f.Cookie.Kind() == flows.KindEpoch },
		"ingress epochs": func(f flows.Flow) bool { return f.Table == flows.TableIngressEpoch },
		"ports and epochs": func(f flows.Flow) bool {
			return f.Table == flows.TableEgressEst || f.Cookie.Kind() == flows.KindEpoch
		},
	} {
		t.Run(name, func(t *testing.T) {
			sw := newFakeSwitch()
			sw.noFlushAddr = true
			r := newRig(t, sw)
			r.set(state{twoVMs(nil, fromB, egress), twoPorts})
			r.set(state{twoVMs(nil, ssh, egress), twoPorts})
			before := r.epochs()
			r.stop()
			for f := range r.sw.flows.Clone().All() {
				if lost(f) {
					r.sw.flows.Delete(f.Key)
				}
			}
			r.forget()
			r.start()
			r.set(state{twoVMs(nil, egress), twoPorts}) // port 2 may not be reached any more
			after := r.epochs()
			_, flushed, _ := r.noted()
			for _, zone := range []string{"2", "32768"} {
				if before[2].Ingress == after[2].Ingress && !slices.Contains(flushed, zone) {
					t.Errorf("port 2 has ingress epoch %d as before, though a rule is gone, and zone %s is not flushed: %v", after[2].Ingress, zone, flushed)
				}
			}
		})
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
	h := newHost(vswitch.Snapshot{Bridge: vswitch.Bridge{Exists: true}, Ports: twoPorts})
	objects, _ := manifest.Decode(manifest.File{Name: "policy.yaml", Data: []byte(twoVMs(far, both...))})
	m := model(objects, h.vifs)
	e := flows.Epochs{flows.MaxEpoch, flows.MaxEpoch}
	set, err := compile.Full(compile.Input{Model: m, Host: flows.Host{Infra: h.infra}, Classes: map[uint16]compile.Class{2: {Epochs: e}, 3: {Epochs: flows.Epochs{3, 3}}}})
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

// TestChangedWhileDown: whatever happened to the policy while the agent was
// down, what is in force and what is kept afterwards is the same as if the
// agent had seen it happen.
func TestChangedWhileDown(t *testing.T) { sources(t, testChangedWhileDown) }

func testChangedWhileDown(t *testing.T, newSource func(guarded bool) source) {
	vms := manifests([]string{"one 10.0.0.1 a", "two 10.0.0.2 b"}, nil)
	group := func(name string, rules ...string) string { return manifests(nil, map[string][]string{name: rules}) }
	a := group("a", ssh, fromB)
	for what, change := range map[string]func(source){
		"same":     func(source) {},
		"changed":  func(s source) { s.put("a.yaml", group("a", egress)) },
		"broken":   func(s source) { s.put("a.yaml", "{") },
		"removed":  func(s source) { s.remove("a.yaml") },
		"another":  func(s source) { s.put("0.yaml", group("c", ssh)) },
		"stolen":   func(s source) { s.put("0.yaml", group("a", egress)) },
		"conflict": func(s source) { s.put("a.yaml", group("b", ssh)) },
		"moved":    func(s source) { s.put("a.yaml", group("c", ssh)); s.put("b.yaml", group("a", egress)) },
	} {
		for _, share := range []float64{0, 0.3} {
			var want string
			for _, down := range []bool{false, true} {
				src := newSource(share > 0)
				r := newRigWith(t, newFakeSwitch(), src, guarded(share))
				src.put("a.yaml", a)
				src.put("b.yaml", group("b", egress))
				src.put("vms.yaml", vms)
				src.look()
				r.db.send(secure, twoPorts)
				r.wait()
				if down {
					r.stop()
					change(src)
					r.start()
					src.look()
				} else {
					change(src)
				}
				r.db.send(secure, twoPorts)
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				err := r.c.Wait(ctx)
				cancel()
				st, flows := r.status(), r.rules()
				r.stop()
				out := fmt.Sprintf("%v, %s\n%+v\n%s\n", err, st.State, st.Files, flows)
				kept := src.kept()
				for _, name := range slices.Sorted(maps.Keys(kept)) {
					out += name + "=" + kept[name] + "\n"
				}
				if !down {
					want = out
				} else if out != want {
					t.Errorf("%s, max-revoke %g: after a restart:\n%s\nwithout:\n%s", what, share, out, want)
				}
			}
		}
	}
}

// rules returns the switch's flows without what tells of epochs.
func (r *rig) rules() string {
	var out []string
	for _, line := range strings.Split(r.installed(), "\n") {
		if !strings.Contains(line, "ct_label") && !strings.Contains(line, "reg4") && !strings.Contains(line, "reg5") && !strings.Contains(line, "reg6") && !strings.Contains(line, "reg7") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// TestRestartKeeps: a restart changes no flow, and a unit that is broken then
// has its last accepted revision in force.
func TestRestartKeeps(t *testing.T) { sources(t, testRestartKeeps) }

func testRestartKeeps(t *testing.T, newSource func(guarded bool) source) {
	r := newRigWith(t, newFakeSwitch(), newSource(false), nil)
	restart := func() {
		r.stop()
		r.start()
	}
	full := twoVMs(nil, ssh, egress)
	r.set(state{full, twoPorts})
	flows := r.installed()
	for range 2 {
		restart()
		r.forget()
		r.set(state{full, twoPorts})
		if bundles, _, _ := r.noted(); len(bundles) > 0 {
			t.Errorf("the restart changed flows: %v", bundles)
		}
	}
	r.stop()
	r.src.put("policy.yaml", "{")
	r.start()
	r.src.look()
	r.db.send(secure, twoPorts)
	r.wait()
	if st := r.status(); r.installed() != flows || len(st.Files) != 1 || st.Files[0].State != "kept" || len(st.Files[0].Errors) != 1 {
		t.Errorf("status %+v", st.Files)
	}
	restart()
	r.set(state{twoVMs(nil, egress), twoPorts})
	if r.installed() == flows {
		t.Error("the flows are the same")
	}
}

// TestRefusedUnitIsKept: a unit that is refused keeps its last accepted
// revision in force.
func TestRefusedUnitIsKept(t *testing.T) {
	sources(t, func(t *testing.T, newSource func(guarded bool) source) {
		r := newRigWith(t, newFakeSwitch(), newSource(false), nil)
		r.set(state{twoVMs(nil, ssh), twoPorts})
		before := r.installed()
		r.set(state{twoVMs(nil, "{direction: Sideways}"), twoPorts})
		if r.installed() != before {
			t.Error("a refused unit changed the flows")
		}
		if s := r.status(); len(s.Files) != 1 || s.Files[0].State != "kept" || len(s.Files[0].Errors) != 1 {
			t.Errorf("status %+v", s.Files)
		}
	})
}

// TestHeldIsNotKept: a change that is held is not kept, and is after its
// release.
func TestHeldIsNotKept(t *testing.T) {
	sources(t, func(t *testing.T, newSource func(guarded bool) source) {
		src := newSource(true)
		r := newRigWith(t, newFakeSwitch(), src, guarded(0.5))
		full, less := twoVMs(nil, ssh, fromB, egress), twoVMs(nil)
		r.set(state{full, twoPorts})
		r.put(less)
		if err := r.c.Wait(t.Context()); err == nil {
			t.Fatal("not held")
		}
		r.stop()
		if got := src.kept()["policy.yaml"]; got != full {
			t.Errorf("kept while held: %q", got)
		}
		r.start()
		src.look()
		r.db.send(secure, twoPorts)
		if err := r.c.Wait(t.Context()); err == nil {
			t.Fatal("not held after a restart")
		}
		if err := r.c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.wait()
		r.stop()
		if got := src.kept()["policy.yaml"]; got != less {
			t.Errorf("kept after the release: %q", got)
		}
	})
}

// settler is a Daemon. If hang is set, Turn says so and waits for its end.
type settler struct{ hang atomic.Pointer[chan struct{}] }

func (*settler) LimitConnections(context.Context, string, map[uint16]uint32) error { return nil }

func (*settler) FullZones(context.Context, string) ([]uint16, error) { return nil, nil }

func (s *settler) Describe(context.Context) (version, features string, err error) {
	return "3.1.0", "", nil
}

func (s *settler) FlushFDB(context.Context) error { return nil }

func (s *settler) SmallFragments(context.Context, string) error { return nil }

func (s *settler) Turn(ctx context.Context) error {
	if hang := s.hang.Load(); hang != nil {
		close(*hang)
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *settler) AwaitRound(ctx context.Context, nudge, _ func(context.Context) error) error {
	return nudge(ctx)
}

func (s *settler) Purge(context.Context) error { return nil }

// TestInterruptedIsKept: a released change whose flows are in force is kept, even
// if the controller stops before it knows that the datapath has followed. A
// restart must not bring back what was revoked.
func TestInterruptedIsKept(t *testing.T) {
	sources(t, func(t *testing.T, newSource func(guarded bool) source) {
		src, daemon := newSource(true), &settler{}
		r := newRigWith(t, newFakeSwitch(), src, func(c *Config) { c.MaxRevoke, c.Daemon = 0.5, daemon })
		full, less := twoVMs(nil, ssh, fromB, egress), twoVMs(nil)
		r.set(state{full, twoPorts})
		r.put(less)
		if err := r.c.Wait(t.Context()); err == nil {
			t.Fatal("not held")
		}
		hangs := make(chan struct{})
		daemon.hang.Store(&hangs)
		if err := r.c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-hangs
		revoked := r.installed()
		r.stop()
		if got := src.kept()["policy.yaml"]; got != less {
			t.Errorf("kept %q", got)
		}
		daemon.hang.Store(nil)
		r.start()
		src.look()
		r.db.send(secure, twoPorts)
		r.wait()
		if r.installed() != revoked {
			t.Error("a restart changed the flows")
		}
	})
}

// TestFailedIsKept: a change that is to be made again after an error is kept,
// though one that is held has come in the meantime.
func TestFailedIsKept(t *testing.T) {
	sources(t, func(t *testing.T, newSource func(guarded bool) source) {
		src := newSource(true)
		r := newRigWith(t, newFakeSwitch(), src, guarded(0.5))
		r.set(state{twoVMs(nil, ssh, fromB, egress), twoPorts})
		failed := make(chan struct{}, 100)
		r.sw.mu.Lock()
		r.sw.fail = func(flows.Delta) (error, bool) {
			failed <- struct{}{}
			return errors.New("connection reset"), false
		}
		r.sw.mu.Unlock()
		narrow := twoVMs(nil, ssh, egress)
		r.put(narrow)
		<-failed
		r.put("# nothing")
		r.sw.mu.Lock()
		r.sw.fail = nil
		r.sw.mu.Unlock()
		if err := r.c.Wait(t.Context()); !errors.Is(err, control.ErrHeld) {
			t.Fatalf("wait: %v", err)
		}
		r.stop()
		if got := src.kept()["policy.yaml"]; got != narrow {
			t.Errorf("kept %q", got)
		}
	})
}
