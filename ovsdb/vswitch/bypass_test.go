package vswitch

import (
	"slices"
	"strings"
	"testing"
)

func TestBypasses(t *testing.T) {
	o := startOVS(t)
	addBridge(o)
	o.vsctl("--", "add-port", bridge, "vm1", "--", "set", "Interface", "vm1", "type=dummy", "external_ids:iface-id=vm1",
		"--", "add-port", bridge, "up", "--", "set", "Interface", "up", "type=dummy", "external_ids:ovs-sg-role=uplink")
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge})
	expect := func(want ...string) {
		t.Helper()
		f.until("bypasses "+strings.Join(want, ", "), func(s Snapshot) bool {
			return len(s.Ports) == 3 && slices.EqualFunc(s.Bypasses, want, strings.Contains)
		})
	}
	expect()
	o.vsctl("set", "Bridge", bridge, "other_config:forward-bpdu=true")
	expect("forward-bpdu")
	o.vsctl("remove", "Bridge", bridge, "other_config", "forward-bpdu", "--", "set", "Bridge", bridge, "mcast_snooping_enable=true")
	expect("mcast_snooping_enable")
	o.vsctl("set", "Bridge", bridge, "mcast_snooping_enable=false", "stp_enable=true")
	expect("BPDU")
	o.vsctl("set", "Bridge", bridge, "stp_enable=false", "rstp_enable=true")
	expect("rstp_enable=true")
	o.vsctl("set", "Bridge", bridge, "rstp_enable=false",
		"--", "--id=@p", "get", "Port", "vm1", "--", "--id=@m", "create", "Mirror", "name=tap", "select_all=true", "output_port=@p",
		"--", "set", "Bridge", bridge, "mirrors=@m")
	expect(`mirror "tap": port "vm1"`)
	o.vsctl("--", "--id=@p", "get", "Port", "up", "--", "set", "Mirror", "tap", "output_port=@p")
	expect()
	o.vsctl("--", "clear", "Mirror", "tap", "output_port", "--", "set", "Mirror", "tap", "output_vlan=7")
	expect("VLAN 7")
	o.vsctl("clear", "Bridge", bridge, "mirrors")
	expect()
}

// An uplink that names nothing on the bridge is told, as long as that is so.
func TestAbsentUplinks(t *testing.T) {
	o := startOVS(t)
	addBridge(o)
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge, Uplinks: []string{"eth7", "bond7"}})
	absent := func(want ...string) {
		t.Helper()
		f.until("absent", func(s Snapshot) bool { return slices.Equal(s.Absent, want) })
	}
	absent("eth7", "bond7")
	o.vsctl("--", "add-port", bridge, "eth7", "--", "set", "Interface", "eth7", "type=dummy")
	absent("bond7")
	o.vsctl("--", "add-bond", bridge, "bond7", "m1", "m2", "--", "set", "Interface", "m1", "type=dummy", "--", "set", "Interface", "m2", "type=dummy")
	absent()
	o.vsctl("del-port", bridge, "eth7")
	absent("eth7")
}
