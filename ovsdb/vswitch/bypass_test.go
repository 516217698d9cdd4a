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
	o.vsctl("set", "Bridge", bridge, "mcast_snooping_enable=false",
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
