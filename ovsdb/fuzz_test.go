package ovsdb

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// FuzzUpdate feeds a session what ovsdb-server might say, on top of a bridge
// with a VM port. Whatever it is, the session takes it or refuses it; what it
// takes gives a snapshot that keeps its promises, and one that is refused half
// way is not shown half.
func FuzzUpdate(f *testing.F) {
	const base = `{
		"Open_vSwitch": {"r": {"new": {"cur_cfg": 1, "next_cfg": 2, "ovs_version": "3.1.0", "datapaths": ["map", [["netdev", ["uuid", "d"]]]]}}},
		"Datapath": {"d": {"new": {"capabilities": ["map", [["ct_zone", "true"]]], "datapath_version": "<built-in>"}}},
		"Bridge": {"b": {"new": {"name": "br0", "ports": ["set", [["uuid", "p"], ["uuid", "q"]]], "controller": ["set", []], "fail_mode": "secure", "datapath_type": "netdev", "datapath_id": "0000a"}}},
		"Port": {"p": {"new": {"name": "tap0", "interfaces": ["uuid", "i"], "tag": 7, "trunks": ["set", []], "vlan_mode": ["set", []]}},
			"q": {"new": {"name": "br0", "interfaces": ["uuid", "j"], "tag": ["set", []], "trunks": ["set", []], "vlan_mode": ["set", []]}}},
		"Interface": {"i": {"new": {"name": "tap0", "type": "", "ofport": 5, "error": ["set", []], "mac_in_use": "02:00:00:00:00:01", "external_ids": ["map", [["iface-id", "vm"]]]}},
			"j": {"new": {"name": "br0", "type": "internal", "ofport": 65534, "error": ["set", []], "mac_in_use": ["set", []], "external_ids": ["map", []]}}}
	}`
	for _, update := range []string{
		base, `{}`, `null`, `[]`,
		`{"Interface": {"i": {"new": {"name": "tap0", "ofport": -1, "error": "no such device"}}}}`,
		`{"Interface": {"i": {"old": {"name": "tap0"}}}}`,
		`{"Port": {"p": {"new": {"name": "tap0", "interfaces": ["set", [["uuid", "i"], ["uuid", "j"]]], "trunks": ["set", [3, 1, 2]]}}}}`,
		`{"Bridge": {"b": {"new": {"name": "br0", "ports": ["uuid", "nobody"]}}}}`,
		`{"Bridge": {"c": {"new": {"name": "br0", "ports": ["uuid", "p"]}}}}`,
		`{"Open_vSwitch": {"r": {"new": {"datapaths": ["map", [["netdev", "d"]]]}}}}`,
	} {
		f.Add([]byte(update))
	}
	f.Fuzz(func(t *testing.T, update []byte) {
		s := &session{pending: map[uint64]*call{}, rows: newRows(), changed: make(chan struct{}, 1)}
		if err := s.apply(json.RawMessage(base)); err != nil {
			t.Fatal(err)
		}
		params, err := json.Marshal([]any{nil, json.RawMessage(update)})
		if err != nil {
			return // not JSON: the reader ends the session before
		}
		if err := s.handle(message{Method: "update", Params: params}); err != nil {
			return // ends the session, and with it the rows
		}
		if s.handle(message{Method: "update", Params: params}) != nil {
			t.Error("what was taken once is refused the second time")
		}
		if len(s.rows.root) > 1 || len(s.rows.bridges) > 1 {
			return // two may have one name, which the schema's index forbids
		}
		physical := func(name string) bool { return strings.HasPrefix(name, "eth") }
		snap, again := s.snapshot("br0", []string{"up"}, physical), s.snapshot("br0", []string{"up"}, physical)
		if !snap.Equal(again) {
			t.Errorf("two snapshots of one state: %+v, %+v", snap, again)
		}
		check(t, snap)
	})
}

// check holds a snapshot against what it promises.
func check(t *testing.T, snap Snapshot) {
	t.Helper()
	if snap.Bridge.Name != "br0" || !snap.Bridge.Exists && len(snap.Ports) > 0 {
		t.Errorf("bridge %+v with %d ports", snap.Bridge, len(snap.Ports))
	}
	if !slices.IsSortedFunc(snap.Ports, func(p, q Port) int { return cmp.Or(cmp.Compare(p.Name, q.Name), cmp.Compare(p.PortName, q.PortName)) }) {
		t.Errorf("not sorted: %+v", snap.Ports)
	}
	for _, p := range snap.Ports {
		if p.Tag > 4095 || !p.Tagged && p.Tag != 0 || !slices.IsSorted(p.Trunks) {
			t.Errorf("VLANs of %+v", p)
		}
		if p.Reason == "" || p.Ready() != (p.OFPort > 0) {
			t.Errorf("%+v has no reason", p)
		}
		trusted := p.Role == RoleUplink || p.Name == "up" || p.PortName == "up"
		if known := p.IfaceID+p.VMID+p.AttachedMAC != ""; known && !trusted && p.Kind != VM {
			t.Errorf("a VM's port is %v: %+v", p.Kind, p)
		}
		if p.Kind == VM && p.IfaceID+p.VMID+p.AttachedMAC == "" {
			t.Errorf("nobody's port is a VM's: %+v", p)
		}
	}
}
