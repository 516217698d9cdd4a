package vswitch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	physical := func(name string) bool { return strings.HasPrefix(name, "eth") }
	uplinks := []string{"wan0", "bond9"}
	for _, tt := range []struct {
		port Port
		want Kind
		why  string
	}{
		{Port{Name: "tap1", IfaceID: "web"}, VM, "VM interface: external_ids:iface-id=web"},
		{Port{Name: "tap1", VMID: "5f0c"}, VM, "VM interface: external_ids:vm-id=5f0c"},
		{Port{Name: "tap1", AttachedMAC: "02:00:00:00:00:01"}, VM, "VM interface: external_ids:attached-mac=02:00:00:00:00:01"},
		{Port{Name: "vhu1", Type: "dpdkvhostuserclient", IfaceID: "web"}, VM, "VM interface: external_ids:iface-id=web"},
		{Port{Name: "int1", Type: "internal", IfaceID: "web"}, VM, "VM interface: external_ids:iface-id=web"},
		// In doubt restricted, not trusted.
		{Port{Name: "eth5", IfaceID: "web"}, VM, "VM interface: external_ids:iface-id=web"},
		{Port{Name: "vx", Type: "vxlan", IfaceID: "web"}, VM, "VM interface: external_ids:iface-id=web"},
		{Port{Name: "tap1", IfaceID: "web", Role: "other"}, VM, "VM interface: external_ids:iface-id=web"},

		{Port{Name: "tap1", IfaceID: "web", Role: "uplink"}, Infrastructure, "uplink: external_ids:ovs-sg-role=uplink"},
		{Port{Name: "wan0", PortName: "wan0"}, Infrastructure, "uplink: the agent's settings name interface wan0"},
		{Port{Name: "wan0", PortName: "wan0", IfaceID: "web"}, Infrastructure, "uplink: the agent's settings name interface wan0"},
		{Port{Name: "m1", PortName: "bond9"}, Infrastructure, "uplink: the agent's settings name port bond9"},

		{Port{Name: "br0", Type: "internal"}, Infrastructure, "the bridge's own interface (LOCAL)"},
		{Port{Name: "br0"}, Infrastructure, "the bridge's own interface (LOCAL)"},
		{Port{Name: "br1", Type: "internal"}, Unidentified, "no external_ids:iface-id, vm-id, or attached-mac, and type internal is not infrastructure by itself"},
		{Port{Name: "p", Type: "patch"}, Infrastructure, "patch port"},
		{Port{Name: "t", Type: "vxlan"}, Infrastructure, "vxlan tunnel"},
		{Port{Name: "t", Type: "geneve"}, Infrastructure, "geneve tunnel"},
		{Port{Name: "t", Type: "gre"}, Infrastructure, "gre tunnel"},
		{Port{Name: "t", Type: "ip6gre"}, Infrastructure, "ip6gre tunnel"},
		{Port{Name: "t", Type: "erspan"}, Infrastructure, "erspan tunnel"},
		{Port{Name: "t", Type: "ip6erspan"}, Infrastructure, "ip6erspan tunnel"},
		{Port{Name: "t", Type: "stt"}, Infrastructure, "stt tunnel"},
		{Port{Name: "t", Type: "lisp"}, Infrastructure, "lisp tunnel"},
		{Port{Name: "t", Type: "gtpu"}, Infrastructure, "gtpu tunnel"},
		{Port{Name: "t", Type: "bareudp"}, Infrastructure, "bareudp tunnel"},
		{Port{Name: "m1", PortName: "bond0", Bond: true}, Infrastructure, "member of bond bond0"},
		{Port{Name: "m1", PortName: "bond0", Bond: true, AttachedMAC: "02:00:00:00:00:01"}, VM, "VM interface: external_ids:attached-mac=02:00:00:00:00:01"},
		{Port{Name: "eth0"}, Infrastructure, "physical network device"},
		{Port{Name: "eth0", Type: "system"}, Infrastructure, "physical network device"},
		{Port{Name: "eth0", Type: "internal"}, Unidentified, "no external_ids:iface-id, vm-id, or attached-mac, and type internal is not infrastructure by itself"},
		{Port{Name: "veth0"}, Unidentified, "no external_ids:iface-id, vm-id, or attached-mac, and not a physical device"},
		{Port{Name: "dpdk0", Type: "dpdk"}, Unidentified, "no external_ids:iface-id, vm-id, or attached-mac, and type dpdk is not infrastructure by itself"},
	} {
		kind, why := Classify(tt.port, "br0", uplinks, physical)
		if kind != tt.want || why != tt.why {
			t.Errorf("%+v: %v, %q, want %v, %q", tt.port, kind, why, tt.want, tt.why)
		}
	}
	if kind, _ := Classify(Port{Name: "eth0"}, "br0", nil, nil); kind != Unidentified {
		t.Errorf("without a way to tell: %v", kind)
	}
}

// The files are those that the kernel shows in /sys/class/net.
func TestPhysical(t *testing.T) {
	class := t.TempDir()
	for path, content := range map[string]string{
		"eth0/device/vendor":       "0x8086\n",
		"eth1/device/vendor":       "0x15b3\n",
		"eth1/phys_port_name":      "p0\n",
		"uplink0/device/vendor":    "0x15b3\n",
		"uplink0/phys_port_name":   "pf0\n",
		"rep0/device/vendor":       "0x15b3\n",
		"rep0/phys_port_name":      "pf0vf3\n",
		"rep1/device/vendor":       "0x15b3\n",
		"rep1/phys_port_name":      "c1pf0sf88\n",
		"rep2/device/vendor":       "0x8086\n",
		"rep2/phys_port_name":      "pf0vfr1\n",
		"bond0/bonding/slaves":     "eth0 eth1\n",
		"tap0/tun_flags":           "0x1002\n",
		"veth0/address":            "02:00:00:00:00:01\n",
		"veth0/phys_port_name":     "",
		"eth2/device/nothing/more": "",
	} {
		file := filepath.Join(class, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{
		"eth0": true, "eth1": true, "eth2": true, "uplink0": true, "bond0": true,
		"rep0": false, "rep1": false, "rep2": false, "tap0": false, "veth0": false, "absent": false,
		"": false, ".": false, "..": false, "eth0/": false, "../net/eth0": false,
	} {
		if got := physicalIn(class, name); got != want {
			t.Errorf("physical %q: %v, want %v", name, got, want)
		}
	}
	if Physical("lo") {
		t.Error("the loopback device is physical")
	}
}
