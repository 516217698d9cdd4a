package vswitch

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovs-sg/ovs-sg/ovsdb"
)

// Whatever the rows are, also with references to rows that are not there, the
// snapshot keeps its promises.
func TestSnapshotKeepsPromises(t *testing.T) {
	ids := []string{"a", "b", "c", "d"}
	names := rapid.SampledFrom([]string{"br0", "up", "eth0", "tap0", "tap1"})
	optional := rapid.Ptr(rapid.SampledFrom([]string{"", "secure", "trunk", "access", "dot1q-tunnel", "no such device"}), true)
	external := rapid.MapOfN(
		rapid.SampledFrom([]string{keyIfaceID, keyVMID, keyVMUUID, keyAttachedMAC, keyRole, "other"}),
		rapid.SampledFrom([]string{"", "x", RoleUplink}), 0, 3)
	references := rapid.SliceOfNDistinct(rapid.SampledFrom(append(ids, "nobody")), 0, 4, func(s string) string { return s })
	config := Config{
		Bridge: "br0", Uplinks: []string{"up"}, MaxOFPort: 100,
		Physical: func(name string) bool { return strings.HasPrefix(name, "eth") },
	}
	rapid.Check(t, func(t *rapid.T) {
		p := ovsdb.Picture{
			rootTable: {"r": &rootRow{OVSVersion: optional.Draw(t, "version")}}, bridgeTable: {},
			portTable: {}, interfaceTable: {},
		}
		if rapid.Bool().Draw(t, "bridge") {
			p[bridgeTable]["b"] = &bridgeRow{Name: "br0", Ports: references.Draw(t, "ports"), FailMode: optional.Draw(t, "fail mode")}
		}
		for _, id := range ids {
			p[portTable][id] = &portRow{
				Name: names.Draw(t, "port"), Interfaces: references.Draw(t, "interfaces"),
				Tag:      rapid.Ptr(rapid.IntRange(0, 4095), true).Draw(t, "tag"),
				Trunks:   rapid.SliceOfN(rapid.IntRange(0, 4095), 0, 3).Draw(t, "trunks"),
				VLANMode: optional.Draw(t, "mode"),
			}
			p[interfaceTable][id] = &interfaceRow{
				Name: names.Draw(t, "interface"), Type: rapid.SampledFrom([]string{"", "patch", "vxlan", "dummy"}).Draw(t, "type"),
				OFPort: rapid.Ptr(rapid.SampledFrom([]int{-1, 1, 100, 101, 65534}), true).Draw(t, "ofport"),
				Error:  optional.Draw(t, "error"), ExternalIDs: external.Draw(t, "external_ids"),
			}
		}
		snap := newSnapshot(p, config)
		if !snap.Equal(newSnapshot(p, config)) {
			t.Errorf("two snapshots of one state differ: %+v", snap)
		}
		checkPromises(t, snap)
	})
}

// checkPromises holds a snapshot against what it promises.
func checkPromises(t *rapid.T, snap Snapshot) {
	if snap.Bridge.Name != "br0" || !snap.Bridge.Exists && len(snap.Ports) > 0 {
		t.Errorf("bridge %+v with %d ports", snap.Bridge, len(snap.Ports))
	}
	if !slices.IsSortedFunc(snap.Ports, func(p, q Port) int { return cmp.Or(cmp.Compare(p.Name, q.Name), cmp.Compare(p.PortName, q.PortName)) }) {
		t.Errorf("not sorted: %+v", snap.Ports)
	}
	for _, p := range snap.Ports {
		if !p.Tagged && p.Tag != 0 || !slices.IsSorted(p.Trunks) {
			t.Errorf("VLANs of %+v", p)
		}
		if p.Reason == "" {
			t.Errorf("%+v has no reason", p)
		}
		trusted := p.Role == RoleUplink || p.Name == "up" || p.PortName == "up"
		known := p.IfaceID+p.VMID+p.AttachedMAC != ""
		if known && !trusted && p.Kind != VM || p.Kind == VM && !known {
			t.Errorf("what has identifiers is a VM's, and nothing else: %+v", p)
		}
		wanted := map[Kind]State{Unidentified: Blocked, VM: Pending, Infrastructure: Trusted}[p.Kind]
		if p.State != wanted && (p.State != Failed || p.Kind == Unidentified) || p.usable() && p.OFPort <= 0 || p.State == Pending && p.OFPort > 100 {
			t.Errorf("the state is %v: %+v", p.State, p)
		}
	}
}
