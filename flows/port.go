package flows

import (
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// infraFlows are the flows of an infrastructure port.
func infraFlows(p InfraPort, emit emitter) {
	in := func(vlan Term, as ...Action) {
		emit(TableClassify, 100, newCookie(KindInfra, uint64(p.OFPort)), NewMatch(InPort(p.OFPort), vlan), int(TableDispatch), as...)
	}
	switch {
	case p.Native != 0:
		in(Untagged(), SetReg(RegNetwork, uint32(p.Native)))
	case len(p.Trunks) == 0 || slices.Contains(p.Trunks, 0):
		in(Untagged())
	}
	switch {
	case p.Access:
	case len(p.Trunks) == 0:
		in(Tagged(), Move(Whole(FieldVLANVID), Low(RegNetwork, 12)))
	default:
		for _, vlan := range p.Trunks {
			if vlan != 0 {
				in(VLAN(vlan), SetReg(RegNetwork, uint32(vlan)))
			}
		}
	}
}

// endpointFlows are the flows of one VM port: what it may send, how it is
// found, its counters of denied packets.
func endpointFlows(e *policy.Endpoint, emit emitter) {
	p := uint32(e.OFPort)
	cookie := newCookie(KindPort, uint64(p))
	port := InPort(p)
	if !e.MAC.IsZero() {
		as := []Action{SetReg(RegSrc, p)}
		if e.Tag != 0 {
			as = append(as, SetReg(RegNetwork, uint32(e.Tag)))
		}
		emit(TableClassify, 100, cookie, NewMatch(port, Untagged(), EthSrc(e.MAC)), int(TableSpoofGuard), as...)
		emit(TableDispatch, 100, cookie, NewMatch(RegIs(RegNetwork, uint32(e.Tag)), EthDst(e.MAC)), int(TableTrack), SetReg(RegDst, p))
		spoofGuard(e, cookie, emit)
	}
	emit(TableDeny, 100, cookie, NewMatch(RegIs(RegCause, uint32(CauseEgress)), RegIs(RegOrig, p)), drop)
	emit(TableDeny, 100, cookie, NewMatch(RegIs(RegCause, uint32(CauseIngress)), RegIs(RegResp, p)), drop)
	emit(TableDeny, 90, cookie, NewMatch(port), drop)
}

// spoofGuard adds what the VM may send under which addresses.
func spoofGuard(e *policy.Endpoint, cookie Cookie, emit emitter) {
	port := InPort(uint32(e.OFPort))
	pass := func(priority uint16, ts ...Term) {
		emit(TableSpoofGuard, priority, cookie, NewMatch(append(ts, port)...), int(TableDispatch))
	}
	var v6 []netip.Addr
	for _, a := range e.Addrs {
		if a.Is6() {
			v6 = append(v6, a)
			continue
		}
		arp, sha := EthType(EthTypeARP), MAC(FieldARPSHA, e.MAC)
		pass(100, EthType(EthTypeIPv4), Addr(FieldIPSrc, a))
		pass(100, arp, sha, Addr(FieldARPSPA, a))
		// A probe before the address is taken (RFC 5227).
		pass(100, arp, sha, ARPOp(1), Addr(FieldARPSPA, netip.IPv4Unspecified()), Addr(FieldARPTPA, a))
	}
	if len(v6) == 0 {
		return
	}
	if ll := linkLocal(e.MAC); !slices.Contains(v6, ll) {
		v6 = append(v6, ll)
	}
	// Neighbour discovery in steps: the link-layer address is the VM's (the
	// frame lets it be left out), the target of an advertisement is too, then
	// the source as in any packet.
	again := func(priority uint16, done uint32, ts ...Term) {
		emit(TableSpoofGuard, priority, cookie, NewMatch(append(ts, port)...), drop, SetReg(RegND, done), Resubmit(uint8(TableSpoofGuard)))
	}
	again(240, ndDone, append(icmp6(icmp6NeighborSolic), RegIs(RegND, 0), MAC(FieldNDSLL, e.MAC))...)
	again(240, ndLinkLayer, append(icmp6(icmp6NeighborAdvert), RegIs(RegND, 0), MAC(FieldNDTLL, e.MAC))...)
	for _, a := range v6 {
		again(230, ndDone, append(icmp6(icmp6NeighborAdvert), RegIs(RegND, ndLinkLayer), Addr(FieldNDTarget, a))...)
		// Duplicate address detection (RFC 4862, 5.4).
		pass(210, append(icmp6(icmp6NeighborSolic), RegIs(RegND, ndDone), Addr(FieldIPv6Src, netip.IPv6Unspecified()), Addr(FieldNDTarget, a))...)
		pass(100, EthType(EthTypeIPv6), Addr(FieldIPv6Src, a))
	}
}

// linkLocal is the link-local address made of the MAC (RFC 4291, appendix A).
func linkLocal(m policy.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80,
		8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// floodChunk is the number of copies that are made in one go. Open vSwitch
// gives up on a packet after 4,096 resubmits, and a judged copy takes seven.
const floodChunk = 400

// floodFlows are the list of copies for a multicast frame in a network: one for
// each VM, then, with RegDst 0, the one for the infrastructure. That comes
// last because it may add a tag and changes in_port, which keeps the sender
// from getting its own frame.
func floodFlows(vlan uint16, ports []uint16, emit emitter) {
	slices.Sort(ports)
	cookie := newCookie(KindNetwork, uint64(vlan))
	network := RegIs(RegNetwork, uint32(vlan))
	chunks := slices.Collect(slices.Chunk(append(ports, 0), floodChunk))
	for i, chunk := range chunks {
		as := make([]Action, 0, 2*len(chunk)+2)
		for _, p := range chunk {
			as = append(as, SetReg(RegDst, uint32(p)), Resubmit(uint8(TableCopy)))
		}
		match := []Term{network}
		if len(chunks) > 1 {
			match = append(match, Metadata(uint64(i)))
		}
		if i == len(chunks)-1 {
			emit(TableFlood, 100, cookie, NewMatch(match...), drop, as...)
			break
		}
		as = append(as, Load(Whole(FieldMetadata), uint64(i+1)))
		emit(TableFlood, 100, cookie, NewMatch(match...), drop, append(as[:len(as):len(as)], Resubmit(uint8(TableFlood)))...)
		// Recirculation, for which tracking is the means, starts counting anew.
		for _, family := range families {
			emit(TableFlood, 110, cookie, with(match, family, RegIs(RegFlood, floodCopy)), drop,
				append(as[:len(as):len(as)], Track(Low(RegZone, 16), uint8(TableFlood)))...)
		}
	}
}
