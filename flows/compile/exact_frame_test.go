package compile_test

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// TestExactInfrastructure checks the packets that no rule governs. No rule allows
// anything to the two VMs of the network, at ports 1 and 2, so each packet that
// passes does so without rules.
func TestExactInfrastructure(t *testing.T) {
	b := newLab(t)
	w := &world{epochs: map[uint16]uint32{}, content: policy.Nothing, dhcp: []netip.Addr{netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("fd00::8")}}
	for i, id := range []string{"a", "b"} {
		n := byte(i + 1)
		w.vms = append(w.vms, worldVM{ns: "default", name: id, ifaces: []worldIface{{id: id,
			addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, n}), netip.AddrFrom16([16]byte{0: 0xfd, 15: n})}}}})
		w.vifs = append(w.vifs, policy.VIF{Name: id, OFPort: uint16(n), IfaceID: id, MAC: hostPorts[i].mac})
	}
	// A third VM, in VLAN 10, has the MAC of the first.
	w.vms = append(w.vms, worldVM{ns: "blue", name: "c", ifaces: []worldIface{{id: "c"}}})
	w.vifs = append(w.vifs, policy.VIF{Name: "c", OFPort: 11, Tag: 10, IfaceID: "c", MAC: hostPorts[0].mac})
	// A fourth, in VLAN 20, too.
	w.vms = append(w.vms, worldVM{ns: "blue", name: "d", ifaces: []worldIface{{id: "d"}}})
	w.vifs = append(w.vifs, policy.VIF{Name: "d", OFPort: 21, Tag: 20, IfaceID: "d", MAC: hostPorts[0].mac})
	load := func() {
		t.Helper()
		_, set := w.compiled(t)
		if err := b.o.ReplaceFlows(set.String()); err != nil {
			t.Fatal(err)
		}
	}
	load()
	const (
		vm1   = "in_port=1,dl_src=02:00:00:00:00:01,"
		up    = "in_port=100,dl_src=0e:00:00:00:00:01,"
		to2   = "dl_dst=02:00:00:00:00:02,"
		to1   = "dl_dst=02:00:00:00:00:01,"
		out   = "dl_dst=0e:00:00:00:00:01,"
		all   = "dl_dst=ff:ff:ff:ff:ff:ff,"
		all6  = "dl_dst=33:33:00:00:00:01,"
		arp1  = "arp,arp_op=1,arp_sha=02:00:00:00:00:01,"
		none  = ""
		infra = "65534 100"
		ll1   = "ipv6_src=fe80::ff:fe00:1,"
	)
	tests := []struct{ name, flow, want string }{
		{"ARP reply in VLAN 10", "in_port=101,dl_src=0e:00:00:00:00:01,dl_vlan=10," + to1 + "arp,arp_op=2,arp_spa=10.0.0.9,arp_tpa=10.0.0.1", "11"},
		{"ARP reply in another VLAN at a port of one", "in_port=101,dl_src=0e:00:00:00:00:01,dl_vlan=20," + to1 + "arp,arp_op=2,arp_spa=10.0.0.9,arp_tpa=10.0.0.1", none},
		{"ARP reply in a VLAN that the port has not", "in_port=101,dl_src=0e:00:00:00:00:01," + to1 + "arp,arp_op=2,arp_spa=10.0.0.9,arp_tpa=10.0.0.1", none},
		{"ARP reply with a tag at an access port", "in_port=102,dl_src=0e:00:00:00:00:01,dl_vlan=10," + to1 + "arp,arp_op=2,arp_spa=10.0.0.9,arp_tpa=10.0.0.1", none},

		{"ARP reply at an access port", "in_port=102,dl_src=0e:00:00:00:00:01," + to1 + "arp,arp_op=2,arp_spa=10.0.0.9,arp_tpa=10.0.0.1", "21"},
		{"ARP reply with a priority tag at an access port", "in_port=102,dl_src=0e:00:00:00:00:01,vlan_tci=0x3000," + to1 + "arp,arp_op=2,arp_spa=10.0.0.9,arp_tpa=10.0.0.1", "21"},
		{"ARP reply with a priority tag at a trunk", "in_port=100,dl_src=0e:00:00:00:00:01,vlan_tci=0x3000," + to1 + "arp,arp_op=2,arp_spa=10.0.0.9,arp_tpa=10.0.0.1", "1"},
		{"ARP with a priority tag", "vlan_tci=0x3000," + vm1 + all + arp1 + "arp_spa=10.0.0.1,arp_tpa=10.0.0.2", none},

		{"ARP request", vm1 + all + arp1 + "arp_spa=10.0.0.1,arp_tpa=10.0.0.2", "2 65534 100"},
		{"ARP request, another's address", vm1 + all + arp1 + "arp_spa=10.0.0.2,arp_tpa=10.0.0.9", none},
		{"ARP request, another's MAC in it", vm1 + all + "arp,arp_op=1,arp_sha=02:00:00:00:00:02,arp_spa=10.0.0.1,arp_tpa=10.0.0.9", none},
		{"ARP probe", vm1 + all + arp1 + "arp_spa=0.0.0.0,arp_tpa=10.0.0.1", "2 65534 100"},
		{"ARP probe for another's address", vm1 + all + arp1 + "arp_spa=0.0.0.0,arp_tpa=10.0.0.2", none},
		{"ARP reply from no address", vm1 + all + "arp,arp_op=2,arp_sha=02:00:00:00:00:01,arp_spa=0.0.0.0,arp_tpa=10.0.0.1", none},
		{"ARP reply", vm1 + to2 + "arp,arp_op=2,arp_sha=02:00:00:00:00:01,arp_spa=10.0.0.1,arp_tpa=10.0.0.2", "2"},
		{"ARP reply to outside", vm1 + out + "arp,arp_op=2,arp_sha=02:00:00:00:00:01,arp_spa=10.0.0.1,arp_tpa=10.0.0.9", infra},
		{"ARP request from outside", up + all + "arp,arp_op=1,arp_spa=10.0.0.9,arp_tpa=10.0.0.1", "1 2 65534"},
		{"ARP reply from outside", up + to1 + "arp,arp_op=2,arp_spa=10.0.0.9,arp_tpa=10.0.0.1", "1"},
		{"ARP with a tag", "dl_vlan=10," + vm1 + all + arp1 + "arp_spa=10.0.0.1,arp_tpa=10.0.0.2", none},
		{"ARP from another's MAC", "in_port=1,dl_src=02:00:00:00:00:02," + all + arp1 + "arp_spa=10.0.0.1,arp_tpa=10.0.0.2", none},

		{"DHCP discover", vm1 + all + "udp,nw_src=0.0.0.0,nw_dst=255.255.255.255,udp_src=68,udp_dst=67", infra},
		{"DHCP discover to one VM", vm1 + to2 + "udp,nw_src=0.0.0.0,nw_dst=255.255.255.255,udp_src=68,udp_dst=67", none},
		{"DHCP discover to an address", vm1 + out + "udp,nw_src=0.0.0.0,nw_dst=10.0.0.9,udp_src=68,udp_dst=67", none},
		{"DHCP renewal at a named server", vm1 + out + "udp,nw_src=10.0.0.1,nw_dst=10.0.0.8,udp_src=68,udp_dst=67", infra},
		{"DHCP renewal at any server", vm1 + out + "udp,nw_src=10.0.0.1,nw_dst=10.0.0.9,udp_src=68,udp_dst=67", none},
		{"DHCP broadcast to an address", vm1 + all + "udp,nw_src=10.0.0.1,nw_dst=10.0.0.9,udp_src=68,udp_dst=67", none},
		{"DHCP renewal, another's address", vm1 + out + "udp,nw_src=10.0.0.2,nw_dst=10.0.0.9,udp_src=68,udp_dst=67", none},
		{"DHCP question from another port", vm1 + out + "udp,nw_src=10.0.0.1,nw_dst=10.0.0.9,udp_src=69,udp_dst=67", none},
		{"DHCP question to a VM", vm1 + to2 + "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,udp_src=68,udp_dst=67", none},
		{"DHCP offer by a VM", vm1 + to2 + "udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,udp_src=67,udp_dst=68", none},
		{"DHCP offer by a VM to all", vm1 + all + "udp,nw_src=10.0.0.1,nw_dst=255.255.255.255,udp_src=67,udp_dst=68", none},
		{"DHCP offer", up + to1 + "udp,nw_src=10.0.0.9,nw_dst=10.0.0.1,udp_src=67,udp_dst=68", "1"},
		{"DHCP offer to all", up + all + "udp,nw_src=10.0.0.9,nw_dst=255.255.255.255,udp_src=67,udp_dst=68", "1 2 65534"},
		{"DHCP offer from another port", up + to1 + "udp,nw_src=10.0.0.9,nw_dst=10.0.0.1,udp_src=66,udp_dst=68", none},
		{"DHCPv6 solicit", vm1 + "dl_dst=33:33:00:01:00:02,udp6," + ll1 + "ipv6_dst=ff02::1:2,udp_src=546,udp_dst=547", infra},
		{"DHCPv6 to any server", vm1 + out + "udp6,ipv6_src=fd00::1,ipv6_dst=fd00::9,udp_src=546,udp_dst=547", none},
		{"DHCPv6 to a named server", vm1 + out + "udp6,ipv6_src=fd00::1,ipv6_dst=fd00::8,udp_src=546,udp_dst=547", infra},
		{"DHCPv6 solicit from another's address", vm1 + "dl_dst=33:33:00:01:00:02,udp6,ipv6_src=fe80::9,ipv6_dst=ff02::1:2,udp_src=546,udp_dst=547", none},
		{"DHCPv6 reply by a VM", vm1 + to2 + "udp6," + ll1 + "ipv6_dst=fd00::2,udp_src=547,udp_dst=546", none},
		{"DHCPv6 reply", up + to1 + "udp6,ipv6_src=fe80::9,ipv6_dst=fd00::1,udp_src=547,udp_dst=546", "1"},
		{"DHCPv6 reply from another port", up + to1 + "udp6,ipv6_src=fe80::9,ipv6_dst=fd00::1,udp_src=548,udp_dst=546", none},

		{"router solicitation", vm1 + all6 + "icmp6," + ll1 + "ipv6_dst=ff02::2,nw_ttl=255,icmpv6_type=133,icmpv6_code=0", infra},
		{"router solicitation from no address", vm1 + all6 + "icmp6,ipv6_src=::,ipv6_dst=ff02::2,nw_ttl=255,icmpv6_type=133,icmpv6_code=0", infra},
		{"router advertisement by a VM", vm1 + all6 + "icmp6," + ll1 + "ipv6_dst=ff02::1,nw_ttl=255,icmpv6_type=134,icmpv6_code=0", none},
		{"router advertisement", up + all6 + "icmp6,ipv6_src=fe80::9,ipv6_dst=ff02::1,nw_ttl=255,icmpv6_type=134,icmpv6_code=0", "1 2 65534"},
		{"router advertisement to one", up + to1 + "icmp6,ipv6_src=fe80::9,ipv6_dst=fe80::ff:fe00:1,nw_ttl=255,icmpv6_type=134,icmpv6_code=0", "1"},
		{"redirect by a VM", vm1 + to2 + "icmp6," + ll1 + "ipv6_dst=fd00::2,nw_ttl=255,icmpv6_type=137,icmpv6_code=0", none},
		{"MLD query by a VM", vm1 + all6 + "icmp6," + ll1 + "ipv6_dst=ff02::1,nw_ttl=1,icmpv6_type=130,icmpv6_code=0", none},
		{"MLD query", up + all6 + "icmp6,ipv6_src=fe80::9,ipv6_dst=ff02::1,nw_ttl=1,icmpv6_type=130,icmpv6_code=0", "1 2 65534"},
		{"MLD report", vm1 + all6 + "icmp6," + ll1 + "ipv6_dst=ff02::16,nw_ttl=1,icmpv6_type=143,icmpv6_code=0", infra},
		{"MLD report from no address", vm1 + all6 + "icmp6,ipv6_src=::,ipv6_dst=ff02::16,nw_ttl=1,icmpv6_type=143,icmpv6_code=0", infra},
		{"MLD report from another's address", vm1 + all6 + "icmp6,ipv6_src=fd00::2,ipv6_dst=ff02::16,nw_ttl=1,icmpv6_type=143,icmpv6_code=0", none},

		{"neighbour solicitation", vm1 + all6 + "icmp6,ipv6_src=fd00::1,ipv6_dst=ff02::1:ff00:2,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::2,nd_sll=02:00:00:00:00:01", "2 65534 100"},
		{"neighbour solicitation without link-layer address", vm1 + to2 + "icmp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::2", "2"},
		{"neighbour solicitation, another's MAC in it", vm1 + all6 + "icmp6,ipv6_src=fd00::1,ipv6_dst=ff02::1:ff00:2,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::2,nd_sll=02:00:00:00:00:02", none},
		{"neighbour solicitation from another's address", vm1 + all6 + "icmp6,ipv6_src=fd00::3,ipv6_dst=ff02::1:ff00:2,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::2,nd_sll=02:00:00:00:00:01", none},
		{"duplicate address detection", vm1 + all6 + "icmp6,ipv6_src=::,ipv6_dst=ff02::1:ff00:1,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::1", "2 65534 100"},
		{"duplicate address detection of another's", vm1 + all6 + "icmp6,ipv6_src=::,ipv6_dst=ff02::1:ff00:2,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::2", none},
		{"neighbour advertisement", vm1 + to2 + "icmp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=255,icmpv6_type=136,icmpv6_code=0,nd_target=fd00::1,nd_tll=02:00:00:00:00:01", "2"},
		{"neighbour advertisement to all", vm1 + all6 + "icmp6," + ll1 + "ipv6_dst=ff02::1,nw_ttl=255,icmpv6_type=136,icmpv6_code=0,nd_target=fd00::1,nd_tll=02:00:00:00:00:01", "2 65534 100"},
		{"neighbour advertisement of another's", vm1 + to2 + "icmp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=255,icmpv6_type=136,icmpv6_code=0,nd_target=fd00::2,nd_tll=02:00:00:00:00:01", none},
		{"neighbour advertisement, another's MAC in it", vm1 + to2 + "icmp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=255,icmpv6_type=136,icmpv6_code=0,nd_target=fd00::1,nd_tll=02:00:00:00:00:02", none},
		{"neighbour advertisement from another's address", vm1 + to2 + "icmp6,ipv6_src=fd00::2,ipv6_dst=fd00::2,nw_ttl=255,icmpv6_type=136,icmpv6_code=0,nd_target=fd00::1,nd_tll=02:00:00:00:00:01", none},
		{"neighbour solicitation from outside", up + all6 + "icmp6,ipv6_src=fe80::9,ipv6_dst=ff02::1:ff00:1,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::1", "1 2 65534"},

		// The twins of the above that have come over a router, or would go over one.
		{"router solicitation with another hop limit", vm1 + all6 + "icmp6," + ll1 + "ipv6_dst=ff02::2,nw_ttl=64,icmpv6_type=133,icmpv6_code=0", none},
		{"router solicitation to anywhere", vm1 + out + "icmp6,ipv6_src=fd00::1,ipv6_dst=2001:db8::1,nw_ttl=255,icmpv6_type=133,icmpv6_code=0", none},
		{"router solicitation to a VM", vm1 + to2 + "icmp6," + ll1 + "ipv6_dst=fe80::ff:fe00:2,nw_ttl=255,icmpv6_type=133,icmpv6_code=0", none},
		{"MLD report with another hop limit", vm1 + all6 + "icmp6," + ll1 + "ipv6_dst=ff02::16,nw_ttl=64,icmpv6_type=143,icmpv6_code=0", none},
		{"MLD report to anywhere", vm1 + out + "icmp6," + ll1 + "ipv6_dst=2001:db8::1,nw_ttl=1,icmpv6_type=143,icmpv6_code=0", none},
		{"MLD report from an address of the world", vm1 + all6 + "icmp6,ipv6_src=fd00::1,ipv6_dst=ff02::16,nw_ttl=1,icmpv6_type=143,icmpv6_code=0", none},
		{"neighbour solicitation to outside", vm1 + out + "icmp6,ipv6_src=fd00::1,ipv6_dst=fd00::9,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::9,nd_sll=02:00:00:00:00:01", infra},
		{"neighbour solicitation to a link-local address outside", vm1 + out + "icmp6,ipv6_src=fd00::1,ipv6_dst=fe80::9,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=fe80::9,nd_sll=02:00:00:00:00:01", infra},
		{"neighbour solicitation to anywhere", vm1 + out + "icmp6,ipv6_src=fd00::1,ipv6_dst=2001:db8::1,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=2001:db8::1,nd_sll=02:00:00:00:00:01", none},
		{"neighbour solicitation to anywhere in a frame to all", vm1 + all6 + "icmp6,ipv6_src=fd00::1,ipv6_dst=2001:db8::1,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=2001:db8::1,nd_sll=02:00:00:00:00:01", none},
		{"neighbour solicitation with another hop limit", vm1 + to2 + "icmp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=64,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::2,nd_sll=02:00:00:00:00:01", none},
		{"neighbour advertisement with another hop limit", vm1 + to2 + "icmp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,nw_ttl=64,icmpv6_type=136,icmpv6_code=0,nd_target=fd00::1,nd_tll=02:00:00:00:00:01", none},
		{"neighbour advertisement to anywhere", vm1 + out + "icmp6,ipv6_src=fd00::1,ipv6_dst=2001:db8::1,nw_ttl=255,icmpv6_type=136,icmpv6_code=0,nd_target=fd00::1,nd_tll=02:00:00:00:00:01", none},
		{"neighbour solicitation from outside with another hop limit", up + to1 + "icmp6,ipv6_src=2001:db8::1,ipv6_dst=fd00::1,nw_ttl=64,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::1", none},
		{"neighbour solicitation from outside to one", up + to1 + "icmp6,ipv6_src=fd00::9,ipv6_dst=fd00::1,nw_ttl=255,icmpv6_type=135,icmpv6_code=0,nd_target=fd00::1", "1"},
		{"neighbour advertisement from outside with another hop limit", up + to1 + "icmp6,ipv6_src=2001:db8::1,ipv6_dst=fd00::1,nw_ttl=64,icmpv6_type=136,icmpv6_code=0,nd_target=2001:db8::1", none},
		{"router advertisement with another hop limit", up + to1 + "icmp6,ipv6_src=fe80::9,ipv6_dst=fd00::1,nw_ttl=64,icmpv6_type=134,icmpv6_code=0", none},
		{"router advertisement from the world", up + to1 + "icmp6,ipv6_src=2001:db8::1,ipv6_dst=fd00::1,nw_ttl=255,icmpv6_type=134,icmpv6_code=0", none},
		{"MLD query with another hop limit", up + to1 + "icmp6,ipv6_src=fe80::9,ipv6_dst=fd00::1,nw_ttl=64,icmpv6_type=130,icmpv6_code=0", none},
		{"MLD query from the world", up + to1 + "icmp6,ipv6_src=2001:db8::1,ipv6_dst=fd00::1,nw_ttl=1,icmpv6_type=130,icmpv6_code=0", none},
		{"redirect", vm1 + to2 + "icmp,nw_src=10.0.0.1,nw_dst=10.0.0.2,icmp_type=5,icmp_code=1", none},
		{"source quench", vm1 + to2 + "icmp,nw_src=10.0.0.1,nw_dst=10.0.0.2,icmp_type=4,icmp_code=0", none},
		{"IGMP query", vm1 + "dl_dst=01:00:5e:00:00:01,ip,nw_proto=2,nw_src=10.0.0.1,nw_dst=224.0.0.1", none},
		{"ARP to a reserved address", vm1 + "dl_dst=01:80:c2:00:00:0e," + arp1 + "arp_spa=10.0.0.1,arp_tpa=10.0.0.2", none},
		{"UDP to a reserved address", vm1 + "dl_dst=01:80:c2:00:00:00,udp,nw_src=10.0.0.1,nw_dst=10.0.0.9,udp_src=1,udp_dst=2", none},

		{"RARP", vm1 + all + "rarp,arp_op=3", infra},
		{"RARP to one", vm1 + to2 + "rarp,arp_op=3", none},
		{"RARP reply", vm1 + all + "rarp,arp_op=4", none},
		{"another protocol", vm1 + to2 + "dl_type=0x88cc", none},
		{"another protocol to all", vm1 + all + "dl_type=0x8100", none},
		{"another protocol from outside", up + to1 + "dl_type=0x88cc", none},
		{"ping", vm1 + to2 + "icmp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,icmpv6_type=128,icmpv6_code=0", none},
	}
	ask := func(name, flow, want string) {
		t.Helper()
		r, err := b.tracer.Trace("br0", flow)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		order := map[int]int{1: 1, 2: 2, 65534: 3, 100: 4}
		slices.SortFunc(r.Outputs, func(a, b int) int { return order[a] - order[b] })
		var got []string
		for _, p := range r.Outputs {
			got = append(got, strconv.Itoa(p))
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: to %q, want %q:\n%s", name, got, want, r.Text)
		}
	}
	for _, test := range tests {
		ask(test.name, test.flow, test.want)
	}
	// Where rules allow everything, only the packets that rules govern change.
	w.groups = []worldGroup{{ns: "default", name: "web", rules: []worldRule{{yaml: "direction: Ingress"}, {yaml: "direction: Egress"}}}}
	for i := range w.vms {
		w.vms[i].groups = []string{"web"}
	}
	load()
	governed := map[string]bool{
		"DHCP discover to one VM": true, "DHCP question to a VM": true, "DHCP question from another port": true,
		"DHCP offer from another port": true, "DHCPv6 reply from another port": true, "ping": true,
		"DHCP renewal at any server": true, "DHCP broadcast to an address": true, "DHCPv6 to any server": true,
		// In a switch, connection tracking calls these invalid.
		"neighbour solicitation from outside with another hop limit": true, "neighbour advertisement from outside with another hop limit": true,
		"router advertisement with another hop limit": true, "router advertisement from the world": true,
		"MLD query with another hop limit": true, "MLD query from the world": true, "router solicitation to a VM": true,
	}
	for _, test := range tests {
		if !governed[test.name] {
			ask("with rules, "+test.name, test.flow, test.want)
		}
	}
}

// multicast draws a frame for many hosts, preferably one that some VM gets.
func (p *prober) multicast() (ks []packet) {
	for range one(p.dice, 1, 25) {
		ks = p.toMany()
		if len(ks) > 0 && slices.ContainsFunc(p.l.want(ks[0]).outputs, func(o output) bool { return p.l.endpoint(o.ofport) != nil }) {
			break
		}
	}
	return ks
}

func (p *prober) toMany() []packet {
	v6 := p.odds(3)
	to := one(p.dice, netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("224.0.0.5"))
	mac := policy.MAC{1, 0, 0x5e, 1, 2, 3}
	if v6 {
		to, mac = one(p.dice, netip.MustParseAddr("ff02::fb"), netip.MustParseAddr("ff05::2")), policy.MAC{0x33, 0x33, 0, 0, 0, 0xfb}
	}
	if p.odds(3) || to == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		mac = policy.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	if p.odds(3) { // a unicast address in a frame for many
		to = one(p.dice, p.addrs[v6]...)
	}
	from := p.outside(v6)
	network := one[uint16](p.dice, 0, 10, 20, 30)
	if p.odds(2) {
		n, ok := p.local(int(network), v6)
		if !ok {
			return nil
		}
		from = n
	}
	k := p.frame(from, end{addr: to, mac: mac}, network)
	k.proto, k.sport, k.dport = p.service(v6)
	k.conn = tuple{k.src, k.dst, k.proto, k.sport, k.dport}
	k.state, k.later = "new", hasPorts(k.proto) && p.odds(5)
	ks := []packet{k}
	group := to.IsMulticast() || to == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if from.e != nil {
		k.label.Orig, k.label.OrigEpoch = p.side(from.ofport(), policy.Egress, p.l.evaluate(from.ofport(), 0, k.conn).Egress.Allowed)
		k.state = one(p.dice, "new", "est")
		ks = append(ks, k)
	}
	if from.e == nil && group { // a state and a label as of an open connection
		k.state = one(p.dice, "est|rpl", "rel")
		ks = append(ks, k)
	}
	if from.e != nil && !group { // an answer in a frame for many
		k.conn = tuple{k.dst, k.src, k.proto, k.dport, k.sport}
		if !hasPorts(k.proto) {
			k.conn = tuple{k.dst, k.src, k.proto, k.sport, k.dport}
		}
		if k.proto == flows.ProtoUDP && slices.Contains(dhcpPorts, k.conn.dport) {
			return ks
		}
		k.label, k.state = flows.Label{}, "est|rpl"
		ks = append(ks, k)
	}
	return ks
}
