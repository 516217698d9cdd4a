package testbed

import (
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
)

// This file builds the protocols that hold a network together: ARP, neighbour
// discovery, DHCP; and the IP protocols without ports.

// Operations of ARP.
const (
	ARPRequest = 1
	ARPReply   = 2
)

// ARP builds an ARP message with the given fields; the Ethernet addresses are the
// packet's.
func (p Packet) ARP(op uint16, sha net.HardwareAddr, spa netip.Addr, tha net.HardwareAddr, tpa netip.Addr) []byte {
	return p.Ethernet(EtherTypeARP, arp(op, sha, spa, tha, tpa))
}

// RARP announces the packet's own MAC, as a hypervisor does after a migration.
func (p Packet) RARP() []byte {
	zero := netip.IPv4Unspecified()
	return p.Ethernet(EtherTypeRARP, arp(3, p.SrcMAC, zero, p.SrcMAC, zero))
}

func arp(op uint16, sha net.HardwareAddr, spa netip.Addr, tha net.HardwareAddr, tpa netip.Addr) []byte {
	if tha == nil {
		tha = make(net.HardwareAddr, 6)
	}
	b := []byte{0, 1, 8, 0, 6, 4}
	b = be.AppendUint16(b, op)
	b = append(append(b, sha...), spa.AsSlice()...)
	return append(append(b, tha...), tpa.AsSlice()...)
}

// hop sends an ICMPv6 message of neighbour discovery: hop limit 255.
func (p Packet) hop(kind uint8, rest uint32, body []byte) []byte {
	p.TTL = 255
	return p.ICMP(kind, 0, rest, body)
}

// linkAddr returns the neighbour discovery option source (1) or target (2)
// address.
func linkAddr(kind byte, mac net.HardwareAddr) []byte { return append([]byte{kind, 1}, mac...) }

// NeighborSolicit asks for a target; mac is the source link-layer address, nil
// for none.
func (p Packet) NeighborSolicit(target netip.Addr, mac net.HardwareAddr) []byte {
	body := target.AsSlice()
	if mac != nil {
		body = append(body, linkAddr(1, mac)...)
	}
	return p.hop(135, 0, body)
}

// NeighborAdvert claims that target is at mac: solicited, override.
func (p Packet) NeighborAdvert(target netip.Addr, mac net.HardwareAddr) []byte {
	return p.hop(136, 0x60000000, append(target.AsSlice(), linkAddr(2, mac)...))
}

// RouterSolicit asks for routers.
func (p Packet) RouterSolicit() []byte { return p.hop(133, 0, linkAddr(1, p.SrcMAC)) }

// RouterAdvert announces the sender as a router for 1,800 seconds.
func (p Packet) RouterAdvert() []byte {
	return p.hop(134, 64<<24|1800, append(make([]byte, 8), linkAddr(1, p.SrcMAC)...))
}

// AllNodes is the multicast address of router advertisements (RFC 4861).
var AllNodes = netip.MustParseAddr("ff02::1")

// MulticastMAC returns the Ethernet address of a multicast group.
func MulticastMAC(group netip.Addr) net.HardwareAddr {
	b := group.AsSlice()
	if group.Is4() {
		return net.HardwareAddr{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// SolicitedNode returns the multicast group at which a target is asked for.
func SolicitedNode(target netip.Addr) netip.Addr {
	b := target.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// Message types of DHCP.
const (
	DHCPDiscover = 1
	DHCPOffer    = 2
	DHCPRequest  = 3
	DHCPAck      = 5
)

// DHCP sends a message for the client with the given MAC: a request from port
// 68 to 67, or, for an offer or acknowledgement, a reply of yours with your
// address for the client.
func (p Packet) DHCP(kind uint8, xid uint32, client net.HardwareAddr, your netip.Addr) []byte {
	b := make([]byte, 236)
	b[0], b[1], b[2] = 1, 1, 6
	src, dst := uint16(68), uint16(67)
	if kind == DHCPOffer || kind == DHCPAck {
		b[0], src, dst = 2, 67, 68
		copy(b[16:], your.AsSlice())
		copy(b[20:], p.Src.AsSlice())
	}
	be.PutUint32(b[4:], xid)
	be.PutUint16(b[10:], 0x8000) // answer by broadcast
	copy(b[28:], client)
	b = append(b, 0x63, 0x82, 0x53, 0x63, 53, 1, kind, 255)
	return p.UDP(src, dst, b)
}

// DHCPv6 sends a message of DHCPv6 without options: 1 solicit, 2 advertise,
// 3 request, 7 reply. Clients send from port 546 to 547.
func (p Packet) DHCPv6(kind uint8, xid uint32) []byte {
	src, dst := uint16(546), uint16(547)
	if kind == 2 || kind == 7 {
		src, dst = dst, src
	}
	return p.UDP(src, dst, be.AppendUint32(nil, uint32(kind)<<24|xid&0xffffff))
}

// SCTP sends an INIT chunk.
func (p Packet) SCTP(src, dst uint16) []byte {
	b := be.AppendUint16(be.AppendUint16(nil, src), dst)
	b = append(b, make([]byte, 8)...) // verification tag 0, checksum
	b = append(b, 1, 0, 0, 20)
	b = be.AppendUint32(b, 1)       // initiate tag
	b = be.AppendUint32(b, 65536)   // window
	b = be.AppendUint32(b, 1<<16|1) // streams
	b = be.AppendUint32(b, 1)       // first TSN
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return p.IP(ProtoSCTP, b)
}

// GRE sends a packet of the given EtherType in GRE without key.
func (p Packet) GRE(etherType uint16, payload []byte) []byte {
	return p.IP(ProtoGRE, append(be.AppendUint16([]byte{0, 0}, etherType), payload...))
}

// ESP sends an opaque encrypted payload.
func (p Packet) ESP(spi, seq uint32, payload []byte) []byte {
	return p.IP(ProtoESP, append(be.AppendUint32(be.AppendUint32(nil, spi), seq), payload...))
}

// IPIP sends an IPv4 packet inside another.
func (p Packet) IPIP(inner []byte) []byte { return p.IP(ProtoIPIP, inner) }
