package testbed

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// EtherTypes and IP protocols used here.
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeARP  = 0x0806
	EtherTypeRARP = 0x8035
	EtherTypeVLAN = 0x8100
	EtherTypeIPv6 = 0x86dd

	ProtoICMP   = 1
	ProtoIPIP   = 4
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoGRE    = 47
	ProtoESP    = 50
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// Flags of a TCP segment.
const (
	TCPFin = 1 << iota
	TCPSyn
	TCPRst
	TCPPsh
	TCPAck
)

// Broadcast is the Ethernet broadcast address.
var Broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

var be = binary.BigEndian

// Packet holds the addresses of a frame. Its methods build whole frames with
// correct lengths and checksums; IPv4 or IPv6 follows from the addresses.
type Packet struct {
	SrcMAC, DstMAC net.HardwareAddr
	VLAN           uint16 // 0: untagged
	Src, Dst       netip.Addr
	TTL            uint8 // default 64
}

// To returns a packet from the first addresses of one host, of the family of dst,
// to dst on another.
func (h *Host) To(other *Host, dst netip.Addr) Packet {
	p := Packet{SrcMAC: h.MAC, DstMAC: other.MAC, Src: h.Addr4(), Dst: dst}
	if dst.Is6() {
		p.Src = h.Addr6()
	}
	return p
}

// Ethernet puts a payload of any type into a frame.
func (p Packet) Ethernet(etherType uint16, payload []byte) []byte {
	frame := append(append([]byte{}, p.DstMAC...), p.SrcMAC...)
	if p.VLAN != 0 {
		frame = be.AppendUint16(be.AppendUint16(frame, EtherTypeVLAN), p.VLAN)
	}
	return append(be.AppendUint16(frame, etherType), payload...)
}

// IP sends a payload of any IP protocol.
func (p Packet) IP(proto uint8, payload []byte) []byte {
	if p.Src.Is4() {
		return p.ip4(proto, 1, 0, payload)
	}
	return p.Ethernet(EtherTypeIPv6, p.header6(proto, payload))
}

// Header builds the IP packet without Ethernet, to carry it inside another.
func (p Packet) Header(proto uint8, payload []byte) []byte {
	if p.Src.Is4() {
		return p.header4(proto, 1, 0, payload)
	}
	return p.header6(proto, payload)
}

func (p Packet) ttl() byte {
	if p.TTL == 0 {
		return 64
	}
	return p.TTL
}

func (p Packet) ip4(proto uint8, id, fragment uint16, payload []byte) []byte {
	return p.Ethernet(EtherTypeIPv4, p.header4(proto, id, fragment, payload))
}

// header4 builds an IPv4 packet; fragment is the field of flags and offset in the
// header.
func (p Packet) header4(proto uint8, id, fragment uint16, payload []byte) []byte {
	h := make([]byte, 20, 20+len(payload))
	h[0], h[8], h[9] = 0x45, p.ttl(), proto
	be.PutUint16(h[2:], uint16(20+len(payload)))
	be.PutUint16(h[4:], id)
	be.PutUint16(h[6:], fragment)
	copy(h[12:], p.Src.AsSlice())
	copy(h[16:], p.Dst.AsSlice())
	be.PutUint16(h[10:], checksum(0, h))
	return append(h, payload...)
}

func (p Packet) header6(next uint8, payload []byte) []byte {
	h := make([]byte, 40, 40+len(payload))
	h[0], h[6], h[7] = 0x60, next, p.ttl()
	be.PutUint16(h[4:], uint16(len(payload)))
	copy(h[8:], p.Src.AsSlice())
	copy(h[24:], p.Dst.AsSlice())
	return append(h, payload...)
}

// Fragments sends a payload in pieces of size bytes, which must be a multiple
// of 8. All have the given identification.
func (p Packet) Fragments(proto uint8, id uint16, payload []byte, size int) [][]byte {
	var frames [][]byte
	for offset := 0; offset < len(payload); offset += size {
		piece, more := payload[offset:], false
		if len(piece) > size {
			piece, more = piece[:size], true
		}
		if p.Src.Is4() {
			fragment := uint16(offset / 8)
			if more {
				fragment |= 0x2000
			}
			frames = append(frames, p.ip4(proto, id, fragment, piece))
			continue
		}
		h := []byte{proto, 0}
		fragment := uint16(offset)
		if more {
			fragment |= 1
		}
		h = be.AppendUint32(be.AppendUint16(h, fragment), uint32(id))
		frames = append(frames, p.IP(44, append(h, piece...)))
	}
	return frames
}

// UDP sends a datagram.
func (p Packet) UDP(src, dst uint16, payload []byte) []byte {
	return p.IP(ProtoUDP, p.UDPSegment(src, dst, payload))
}

// UDPSegment returns the datagram without its IP header, for Fragments.
func (p Packet) UDPSegment(src, dst uint16, payload []byte) []byte {
	u := make([]byte, 8, 8+len(payload))
	be.PutUint16(u, src)
	be.PutUint16(u[2:], dst)
	be.PutUint16(u[4:], uint16(8+len(payload)))
	u = append(u, payload...)
	sum := p.transportSum(ProtoUDP, u)
	if sum == 0 {
		sum = 0xffff
	}
	be.PutUint16(u[6:], sum)
	return u
}

// TCP sends a segment without options.
func (p Packet) TCP(src, dst uint16, flags uint8, seq, ack uint32, payload []byte) []byte {
	t := make([]byte, 20, 20+len(payload))
	be.PutUint16(t, src)
	be.PutUint16(t[2:], dst)
	be.PutUint32(t[4:], seq)
	be.PutUint32(t[8:], ack)
	t[12], t[13] = 5<<4, flags
	be.PutUint16(t[14:], 65535)
	t = append(t, payload...)
	be.PutUint16(t[16:], p.transportSum(ProtoTCP, t))
	return p.IP(ProtoTCP, t)
}

// Echo sends an echo request of ICMP or ICMPv6.
func (p Packet) Echo(id, seq uint16, payload []byte) []byte {
	kind := uint8(8)
	if p.Src.Is6() {
		kind = 128
	}
	return p.ICMP(kind, 0, uint32(id)<<16|uint32(seq), payload)
}

// ICMP sends any message of ICMP or ICMPv6; rest are the four bytes after the
// checksum.
func (p Packet) ICMP(kind, code uint8, rest uint32, payload []byte) []byte {
	msg := icmp(kind, code, rest, payload)
	if p.Src.Is4() {
		return p.IP(ProtoICMP, msg)
	}
	msg[2], msg[3] = 0, 0
	be.PutUint16(msg[2:], p.transportSum(ProtoICMPv6, msg))
	return p.IP(ProtoICMPv6, msg)
}

// icmp builds a message with the checksum of ICMPv4.
func icmp(kind, code uint8, rest uint32, payload []byte) []byte {
	msg := make([]byte, 8, 8+len(payload))
	msg[0], msg[1] = kind, code
	be.PutUint32(msg[4:], rest)
	msg = append(msg, payload...)
	be.PutUint16(msg[2:], checksum(0, msg))
	return msg
}

// transportSum returns the checksum of a segment with the pseudo-header. The
// segment's own checksum field must be zero.
func (p Packet) transportSum(proto uint8, segment []byte) uint16 {
	pseudo := append(p.Src.AsSlice(), p.Dst.AsSlice()...)
	pseudo = be.AppendUint32(pseudo, uint32(len(segment)))
	pseudo = be.AppendUint32(pseudo, uint32(proto))
	return checksum(sum16(0, pseudo), segment)
}

func sum16(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(be.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// checksum returns the Internet checksum (RFC 1071) of b, added to a sum.
func checksum(sum uint32, b []byte) uint16 {
	sum = sum16(sum, b)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
