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
