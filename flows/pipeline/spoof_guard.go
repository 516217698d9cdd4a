package pipeline

import (
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Table 1, spoof_guard: a VM sends with its own addresses only, and nothing that
// only servers and routers send.
//
// Neighbour discovery is looked at in steps, which RegND counts: the link-layer
// address is the VM's (or is left out), the target of an advertisement is the
// VM's, the hop limit is that of a packet that stays on the link, then the source
// is the VM's as in any other packet.

// spoofGuard emits the frame of the table.
func (f frame) spoofGuard() {
	t := flows.TableSpoofGuard
	// Packets that only servers and routers send. DHCP clients take an answer
	// from any source port, so the destination port alone decides.
	for _, ts := range [][]flows.Term{
		udp(flows.EthTypeIPv4, -1, 68), udp(flows.EthTypeIPv6, -1, 546),
		icmp6(icmp6RouterAdvert), icmp6(icmp6Redirect), icmp6(icmp6MLDQuery),
		icmp4(icmpRedirect), icmp4(icmpSourceQuench),
	} {
		f.deny(t, spoofServer, with(ts), flows.CauseSpoof)
	}
	// A link-layer address that is left out shows as zero.
	again := func(kind uint8, link flows.Field, done uint32) {
		f.add(t, spoofNDNoLink, with(icmp6(kind), flows.RegIs(flows.RegND, 0), flows.MAC(link, policy.MAC{})), flows.Drop,
			flows.SetReg(flows.RegND, done), flows.Resubmit(uint8(t)))
	}
	again(icmp6NeighborSolic, flows.FieldNDSLL, flows.NDDone)
	again(icmp6NeighborAdvert, flows.FieldNDTLL, flows.NDLinkLayer)
	// The target shows as zero too where Open vSwitch cannot read it, for example
	// if an option comes twice.
	f.deny(t, spoofNDNoTarget, with(icmp6(icmp6NeighborSolic), flows.Addr(flows.FieldNDTarget, netip.IPv6Unspecified())), flows.CauseSpoof)
	f.deny(t, spoofNDForeign, with(icmp6(icmp6NeighborSolic), flows.RegIs(flows.RegND, 0)), flows.CauseSpoof)
	f.deny(t, spoofNDForeign, with(icmp6(icmp6NeighborAdvert), flows.RegIs(flows.RegND, 0)), flows.CauseSpoof)
	f.deny(t, spoofNDForeign, with(icmp6(icmp6NeighborAdvert), flows.RegIs(flows.RegND, flows.NDLinkLayer)), flows.CauseSpoof)
	// Router solicitations and listener reports have nothing else to be looked at.
	step := func(priority uint16, done uint32, ts ...flows.Term) {
		f.add(t, priority, flows.NewMatch(ts...), flows.Drop, flows.SetReg(flows.RegND, done), flows.Resubmit(uint8(t)))
	}
	step(spoofNDNoLink, flows.NDDone, append(icmp6(icmp6RouterSolicit), flows.RegIs(flows.RegND, 0))...)
	for _, kind := range []uint8{icmp6MLDReport, icmp6MLDDone, icmp6MLDv2Report} {
		step(spoofNDNoLink, flows.NDListener, append(icmp6(kind), flows.RegIs(flows.RegND, 0))...)
	}
	hops := func(n uint8) flows.Term { return flows.Byte(flows.FieldIPTTL, n) }
	step(spoofNDHops, flows.NDLocal, ndStep(flows.NDDone, hops(hopsND))...)
	step(spoofNDHops, flows.NDLocal, ndStep(flows.NDListener, hops(hopsMLD), flows.Prefix(flows.FieldIPv6Src, linkLocalIPv6))...)
	step(spoofNDHops, flows.NDLocal, ndStep(flows.NDListener, hops(hopsMLD), flows.Addr(flows.FieldIPv6Src, netip.IPv6Unspecified()))...)
	for _, left := range []uint32{flows.NDDone, flows.NDListener} {
		f.deny(t, spoofNDForeign, with(ndStep(left)), flows.CauseSpoof)
	}
	// Frames to reserved addresses (IEEE 802.1Q, 8.6.3) are for the switch.
	f.deny(t, spoofServer, flows.NewMatch(flows.Reserved()), flows.CauseSpoof)
	// Packets that a VM sends before it has an address, or without using one.
	f.add(t, spoofOwn, with(udp(flows.EthTypeIPv4, 68, 67),
		flows.Addr(flows.FieldIPSrc, netip.IPv4Unspecified()), flows.Addr(flows.FieldIPDst, broadcastIPv4)), int(flows.TableDispatch))
	for _, kind := range []uint8{icmp6RouterSolicit, icmp6MLDReport, icmp6MLDDone, icmp6MLDv2Report} {
		f.add(t, spoofOwn, with(icmp6(kind), flows.Addr(flows.FieldIPv6Src, netip.IPv6Unspecified())), int(flows.TableDispatch))
	}
	// RARP "request reverse", which hypervisors send for a VM that moved.
	f.add(t, spoofOwn, flows.NewMatch(flows.EthType(flows.EthTypeRARP), flows.EthDst(ethBroadcast), flows.ARPOp(3)), int(flows.TableDispatch))
	f.deny(t, tableMiss, flows.Match{}, flows.CauseSpoof)
}

// spoofGuardEndpoint emits the flows of a VM port: what the VM may send, and with
// which addresses.
func spoofGuardEndpoint(e *policy.Endpoint, cookie flows.Cookie, emit flows.Emitter) {
	port := flows.InPort(uint32(e.OFPort))
	pass := func(priority uint16, ts ...flows.Term) {
		emit(flows.TableSpoofGuard, priority, cookie, flows.NewMatch(append(ts, port)...), int(flows.TableDispatch))
	}
	addrs := OwnAddrs(e)
	for _, a := range addrs {
		if a.Is6() {
			continue
		}
		arp, sha := flows.EthType(flows.EthTypeARP), flows.MAC(flows.FieldARPSHA, e.MAC)
		pass(spoofOwn, flows.EthType(flows.EthTypeIPv4), flows.Addr(flows.FieldIPSrc, a))
		pass(spoofOwn, arp, sha, flows.Addr(flows.FieldARPSPA, a))
		// A probe before the address is taken (RFC 5227).
		pass(spoofOwn, arp, sha, flows.ARPOp(1), flows.Addr(flows.FieldARPSPA, netip.IPv4Unspecified()), flows.Addr(flows.FieldARPTPA, a))
	}
	if !slices.ContainsFunc(addrs, netip.Addr.Is6) {
		return
	}
	again := func(priority uint16, done uint32, ts ...flows.Term) {
		emit(flows.TableSpoofGuard, priority, cookie, flows.NewMatch(append(ts, port)...), flows.Drop,
			flows.SetReg(flows.RegND, done), flows.Resubmit(uint8(flows.TableSpoofGuard)))
	}
	again(spoofNDLinkLayer, flows.NDDone, append(icmp6(icmp6NeighborSolic), flows.RegIs(flows.RegND, 0), flows.MAC(flows.FieldNDSLL, e.MAC))...)
	again(spoofNDLinkLayer, flows.NDLinkLayer, append(icmp6(icmp6NeighborAdvert), flows.RegIs(flows.RegND, 0), flows.MAC(flows.FieldNDTLL, e.MAC))...)
	for _, a := range addrs {
		if !a.Is6() {
			continue
		}
		again(spoofNDTarget, flows.NDDone, append(icmp6(icmp6NeighborAdvert), flows.RegIs(flows.RegND, flows.NDLinkLayer), flows.Addr(flows.FieldNDTarget, a))...)
		// Duplicate address detection (RFC 4862, 5.4).
		pass(spoofNDDAD, append(icmp6(icmp6NeighborSolic), flows.RegIs(flows.RegND, flows.NDLocal),
			flows.Addr(flows.FieldIPv6Src, netip.IPv6Unspecified()), flows.Addr(flows.FieldNDTarget, a))...)
		pass(spoofOwn, flows.EthType(flows.EthTypeIPv6), flows.Addr(flows.FieldIPv6Src, a))
	}
}

// OwnAddrs returns the addresses that a VM may use: those of the endpoint and, if
// one of these is IPv6, the link-local address of the MAC.
func OwnAddrs(e *policy.Endpoint) []netip.Addr {
	out := make([]netip.Addr, 0, len(e.Addrs)+1)
	out = append(out, e.Addrs...)
	if ll := linkLocal(e.MAC); slices.ContainsFunc(out, netip.Addr.Is6) && !slices.Contains(out, ll) {
		out = append(out, ll)
	}
	return out
}

// linkLocal returns the link-local address made of the MAC (RFC 4291, appendix
// A).
func linkLocal(m policy.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80,
		8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}
