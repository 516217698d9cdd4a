package controller

import (
	"context"
	"errors"
	"fmt"
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

// TestGuardCountsReach: a rule is worth nothing at an address that the VM has lost,
// behind another MAC address or in another VPC. What the policy takes away like
// that is weighed as if it took the rules.
func TestGuardCountsReach(t *testing.T) {
	subnet := func(vpc string) string {
		return "---\napiVersion: networking.evroclabs.net/v1alpha1\nkind: Subnet\nmetadata: {name: net}\n" +
			"spec: {ipv4CidrBlock: 10.0.0.0/24, vpcRef: {name: " + vpc + "}}\n"
	}
	macs := func(text string) string {
		for i, a := range []string{"10.0.0.1", "10.0.0.2"} {
			text = strings.Replace(text, "{ipAddresses: ["+a, fmt.Sprintf("{macAddress: 02:00:00:00:0f:%02x, ipAddresses: [%s", i, a), 1)
		}
		return text
	}
	full := twoVMs(nil, ssh, fromB) + subnet("blue")
	lose := func(text string, addrs ...string) string {
		for _, a := range addrs {
			text = strings.Replace(text, "["+a+"]", "[]", 1)
		}
		return text
	}
	for _, c := range []struct{ name, before, after, reason string }{
		{"all addresses", full, lose(full, "10.0.0.1", "10.0.0.2"), "none of the 2 VMs on this host with any rule; 2 of the 2 VMs would lose"},
		{"the addresses of most rules", full, lose(full, "10.0.0.1"), "2 of 3 rules in force on this host, more than 50 %; 1 of the 2 VMs would lose"},
		{"the addresses of few rules", full, lose(full, "10.0.0.2"), ""},
		{"other addresses", full, strings.NewReplacer("10.0.0.1", "10.0.0.101", "10.0.0.2]", "10.0.0.102]").Replace(full), "none of the 2 VMs"},
		{"one of two addresses of each", strings.NewReplacer("[10.0.0.1]", "[10.0.0.1, 'fd00::1']", "[10.0.0.2]", "[10.0.0.2, 'fd00::2']").Replace(full), full, "3 of 3 rules"},
		{"one more address", full, strings.Replace(full, "[10.0.0.1]", "[10.0.0.1, 10.0.0.9]", 1), ""},
		{"another VPC", full, twoVMs(nil, ssh, fromB) + subnet("red"), "none of the 2 VMs"},
		{"no subnet", full, twoVMs(nil, ssh, fromB), "none of the 2 VMs"},
		{"other MAC addresses", full, macs(full), "none of the 2 VMs"},
		{"a lost file with the MAC addresses", macs(full), "# nothing", "none of the 2 VMs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRigWith(t, newFakeSwitch(), newMemorySource(true), guarded(0.5))
			r.set(state{c.before, twoPorts})
			before := r.installed()
			if !strings.Contains(before, "10.0.0.1") {
				t.Fatal("the address is not in force")
			}
			r.put(c.after)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := r.c.Wait(ctx)
			if c.reason == "" {
				if err != nil || r.installed() == before {
					t.Errorf("wait: %v", err)
				}
				return
			}
			if !errors.Is(err, control.ErrHeld) || r.installed() != before {
				t.Fatalf("wait: %v", err)
			}
			if s := r.status(); s.Held == nil || !strings.Contains(s.Reason, c.reason) {
				t.Errorf("reason %q", s.Reason)
			}
			if err := r.c.Release(ctx); err != nil {
				t.Fatal(err)
			}
			r.wait()
			if r.installed() == before {
				t.Error("released, but the same flows")
			}
		})
	}
}
