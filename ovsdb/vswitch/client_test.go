package vswitch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const bridge = "br0"

func addBridge(o *testOVS) {
	o.t.Helper()
	o.vsctl("add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=dummy")
}

func TestFollowPorts(t *testing.T) {
	o := startOVS(t)
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge})
	snap := f.until("no bridge", func(Snapshot) bool { return true })
	if snap.Bridge != (Bridge{Name: bridge}) || len(snap.Ports) != 0 {
		t.Errorf("without a bridge: %+v", snap)
	}

	addBridge(o)
	snap = f.until("the bridge", func(s Snapshot) bool { return s.port(bridge).usable() })
	if b := snap.Bridge; !b.Exists || b.DatapathType != "dummy" || b.FailMode != "" || len(b.UUID) != 36 {
		t.Errorf("bridge: %+v", b)
	}
	if p := snap.port(bridge); p.Kind != Infrastructure || p.State != Trusted || p.OFPort != 65534 {
		t.Errorf("local port: %+v", p)
	}

	// Plugged without a reason to be one thing or another: unidentified.
	o.vsctl(addPort(bridge, "p1")...)
	snap = f.until("p1", func(s Snapshot) bool { return s.port("p1").OFPort > 0 })
	if p := snap.port("p1"); p.Kind != Unidentified || p.State != Blocked {
		t.Errorf("p1: %+v", p)
	}
	// The identifiers arrive later, as libvirt's do.
	o.vsctl("set", "Interface", "p1", "external_ids:iface-id=web", "external_ids:attached-mac=02:00:00:00:00:01",
		"external_ids:vm-id=5f0c")
	snap = f.until("p1 is a VM's", func(s Snapshot) bool { return s.port("p1").Kind == VM })
	if p := snap.port("p1"); p.IfaceID != "web" || p.AttachedMAC != "02:00:00:00:00:01" || p.VMID != "5f0c" || p.State != Pending {
		t.Errorf("p1: %+v", p)
	}
	o.vsctl("set", "Interface", "p1", "external_ids:iface-id=db")
	f.until("p1 is another VM's", func(s Snapshot) bool { return s.port("p1").IfaceID == "db" })

	o.vsctl("set", "Port", "p1", "tag=10")
	snap = f.until("p1 has a tag", func(s Snapshot) bool { return s.port("p1").Tagged })
	if p := snap.port("p1"); p.Tag != 10 || p.EffectiveVLANMode() != "access" {
		t.Errorf("p1: %+v", p)
	}
	o.vsctl("clear", "Port", "p1", "tag", "--", "set", "Port", "p1", "trunks=30,20", "vlan_mode=trunk")
	snap = f.until("p1 is a trunk", func(s Snapshot) bool { return !s.port("p1").Tagged })
	if p := snap.port("p1"); p.Tag != 0 || p.VLANMode != "trunk" || !slices.Equal(p.Trunks, []uint16{20, 30}) {
		t.Errorf("p1: %+v", p)
	}

	o.vsctl("set", "Interface", "p1", "ofport_request=77")
	f.until("p1 has another ofport", func(s Snapshot) bool { return s.port("p1").OFPort == 77 })
	o.vsctl("set", "Interface", "p1", "external_ids:ovs-sg-role=uplink")
	f.until("p1 is an uplink", func(s Snapshot) bool { return s.port("p1").Kind == Infrastructure })

	// A device that cannot be opened stays in the picture, with the reason.
	o.vsctl("--no-wait", "--", "add-port", bridge, "bad", "--", "set", "Interface", "bad", "type=nonsense", "external_ids:iface-id=bad")
	snap = f.until("bad has failed", func(s Snapshot) bool { return s.port("bad").OFPort == -1 })
	if p := snap.port("bad"); p.State != Failed || p.Error == "" || p.Kind != VM || p.Reason != p.Error {
		t.Errorf("bad: %+v", p)
	}
	o.vsctl("del-port", "bad")
	f.until("bad is gone", func(s Snapshot) bool { return s.port("bad").Name == "" })

	o.vsctl("--", "add-bond", bridge, "bond0", "e0", "e1", "--", "set", "Interface", "e0", "type=dummy", "--", "set", "Interface", "e1", "type=dummy")
	snap = f.until("the bond", func(s Snapshot) bool { return s.port("e0").usable() && s.port("e1").usable() })
	if p := snap.port("e1"); !p.Bond || p.PortName != "bond0" || p.Kind != Infrastructure {
		t.Errorf("e1: %+v", p)
	}

	o.vsctl("del-port", "p1")
	f.until("p1 is gone", func(s Snapshot) bool { return s.port("p1").Name == "" })
	o.vsctl("del-br", bridge)
	snap = f.until("the bridge is gone", func(s Snapshot) bool { return !s.Bridge.Exists })
	if len(snap.Ports) != 0 {
		t.Errorf("without a bridge: %+v", snap)
	}
	addBridge(o)
	f.until("the bridge is back", func(s Snapshot) bool { return s.port(bridge).usable() })
}

// The port of another bridge is none of ours.
func TestOtherBridge(t *testing.T) {
	o := startOVS(t)
	addBridge(o)
	o.vsctl("add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=dummy")
	o.vsctl(addPort("br1", "p1", "external_ids:iface-id=web")...)
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge})
	snap := f.until("the bridge", func(s Snapshot) bool { return s.Bridge.Exists })
	if len(snap.Ports) != 1 || snap.Ports[0].Name != bridge {
		t.Errorf("ports: %+v", snap.Ports)
	}
}

func TestThousandPorts(t *testing.T) {
	const n = 1000
	o := startOVS(t)
	addBridge(o)
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge})
	f.until("the bridge", func(s Snapshot) bool { return s.port(bridge).usable() })
	before := f.last.Seq
	var args []string
	for i := range n {
		args = append(args, addPort(bridge, fmt.Sprintf("p%04d", i), fmt.Sprintf("external_ids:iface-id=vm%04d", i))...)
	}
	o.vsctl(append([]string{"--no-wait"}, args...)...)
	snap := f.until("all ports", func(s Snapshot) bool {
		ready := 0
		for _, p := range s.Ports {
			if p.Kind == VM && p.usable() {
				ready++
			}
		}
		return ready == n
	})
	if !slices.IsSortedFunc(snap.Ports, func(a, b Port) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("ports are not sorted by name")
	}
	if got := snap.Seq - before; got > 20 {
		t.Errorf("%d ports at once took %d snapshots", n, got)
	}
}

func TestDatabaseRestarted(t *testing.T) {
	o := newOVS(t)
	// Nobody listens at first.
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge})
	f.untilStatus(func(s Status) bool { return s.LastError != nil && !s.Connected })
	o.startDB()
	o.vsctl("--no-wait", "init")
	o.startVswitchd()
	addBridge(o)
	o.vsctl(addPort(bridge, "p1", "external_ids:iface-id=web")...)
	f.until("p1", func(s Snapshot) bool { return s.port("p1").usable() })
	if !f.Status().Connected {
		t.Errorf("status: %+v", f.Status())
	}

	for i := range 3 {
		o.stop(&o.db)
		f.untilStatus(func(s Status) bool { return !s.Connected })
		o.startDB()
		name := fmt.Sprintf("q%d", i)
		o.vsctl(addPort(bridge, name, "external_ids:iface-id="+name)...)
		f.until(name, func(s Snapshot) bool { return s.port(name).usable() && s.port("p1").usable() })
		if !f.Status().Connected {
			t.Error("not connected")
		}
	}
}

func TestVswitchdRestarted(t *testing.T) {
	o := startOVS(t)
	addBridge(o)
	o.vsctl(addPort(bridge, "p1", "external_ids:iface-id=web")...)
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge})
	f.until("p1", func(s Snapshot) bool { return s.port("p1").usable() })
	o.stop(&o.vswitchd)
	o.vsctl(append([]string{"--no-wait"}, addPort(bridge, "p2", "external_ids:iface-id=db")...)...)
	snap := f.until("p2", func(s Snapshot) bool { return s.port("p2").Kind == VM })
	if p := snap.port("p2"); p.State != Failed || p.Reason != "no ofport yet" {
		t.Errorf("p2: %+v", p)
	}
	o.startVswitchd()
	f.until("p2 is ready", func(s Snapshot) bool { return s.port("p1").usable() && s.port("p2").usable() })
}

func TestNewRefuses(t *testing.T) {
	for _, config := range []Config{
		{Bridge: bridge},
		{Endpoint: "unix:", Bridge: bridge},
		{Endpoint: "/run/openvswitch/db.sock", Bridge: bridge},
		{Endpoint: "ssl:127.0.0.1:6640", Bridge: bridge},
		{Endpoint: "unix:/run/openvswitch/db.sock"},
	} {
		if _, err := New(config); err == nil {
			t.Errorf("New(%+v) did not fail", config)
		}
	}
}

func TestPrepare(t *testing.T) {
	o := startOVS(t)
	tables := []Table{
		{ID: 0, Name: "classify"},
		{ID: 6, Name: "egress_remote", Prefixes: []string{"ct_nw_dst", "ct_ipv6_dst"}},
		{ID: 7, Name: "egress_rules", Prefixes: []string{"ct_ipv6_dst", "ct_nw_dst"}},
	}
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge, Tables: tables})
	if _, err := f.Prepare(patiently(t)); !errors.Is(err, ErrNoBridge) {
		t.Fatalf("without a bridge: %v", err)
	}
	addBridge(o)
	// Table 6 is there with a limit, table 7 shares its row
	// with table 99, which is somebody else's.
	o.vsctl("--", "--id=@a", "create", "Flow_Table", "name=egress_remote", "prefixes=ct_nw_dst,ct_ipv6_dst", "flow_limit=12345", "groups=in_port",
		"--", "--id=@b", "create", "Flow_Table", "name=shared",
		"--", "set", "Bridge", bridge, "flow_tables:6=@a", "flow_tables:7=@b", "flow_tables:99=@b", "other_config:foo=bar")
	if _, err := f.Prepare(patiently(t)); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for _, want := range []struct{ query, value string }{
			{"get Bridge br0 fail_mode", "secure"},
			{"get Bridge br0 controller", "[]"},
			{"get Bridge br0 other_config", `{disable-in-band="true", foo=bar}`},
			{"get Flow_Table " + o.flowTable(0) + " name", "classify"},
			{"get Flow_Table " + o.flowTable(0) + " prefixes", "[]"},
			{"get Flow_Table " + o.flowTable(6) + " name", "egress_remote"},
			{"get Flow_Table " + o.flowTable(6) + " prefixes", "[ct_ipv6_dst, ct_nw_dst]"},
			{"get Flow_Table " + o.flowTable(6) + " flow_limit", "[]"},
			{"get Flow_Table " + o.flowTable(6) + " groups", "[in_port]"},
			{"get Flow_Table " + o.flowTable(7) + " name", "egress_rules"},
			{"get Flow_Table " + o.flowTable(99) + " name", "shared"},
		} {
			if got := o.vsctl(strings.Fields(want.query)...); got != want.value {
				t.Errorf("ovs-vsctl %s: %s, want %s", want.query, got, want.value)
			}
		}
	}
	check()

	// The second time nothing is written: the database's log does not grow.
	seq, err := f.Sync(patiently(t))
	if err != nil {
		t.Fatal(err)
	}
	size := o.logSize()
	for range 10 {
		if _, err := f.Prepare(patiently(t)); err != nil {
			t.Fatal(err)
		}
	}
	if again := o.logSize(); again != size {
		t.Errorf("the database has grown from %d to %d bytes", size, again)
	}
	if again, err := f.Sync(patiently(t)); err != nil || again != seq {
		t.Errorf("snapshot %d, %v after %d", again, err, seq)
	}

	// Undone by somebody, it is told and done again.
	unprepared := func(want string) {
		t.Helper()
		f.until("unprepared: "+want, func(s Snapshot) bool { return s.Bridge.Unprepared == want })
	}
	unprepared("")
	for _, x := range []struct{ command, says string }{
		{"set Bridge br0 fail_mode=standalone", `fail_mode is "standalone", not "secure"`},
		{"clear Bridge br0 fail_mode", `fail_mode is "", not "secure"`},
		{"set Bridge br0 other_config:disable-in-band=false", `other_config:disable-in-band is "false", not "true"`},
		{"remove Bridge br0 other_config disable-in-band", `other_config:disable-in-band is "", not "true"`},
		{"set Bridge br0 protocols=OpenFlow13", "protocols has no OpenFlow10; protocols has no OpenFlow14"},
		{"set Bridge br0 protocols=OpenFlow10,OpenFlow13", "protocols has no OpenFlow14"},
		{"remove Bridge br0 flow_tables 0", "names, prefixes or flow limits (Flow_Table) of the tables classify"},
		{"set Flow_Table " + o.flowTable(7) + " prefixes=[]", "names, prefixes or flow limits (Flow_Table) of the tables egress_rules"},
	} {
		o.vsctl(strings.Fields(x.command)...)
		unprepared(x.says)
		if _, err := f.Prepare(patiently(t)); err != nil {
			t.Fatal(err)
		}
		unprepared("")
		check()
	}
}

func TestPrepareWrongTables(t *testing.T) {
	o := startOVS(t)
	addBridge(o)
	for _, wrong := range [][]Table{{{ID: 1}}, {{ID: 1, Name: "x"}, {ID: 1, Name: "y"}}} {
		if _, err := New(Config{Endpoint: o.endpoint(), Bridge: bridge, Tables: wrong}); err == nil {
			t.Errorf("New with %v did not fail", wrong)
		}
	}
	for _, wrong := range [][]Table{
		{{ID: 255, Name: "x"}},
		{{ID: 1, Name: "x", Prefixes: []string{"nw_src", "nw_dst", "ipv6_src", "ipv6_dst"}}},
	} {
		f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge, Tables: wrong})
		if _, err := f.Prepare(patiently(t)); err == nil {
			t.Errorf("Prepare(%v) did not fail", wrong)
		}
	}
}

// flowTable is the UUID of the bridge's Flow_Table row for one table.
func (o *testOVS) flowTable(id int) string {
	o.t.Helper()
	return o.vsctl("get", "Bridge", bridge, fmt.Sprintf("flow_tables:%d", id))
}
