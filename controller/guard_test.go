package controller

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
)

func (r *rig) status() control.Status {
	r.t.Helper()
	s, err := r.c.Status(context.Background(), true)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func guarded(share float64) func(*Config) { return func(c *Config) { c.MaxRevoke = share } }

func TestGuard(t *testing.T) { sources(t, testGuard) }

func testGuard(t *testing.T, newSource func(guarded bool) source) {
	r := newRigWith(t, newFakeSwitch(), newSource(true), guarded(0.5))
	full := state{twoVMs(nil, ssh, fromB, egress), twoPorts}
	r.set(full) // the first policy is never held
	before := r.installed()

	tryHeld := func(s state, reason string) {
		t.Helper()
		r.put(s.policy)
		r.db.send(secure, s.ports)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.c.Wait(ctx); err == nil || !strings.Contains(err.Error(), "held") {
			t.Fatalf("%s: wait: %v", reason, err)
		}
		if st := r.status(); st.State != "held" || st.Held == nil || !strings.Contains(st.Reason, reason) {
			t.Errorf("%s: status %q %q %+v", reason, st.State, st.Reason, st.Held)
		}
		if r.installed() != before {
			t.Errorf("%s: the flows changed", reason)
		}
	}
	// Four rules in force, three of one and one of two.
	tryHeld(state{twoVMs(nil), twoPorts}, "3 of 4 rules")
	tryHeld(state{"# nothing", twoPorts}, "none of the 2 VMs")

	// A restart holds what was held.
	r.stop()
	r.start()
	tryHeld(state{"# nothing", twoPorts}, "none of the 2 VMs")

	// What takes away little enough needs nobody.
	r.set(state{twoVMs(nil, ssh, egress), twoPorts})
	if st := r.status(); st.State != "enforcing" || st.Held != nil {
		t.Errorf("status %q %+v", st.State, st.Held)
	}
	if err := r.c.Release(context.Background()); err == nil {
		t.Error("released though nothing was held")
	}

	before = r.installed()
	tryHeld(state{"# nothing", twoPorts}, "none of the 2 VMs")
	if err := r.c.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.wait()
	if strings.Contains(r.installed(), "conj_id") || r.status().State != "enforcing" {
		t.Errorf("after the release: %q", r.status().State)
	}
}

// Without being asked for, the guard holds nothing.
func TestNoGuard(t *testing.T) {
	r := newRig(t, newFakeSwitch())
	r.set(state{twoVMs(nil, ssh, fromB, egress), twoPorts})
	r.set(state{"# nothing", twoPorts})
	if err := r.c.Release(context.Background()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("release: %v", err)
	}
}
