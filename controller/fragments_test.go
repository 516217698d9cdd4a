package controller

import (
	"slices"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
)

// TestSmallFragmentsNote: a userspace datapath that does not take small fragments
// enforces all the same, and the status says so until a switch takes them.
func TestSmallFragmentsNote(t *testing.T) {
	f := &faults{}
	sw := newFakeSwitch()
	r := newRigWith(t, sw, newMemorySource(false), f.config)
	f.arm("small fragments", 1)
	noted := func() bool {
		return slices.ContainsFunc(r.status().Notes, func(n string) bool {
			return strings.Contains(n, "small fragments") && strings.Contains(n, "small fragments failed")
		})
	}
	r.db.send(vswitch.Bridge{Name: "br0", Exists: true, FailMode: "secure", DatapathType: "netdev"}, twoPorts)
	r.put(twoVMs(nil, fromB))
	r.wait()
	if f.failures() != 1 || !noted() {
		t.Errorf("%d failures, notes %q", f.failures(), r.status().Notes)
	}
	sw.hangUp()
	r.put(twoVMs(nil, fromB, ssh))
	r.wait()
	if noted() {
		t.Errorf("after a restart of the switch: notes %q", r.status().Notes)
	}
}
