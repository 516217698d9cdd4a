package compile_test

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
)

// TestOwners reads back from compiled flows which VM each port belongs to and
// where each address lives. Flows about members, which have addresses too, say
// nothing about local ports.
func TestOwners(t *testing.T) {
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	mac := policy.MAC{2, 0, 0, 0, 0, 1}
	const linkLocal = "fe80::ff:fe00:1" // of that MAC
	want := map[compile.Place]uint16{}
	var m policy.Model
	for i, e := range []struct {
		tag    uint16
		addrs  []netip.Addr
		places []string
	}{
		{0, addrs("10.0.0.1"), []string{"10.0.0.1"}}, // no IPv6, no link-local address
		{7, addrs("10.0.0.1", "fd00::1"), []string{"10.0.0.1", "fd00::1", linkLocal}},
		{8, addrs("fd00::1", linkLocal), []string{"fd00::1", linkLocal}}, // once
		{9, nil, nil},
	} {
		port := uint16(i + 1)
		m.Endpoints = append(m.Endpoints, policy.Endpoint{VIF: "tap", OFPort: port, Tag: e.tag, MAC: mac, Addrs: e.addrs, Known: true, VPC: "d/v", Groups: []string{"d/a"}})
		got := compile.Places(&m.Endpoints[i])
		if len(got) != len(e.places) {
			t.Errorf("port %d: places %v, want %v", port, got, e.places)
		}
		for _, a := range e.places {
			want[compile.Place{Tag: e.tag, Addr: netip.MustParseAddr(a)}] = port
		}
		for _, p := range got {
			if want[p] != port {
				t.Errorf("port %d: place %v, want %v", port, p, e.places)
			}
		}
	}
	rule := policy.ResolvedRule{Group: "d/a", Name: "#0", Direction: policy.Ingress, Ports: policy.PortRange{Last: 65535},
		Remote: policy.ResolvedRemote{Kind: policy.ResolvedMembers, Group: "d/a"}}
	m.Groups = []policy.RuleGroup{{ID: "d/a", Rules: []policy.ResolvedRule{rule}}}
	m.Members = []policy.Member{{VPC: "d/v", Addr: netip.MustParseAddr("10.0.0.99"), Groups: []string{"d/a"}, VM: policy.Key{Namespace: "d", Name: "far"}}}

	set, err := compile.Full(compile.Input{Model: &m})
	if err != nil {
		t.Fatal(err)
	}
	ports, places := compile.Owners(set)
	for _, e := range m.Endpoints {
		if o := ports[e.OFPort]; o != (compile.Owner{MAC: e.MAC, Tag: e.Tag}) {
			t.Errorf("port %d belongs to %v", e.OFPort, o)
		}
	}
	if len(ports) != len(m.Endpoints) {
		t.Errorf("ports %v", ports)
	}
	if !maps.Equal(places, want) {
		t.Errorf("places\n%v, want\n%v", places, want)
	}
}
