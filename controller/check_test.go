package controller

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// saysUntil waits for a status whose reason has a text.
func (r *rig) saysUntil(text string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := testbed.Poll(ctx, time.Millisecond, func() (bool, error) {
		s := r.status()
		return s.State == "out of date" && strings.Contains(s.Reason, text), nil
	}); err != nil {
		r.t.Fatalf("the status never says %q: %+v", text, r.status())
	}
}

// TestUnusable: on a release that a packet crashes, and on a datapath that lacks
// something, nothing is changed: neither the bridge nor its flows. What was in
// force stays, and the agent goes on as soon as it can.
func TestUnusable(t *testing.T) {
	const lacks = "Recirc: Yes\nCT zone: No\nCT label: No\n"
	for _, c := range []struct {
		name, database, running, features string
		silent                            bool // the control socket
		want                              string
	}{
		{name: "by the database", database: "2.15.0", running: "3.1.0", want: "ovs_version is 2.15.0: a packet can crash this release"},
		{name: "by the daemon", running: "2.17.0", want: "ovs-vswitchd is 2.17.0: a packet can crash this release"},
		{name: "by the daemon, whatever the database says", database: "3.1.0", running: "2.13.6", want: "ovs-vswitchd is 2.13.6"},
		{name: "by the switch", running: "2.14.4", silent: true, want: "ovs-vswitchd is 2.14.4"},
		{name: "no zones", database: "3.1.0", running: "3.1.0", features: lacks, want: "br0 lacks what the flows need: CT zone, CT label"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &scriptedDaemon{types: 1, version: "3.1.0"}
			r := newRigWith(t, newFakeSwitch(), newMemorySource(false), func(x *Config) { x.Daemon = d })
			r.db.version = "3.1.0"
			r.set(state{twoVMs(nil, ssh), twoPorts})
			before := r.installed()
			r.stop()

			r.forget()
			r.sw.mu.Lock()
			r.sw.version = c.running
			r.sw.mu.Unlock()
			d.mu.Lock()
			if d.version, d.features = c.running, c.features; c.silent {
				d.err = errors.New("no answer")
			}
			d.mu.Unlock()
			r.start()
			r.db.version = c.database
			r.put(twoVMs(nil, fromB))
			r.db.send(secure, twoPorts)
			r.saysUntil(c.want)
			if bundles, flushed, _ := r.noted(); len(bundles)+len(flushed) > 0 || r.installed() != before {
				t.Errorf("the switch was changed: %v, flushed %v", bundles, flushed)
			}
			if n := r.db.prepared.Load(); n > 0 && !c.silent {
				t.Errorf("the bridge was prepared %d times", n)
			}

			r.sw.mu.Lock()
			r.sw.version = "3.1.0"
			r.sw.mu.Unlock()
			d.mu.Lock()
			d.version, d.features, d.err = "3.1.0", "CT zone: Yes\n", nil
			d.mu.Unlock()
			r.db.version = ""
			r.db.send(secure, twoPorts)
			r.wait()
			if s := r.status(); s.State != "enforcing" || s.OVS != "3.1.0" || r.installed() == before {
				t.Errorf("after the upgrade: %q, version %q", s.State, s.OVS)
			}
		})
	}
}

// TestVersionOfTheSwitch: where the database has no version, the switch's own
// decides about quirks.
func TestVersionOfTheSwitch(t *testing.T) {
	for _, c := range []struct {
		database, running string
		stale             bool
	}{{"", "3.5.0", false}, {"", "3.1.0", true}, {"", "", true}, {"3.5.0", "3.1.0", false}} {
		e := newEnforcer(Config{})
		e.release = c.running
		s := &vswitch.Snapshot{OVSVersion: c.database, Bridge: vswitch.Bridge{DatapathType: "netdev"}}
		if got := e.quirks(s).StaleMegaflows; got != c.stale {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}
