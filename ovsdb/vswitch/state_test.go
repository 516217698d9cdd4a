package vswitch

import "testing"

func TestJudge(t *testing.T) {
	vm := func(ofport int) Port { return Port{Kind: VM, OFPort: ofport, Reason: "VM interface"} }
	tagged := func(p Port, mode string) Port { p.Tag, p.Tagged, p.VLANMode = 5, true, mode; return p }
	infra := Port{Kind: Infrastructure, OFPort: 1, Reason: "patch port"}
	failed := vm(-1)
	failed.Error = "no such device"
	trunk := vm(2)
	trunk.Trunks = []uint16{7}
	for name, c := range map[string]struct {
		port   Port
		state  State
		reason string
	}{
		"VM":                       {vm(2), Pending, "VM interface"},
		"access":                   {tagged(vm(2), ""), Pending, "VM interface"},
		"native":                   {tagged(vm(2), "native-untagged"), Failed, "a VM port must be a VLAN access port or have no VLAN at all, not native-untagged"},
		"trunk":                    {trunk, Failed, "a VM port must be a VLAN access port or have no VLAN at all, not trunk"},
		"no ofport yet":            {vm(0), Failed, "no ofport yet"},
		"not opened":               {vm(-1), Failed, "ofport is -1: Open vSwitch could not open the interface"},
		"not opened, with a cause": {failed, Failed, "no such device"},
		"highest":                  {vm(100), Pending, "VM interface"},
		"too high":                 {vm(101), Failed, "ofport 101 is above 100, the highest with a connection tracking zone: set ofport_request"},
		"infrastructure":           {infra, Trusted, "patch port"},
		"LOCAL":                    {Port{Kind: Infrastructure, OFPort: 65534, Reason: "LOCAL"}, Trusted, "LOCAL"},
		"double tagged":            {tagged(infra, "dot1q-tunnel"), Failed, "vlan_mode dot1q-tunnel is not supported"},
		"unidentified":             {Port{OFPort: 3, Reason: "nothing"}, Blocked, "nothing"},
		"unidentified, no ofport":  {Port{Reason: "nothing"}, Blocked, "no ofport yet"},
	} {
		if state, reason := judge(c.port, 100); state != c.state || reason != c.reason {
			t.Errorf("%s: %v, %q", name, state, reason)
		}
	}
	if state, _ := judge(vm(40000), 0); state != Pending {
		t.Errorf("without a limit: %v", state)
	}
}
