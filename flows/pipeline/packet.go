package pipeline

import (
	"net/netip"

	"github.com/ovs-sg/ovs-sg/flows"
)

var (
	ethBroadcast  = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	multicastIPv4 = netip.MustParsePrefix("224.0.0.0/4")
	multicastIPv6 = netip.MustParsePrefix("ff00::/8")
	broadcastIPv4 = netip.MustParseAddr("255.255.255.255")

	linkLocalIPv6     = netip.MustParsePrefix("fe80::/10")
	linkMulticastIPv6 = netip.MustParsePrefix("ff02::/16")
	dhcpServersIPv6   = netip.MustParseAddr("ff02::1:2") // all relay agents and servers (RFC 8415, 7.1)
	allSystemsIPv4    = netip.MustParseAddr("224.0.0.1")
)

// ICMPv6 types (RFC 4861, RFC 2710, RFC 3810).
const (
	icmp6MLDQuery       = 130
	icmp6MLDReport      = 131
	icmp6MLDDone        = 132
	icmp6RouterSolicit  = 133
	icmp6RouterAdvert   = 134
	icmp6NeighborSolic  = 135
	icmp6NeighborAdvert = 136
	icmp6Redirect       = 137
	icmp6MLDv2Report    = 143
)

// ICMP types (RFC 792).
const (
	icmpSourceQuench = 4
	icmpRedirect     = 5
)

// Hop limits that show that a packet has not left the link: of neighbour
// discovery (RFC 4861, 6.1 and 7.1) and of multicast listener discovery (RFC
// 3810, 5).
const (
	hopsND  = 255
	hopsMLD = 1
)

func icmp4(t uint8) []flows.Term {
	return []flows.Term{flows.EthType(flows.EthTypeIPv4), flows.IPProto(flows.ProtoICMP), flows.Byte(flows.FieldICMPType, t)}
}

// ndStep matches neighbour and listener discovery that is at a step, see RegND.
func ndStep(step uint32, ts ...flows.Term) []flows.Term {
	return append(ts[:len(ts):len(ts)], flows.EthType(flows.EthTypeIPv6), flows.RegIs(flows.RegND, step))
}

// local matches neighbour and listener discovery that is what it says.
func local(kind uint8) []flows.Term {
	return append(icmp6(kind), flows.RegIs(flows.RegND, flows.NDLocal))
}

// outside matches packets that no local VM has sent.
var outside = flows.RegIs(flows.RegSrc, 0)

func icmp6(t uint8) []flows.Term {
	return []flows.Term{flows.EthType(flows.EthTypeIPv6), flows.IPProto(flows.ProtoICMPv6), flows.Byte(flows.FieldICMPv6Type, t)}
}

// udp matches UDP with these ports; src -1: any source port.
func udp(ethType uint16, src, dst int) []flows.Term {
	ts := []flows.Term{flows.EthType(ethType), flows.IPProto(flows.ProtoUDP)}
	if src >= 0 {
		ts = append(ts, flows.Port(flows.FieldUDPSrc, uint16(src), 0xffff))
	}
	return append(ts, flows.Port(flows.FieldUDPDst, uint16(dst), 0xffff))
}

// families are the Ethernet types that connection tracking takes.
var families = []flows.Term{flows.EthType(flows.EthTypeIPv4), flows.EthType(flows.EthTypeIPv6)}

func with(ts []flows.Term, more ...flows.Term) flows.Match {
	return flows.NewMatch(append(ts[:len(ts):len(ts)], more...)...)
}
