package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// The hosts of hostileLab that a broadcast from mallory reaches.
const everyone = "closed friend outside victim web"

// hostileLab has a VM, mallory, whose rules allow everything, so that no rule
// stops mallory's forged packets. The rules of victim and friend allow everything
// too; web serves two ports, and closed has no rule.
func hostileLab(t *testing.T) *lab {
	h := newHost(t, testbed.Options{})
	open := groupOf("openSG", allOut, allIn)
	text := open + groupOf("webSG", "{direction: Ingress, protocol: TCP, port: 80}", "{direction: Ingress, protocol: UDP, port: 53}") +
		groupOf("closedSG")
	for name, n := range map[string]int{"mallory": 66, "victim": 11, "friend": 12, "web": 13, "closed": 14} {
		group := map[string]string{"web": "webSG", "closed": "closedSG"}[name]
		if group == "" {
			group = "openSG"
		}
		text += machine(h.vm(name, n), group)
	}
	h.uplink("outside", 1)
	h.write("all.yaml", text)
	h.start()
	h.wait()
	return h.tapped()
}

func TestHostileGuest(t *testing.T) {
	l := hostileLab(t)
	t.Run("addresses", func(t *testing.T) { l.in(t).run(lyingAddresses(l)) })
	t.Run("arp", func(t *testing.T) { l.in(t).run(lyingARP(l)) })
	t.Run("nd", func(t *testing.T) { l.in(t).run(lyingND(l)) })
	t.Run("servers", func(t *testing.T) { l.in(t).run(rogueServers(l)) })
	t.Run("ethertypes", func(t *testing.T) { l.in(t).run(foreignEtherTypes(l)) })
	t.Run("extension headers", func(t *testing.T) { l.in(t).run(extensionHeaders(l)) })
	t.Run("tcp", func(t *testing.T) { l.in(t).run(oddTCP(l)) })
	t.Run("destinations", func(t *testing.T) { l.in(t).run(oddDestinations(l)) })
	t.Run("readdressed", func(t *testing.T) { l.in(t).readdressed() })
	t.Run("fragments", func(t *testing.T) { l.in(t).hostileFragments() })
}

// lyingAddresses: packets with a foreign MAC or IP address as source, alone and in
// the middle of an allowed connection of other VMs.
func lyingAddresses(l *lab) []sent {
	mallory, victim, friend, outside := l.vms["mallory"], l.vms["victim"], l.vms["friend"], l.vms["outside"]
	var out []sent
	for _, to := range []*testbed.Host{victim, outside} {
		for _, dst := range to.Addrs {
			honest := mallory.To(to, dst)
			udp := func(p testbed.Packet) []byte { return p.UDP(5000, 53, []byte("hello")) }
			add := func(name string, p testbed.Packet, want string) {
				out = append(out, sent{fmt.Sprintf("%s, %v", name, dst), "mallory", udp(p), want})
			}
			add("own addresses", honest, to.Name)
			for _, mac := range []net.HardwareAddr{friend.MAC, outside.MAC, hw("02:77:00:00:00:01"), hw("00:00:00:00:00:00"), testbed.Broadcast} {
				p := honest
				p.SrcMAC = mac
				add(fmt.Sprintf("source MAC %v", mac), p, "")
			}
			sources := []netip.Addr{addr("10.0.1.200"), addr("127.0.0.1"), addr("0.0.0.0"), addr("255.255.255.255"), addr("224.0.0.1"), addr("8.8.8.8"),
				friend.Addr4(), outside.Addr4(), victim.Addr4()}
			if dst.Is6() {
				sources = []netip.Addr{addr("fd00:1::200"), addr("::1"), addr("::"), addr("ff02::1"), addr("2001:db8::1"),
					linkLocalOf(friend.MAC), friend.Addr6(), outside.Addr6(), victim.Addr6()}
			}
			for _, src := range sources {
				p := honest
				p.Src = src
				add(fmt.Sprintf("source %v", src), p, "")
			}
			add("own addresses again", honest, to.Name)
		}
	}
	local := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: victim.MAC, Src: linkLocalOf(mallory.MAC), Dst: linkLocalOf(victim.MAC)}
	out = append(out, sent{"own link-local address", "mallory", local.UDP(5000, 53, nil), "victim"})

	// A connection between friend and victim, both of its directions.
	tcp := func(p testbed.Packet, src, dst uint16, flags uint8) []byte { return p.TCP(src, dst, flags, 1, 1, nil) }
	for _, dst := range victim.Addrs {
		there := friend.To(victim, dst)
		back := victim.To(friend, there.Src)
		honest := []sent{
			{"friend's segment", "friend", tcp(there, 4000, 90, testbed.TCPAck), "victim"},
			{"victim's answer", "victim", tcp(back, 90, 4000, testbed.TCPAck), "friend"},
		}
		out = append(out, honest...)
		for _, flags := range []uint8{testbed.TCPAck, testbed.TCPRst | testbed.TCPAck} {
			for _, mac := range []net.HardwareAddr{nil, mallory.MAC} {
				a, b, name := there, back, "its own MAC"
				if mac != nil {
					a.SrcMAC, b.SrcMAC, name = mac, mac, "mallory's MAC"
				}
				out = append(out,
					sent{"friend's segment with " + name, "mallory", tcp(a, 4000, 90, flags), ""},
					sent{"victim's answer with " + name, "mallory", tcp(b, 90, 4000, flags), ""})
			}
		}
		out = append(out, honest...)
	}
	return out
}

func lyingARP(l *lab) []sent {
	mallory, victim, friend := l.vms["mallory"], l.vms["victim"], l.vms["friend"]
	own, foreign, zero := mallory.Addr4(), friend.Addr4(), addr("0.0.0.0")
	all := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: testbed.Broadcast}
	one := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: victim.MAC}
	both := func(name string, op uint16, sha net.HardwareAddr, spa, tpa netip.Addr, honest bool) []sent {
		toAll, toOne := "", ""
		if honest {
			toAll, toOne = everyone, "victim"
		}
		return []sent{
			{name + ", broadcast", "mallory", all.ARP(op, sha, spa, nil, tpa), toAll},
			{name + ", unicast", "mallory", one.ARP(op, sha, spa, victim.MAC, tpa), toOne},
		}
	}
	out := slices.Concat(
		both("request", testbed.ARPRequest, mallory.MAC, own, victim.Addr4(), true),
		both("request, foreign spa", testbed.ARPRequest, mallory.MAC, foreign, victim.Addr4(), false),
		both("request, foreign sha", testbed.ARPRequest, friend.MAC, own, victim.Addr4(), false),
		both("request, foreign spa and sha", testbed.ARPRequest, friend.MAC, foreign, victim.Addr4(), false),
		both("reply, unasked", testbed.ARPReply, mallory.MAC, own, victim.Addr4(), true),
		both("reply, foreign spa", testbed.ARPReply, mallory.MAC, foreign, victim.Addr4(), false),
		both("reply, foreign sha", testbed.ARPReply, friend.MAC, own, victim.Addr4(), false),
		both("gratuitous request", testbed.ARPRequest, mallory.MAC, own, own, true),
		both("gratuitous request, foreign", testbed.ARPRequest, mallory.MAC, foreign, foreign, false),
		both("gratuitous reply", testbed.ARPReply, mallory.MAC, own, own, true),
		both("gratuitous reply, foreign", testbed.ARPReply, mallory.MAC, foreign, foreign, false),
		both("probe", testbed.ARPRequest, mallory.MAC, zero, own, true),
		both("probe, foreign", testbed.ARPRequest, mallory.MAC, zero, foreign, false),
		both("probe, foreign sha", testbed.ARPRequest, friend.MAC, zero, own, false),
		both("reply, no spa", testbed.ARPReply, mallory.MAC, zero, own, false),
	)
	all.SrcMAC = friend.MAC
	out = append(out, sent{"honest but for the source MAC", "mallory", all.ARP(testbed.ARPRequest, mallory.MAC, own, nil, victim.Addr4()), ""})
	// Linux reads these frames as ARP for Ethernet, Open vSwitch does not.
	odd := one.ARP(testbed.ARPReply, mallory.MAC, foreign, nil, victim.Addr4())
	odd[15] = 6
	return append(out, sent{"reply, foreign, hardware type 6", "mallory", odd, ""},
		sent{"cut off", "mallory", one.ARP(testbed.ARPReply, mallory.MAC, foreign, nil, victim.Addr4())[:30], ""})
}

func lyingND(l *lab) []sent {
	mallory, victim, friend := l.vms["mallory"], l.vms["victim"], l.vms["friend"]
	own, foreign := mallory.Addr6(), friend.Addr6()
	ownLL, unspecified := linkLocalOf(mallory.MAC), addr("::")
	var out []sent
	add := func(name string, frame []byte, to string) { out = append(out, sent{name, "mallory", frame, to}) }

	// Advertisements, asked for (unicast) and not (to all nodes).
	for _, na := range []struct {
		name        string
		src, target netip.Addr
		mac         net.HardwareAddr
		honest      bool
	}{
		{"NA", own, own, mallory.MAC, true},
		{"NA of the link-local address", ownLL, ownLL, mallory.MAC, true},
		{"NA from the link-local address", ownLL, own, mallory.MAC, true},
		{"NA, foreign target", own, foreign, mallory.MAC, false},
		{"NA, foreign link-local target", own, linkLocalOf(friend.MAC), mallory.MAC, false},
		{"NA, foreign tll", own, own, friend.MAC, false},
		{"NA, foreign target and tll", own, foreign, friend.MAC, false},
		{"NA, foreign source", foreign, own, mallory.MAC, false},
		{"NA, foreign source and target", foreign, foreign, mallory.MAC, false},
		{"NA, no source", unspecified, own, mallory.MAC, false},
	} {
		toAll, toOne := "", ""
		if na.honest {
			toAll, toOne = everyone, "victim"
		}
		p := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: victim.MAC, Src: na.src, Dst: victim.Addr6()}
		add(na.name, p.NeighborAdvert(na.target, na.mac), toOne)
		p.DstMAC, p.Dst = testbed.MulticastMAC(testbed.AllNodes), testbed.AllNodes
		add(na.name+", unasked", p.NeighborAdvert(na.target, na.mac), toAll)
	}
	one := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: victim.MAC, Src: own, Dst: victim.Addr6(), TTL: 255}
	bare := func(target netip.Addr) []byte { return one.ICMP(136, 0, 0x20000000, target.AsSlice()) }
	add("NA without tll", bare(own), "victim")
	add("NA without tll, foreign target", bare(foreign), "")

	// Solicitations.
	for _, ns := range []struct {
		name   string
		src    netip.Addr
		target netip.Addr
		mac    net.HardwareAddr
		honest bool
	}{
		{"NS", own, victim.Addr6(), mallory.MAC, true},
		{"NS without sll", own, victim.Addr6(), nil, true},
		{"NS from the link-local address", ownLL, victim.Addr6(), mallory.MAC, true},
		{"NS, foreign source", foreign, victim.Addr6(), mallory.MAC, false},
		{"NS, foreign source without sll", foreign, victim.Addr6(), nil, false},
		{"NS, foreign sll", own, victim.Addr6(), friend.MAC, false},
		{"DAD", unspecified, own, nil, true},
		{"DAD of the link-local address", unspecified, ownLL, nil, true},
		{"DAD, foreign", unspecified, foreign, nil, false},
		{"DAD, foreign link-local address", unspecified, linkLocalOf(friend.MAC), nil, false},
		{"DAD, foreign sll", unspecified, own, friend.MAC, false},
	} {
		to := ""
		if ns.honest {
			to = everyone
		}
		group := testbed.SolicitedNode(ns.target)
		p := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: testbed.MulticastMAC(group), Src: ns.src, Dst: group}
		add(ns.name, p.NeighborSolicit(ns.target, ns.mac), to)
		p.DstMAC, p.Dst = victim.MAC, victim.Addr6()
		if ns.honest {
			to = "victim"
		}
		add(ns.name+", unicast", p.NeighborSolicit(ns.target, ns.mac), to)
	}
	// Linux takes the first of two addresses; Open vSwitch then takes none.
	option := func(kind byte, mac net.HardwareAddr) []byte { return append([]byte{kind, 1}, mac...) }
	add("NS, foreign sll, then another", one.ICMP(135, 0, 0,
		slices.Concat(victim.Addr6().AsSlice(), option(1, friend.MAC), option(1, mallory.MAC))), "")
	add("NS, own sll, then a foreign one", one.ICMP(135, 0, 0,
		slices.Concat(victim.Addr6().AsSlice(), option(1, mallory.MAC), option(1, friend.MAC))), "")
	add("NA, own tll, then a foreign one", one.ICMP(136, 0, 0x60000000,
		slices.Concat(own.AsSlice(), option(2, mallory.MAC), option(2, friend.MAC))), "")
	// Behind an extension header.
	for name, kind := range map[string]byte{"hop-by-hop": 0, "destination options": 60} {
		lie, truth := one.NeighborAdvert(foreign, mallory.MAC), one.NeighborAdvert(own, mallory.MAC)
		add("NA behind "+name, extended(truth, kind), "victim")
		add("NA behind "+name+", foreign target", extended(lie, kind), "")
	}
	return out
}

// rogueServers: messages that only servers and routers may send.
func rogueServers(l *lab) []sent {
	mallory, victim, outside := l.vms["mallory"], l.vms["victim"], l.vms["outside"]
	var out []sent
	add := func(name string, frame []byte, to string) { out = append(out, sent{name, "mallory", frame, to}) }
	for _, dst := range []struct {
		name string
		mac  net.HardwareAddr
		ip   netip.Addr
	}{
		{"broadcast", testbed.Broadcast, addr("255.255.255.255")},
		{"unicast", victim.MAC, victim.Addr4()},
		{"unicast to the outside", outside.MAC, outside.Addr4()},
	} {
		p := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: dst.mac, Src: mallory.Addr4(), Dst: dst.ip}
		add("DHCP offer, "+dst.name, p.DHCP(testbed.DHCPOffer, 7, victim.MAC, addr("10.0.1.99")), "")
		add("DHCP ack, "+dst.name, p.DHCP(testbed.DHCPAck, 7, victim.MAC, addr("10.0.1.99")), "")
		add("DHCP offer from another port, "+dst.name, p.UDP(1067, 68, make([]byte, 240)), "")
	}
	p := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: testbed.Broadcast, Src: addr("0.0.0.0"), Dst: addr("255.255.255.255")}
	add("DHCP discover", p.DHCP(testbed.DHCPDiscover, 7, mallory.MAC, netip.Addr{}), "outside")
	p.SrcMAC = victim.MAC
	add("DHCP discover with a foreign MAC", p.DHCP(testbed.DHCPDiscover, 7, victim.MAC, netip.Addr{}), "")
	p.SrcMAC = mallory.MAC
	add("no address, another port than DHCP's", p.UDP(68, 69, nil), "")

	for _, dst := range []struct {
		name string
		mac  net.HardwareAddr
		ip   netip.Addr
	}{
		{"to all nodes", testbed.MulticastMAC(testbed.AllNodes), testbed.AllNodes},
		{"unicast", victim.MAC, victim.Addr6()},
		{"unicast to the outside", outside.MAC, outside.Addr6()},
	} {
		for _, src := range []netip.Addr{linkLocalOf(mallory.MAC), mallory.Addr6(), linkLocalOf(outside.MAC)} {
			p := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: dst.mac, Src: src, Dst: dst.ip, TTL: 255}
			name := fmt.Sprintf("%s from %v", dst.name, src)
			add("RA, "+name, p.RouterAdvert(), "")
			for header, kind := range map[string]byte{"hop-by-hop": 0, "destination options": 60, "routing": 43, "authentication": 51} {
				add("RA behind "+header+", "+name, extended(p.RouterAdvert(), kind), "")
			}
			for i, f := range p.Fragments(testbed.ProtoICMPv6, 9, p.RouterAdvert()[54:], 8) {
				add(fmt.Sprintf("RA in fragments (%d), %s", i, name), f, "")
			}
			add("redirect, "+name, p.ICMP(137, 0, 0, append(outside.Addr6().AsSlice(), victim.Addr6().AsSlice()...)), "")
			p.TTL = 1
			add("MLD query, "+name, p.ICMP(130, 0, 1000<<16, make([]byte, 20)), "")
			p.TTL = 64
			add("DHCPv6 advertise, "+name, p.DHCPv6(2, 7), "")
			add("DHCPv6 reply, "+name, p.DHCPv6(7, 7), "")
			add("DHCPv6 reply from another port, "+name, p.UDP(1547, 546, make([]byte, 4)), "")
		}
	}
	routers := addr("ff02::2")
	p = testbed.Packet{SrcMAC: mallory.MAC, DstMAC: testbed.MulticastMAC(routers), Src: linkLocalOf(mallory.MAC), Dst: routers}
	add("RS", p.RouterSolicit(), "outside")
	return out
}

func foreignEtherTypes(l *lab) []sent {
	mallory, victim := l.vms["mallory"], l.vms["victim"]
	var out []sent
	add := func(name string, frame []byte, to string) { out = append(out, sent{name, "mallory", frame, to}) }
	for _, mac := range []net.HardwareAddr{victim.MAC, testbed.Broadcast, hw("01:80:c2:00:00:0e"), hw("01:80:c2:00:00:00"), l.vms["outside"].MAC} {
		p := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: mac}
		for name, kind := range map[string]uint16{"LLDP": 0x88cc, "experimental": 0x88b5, "MPLS": 0x8847, "PPPoE": 0x8864,
			"PPPoE discovery": 0x8863, "EAPOL": 0x888e, "NSH": 0x894f, "PTP": 0x88f7, "loopback": 0x9000, "STP": 0x0026} {
			add(fmt.Sprintf("%s to %v", name, mac), p.Ethernet(kind, append([]byte{0x42, 0x42, 3}, make([]byte, 60)...)), "")
		}
	}
	p := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: testbed.Broadcast}
	add("RARP", p.RARP(), "outside")
	p.SrcMAC = victim.MAC
	add("RARP of another", p.RARP(), "")
	p.SrcMAC, p.DstMAC = mallory.MAC, victim.MAC
	add("RARP to one", p.RARP(), "")

	// VLAN tags, although the port of this VM has none.
	udp := mallory.To(victim, victim.Addr4()).UDP(5000, 53, nil)
	arp := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: testbed.Broadcast}.ARP(testbed.ARPRequest, mallory.MAC, mallory.Addr4(), nil, victim.Addr4())
	add("no tag", udp, "victim")
	add("ARP, no tag", arp, everyone)
	for name, tci := range map[string]uint16{"0": 0, "0, priority 7": 7 << 13, "1": 1, "100": 100, "4095": 4095} {
		for proto, tpid := range map[string]uint16{"802.1Q": 0x8100, "802.1ad": 0x88a8} {
			add(fmt.Sprintf("%s tag %s", proto, name), tagged(udp, tpid, tci), "")
			add(fmt.Sprintf("ARP, %s tag %s", proto, name), tagged(arp, tpid, tci), "")
			add(fmt.Sprintf("%s tag %s and another", proto, name), tagged(tagged(udp, 0x8100, 0), tpid, tci), "")
		}
	}
	add("no tag again", udp, "victim")
	return out
}
