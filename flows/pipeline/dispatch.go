package pipeline

import (
	"net/netip"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Table 2, dispatch: whom a packet is for.

// dispatch emits the frame of the table.
func (f frame) dispatch() {
	t := flows.TableDispatch
	// Neighbour and listener discovery from the infrastructure is what it says only
	// if it comes from the link. Otherwise rules judge it. The hop limit is looked
	// at in a step of its own, so that no other packet's megaflow depends on it.
	again := func(priority uint16, step uint32, ts ...flows.Term) {
		f.add(t, priority, flows.NewMatch(append(ts, outside)...), flows.Drop, flows.SetReg(flows.RegND, step), flows.Resubmit(uint8(t)))
	}
	hops := func(n uint8) flows.Term { return flows.Byte(flows.FieldIPTTL, n) }
	fromLink := flows.Prefix(flows.FieldIPv6Src, linkLocalIPv6)
	for kind, step := range map[uint8]uint32{
		icmp6NeighborSolic: flows.NDDone, icmp6NeighborAdvert: flows.NDDone, icmp6RouterAdvert: flows.NDRouter, icmp6MLDQuery: flows.NDListener,
	} {
		again(dispatchInND, step, append(icmp6(kind), flows.RegIs(flows.RegND, 0))...)
	}
	again(dispatchInHops, flows.NDLocal, ndStep(flows.NDDone, hops(hopsND))...)
	again(dispatchInHops, flows.NDLocal, ndStep(flows.NDRouter, hops(hopsND), fromLink)...)
	again(dispatchInHops, flows.NDLocal, ndStep(flows.NDListener, hops(hopsMLD), fromLink)...)

	// Multicast and broadcast from the infrastructure: NORMAL forwards the frame
	// to the other infrastructure ports, and VMs get copies.
	direct := [][]flows.Term{
		{flows.EthType(flows.EthTypeARP)}, ndStep(flows.NDLocal),
		udp(flows.EthTypeIPv4, 67, 68), udp(flows.EthTypeIPv6, 547, 546),
	}
	for _, ts := range direct {
		f.add(t, dispatchInDirect, with(ts, outside, flows.Multicast()), int(flows.TableFlood),
			flows.Normal(), flows.SetReg(flows.RegFlood, flows.FloodDirect))
	}
	for _, ts := range [][]flows.Term{
		{flows.EthType(flows.EthTypeIPv4), flows.Prefix(flows.FieldIPDst, multicastIPv4)},
		{flows.EthType(flows.EthTypeIPv4), flows.Addr(flows.FieldIPDst, broadcastIPv4)},
		{flows.EthType(flows.EthTypeIPv6), flows.Prefix(flows.FieldIPv6Dst, multicastIPv6)},
	} {
		f.add(t, dispatchInJudged, with(ts, outside, flows.Multicast()), int(flows.TableTrack),
			flows.Normal(), flows.SetReg(flows.RegFlood, flows.FloodJudged))
	}
	for _, family := range families {
		f.add(t, dispatchInTrack, flows.NewMatch(family, outside, flows.Multicast()), int(flows.TableFlood),
			flows.Normal(), flows.SetReg(flows.RegFlood, flows.FloodTrack))
	}
	f.add(t, dispatchIn, flows.NewMatch(outside), flows.Drop, flows.Normal())

	// From a VM. IGMP to all systems is a query, which only routers send. Open
	// vSwitch cannot match the type.
	f.deny(t, dispatchOutQuery, flows.NewMatch(flows.EthType(flows.EthTypeIPv4), flows.IPProto(flows.ProtoIGMP),
		flows.Addr(flows.FieldIPDst, allSystemsIPv4)), flows.CauseSpoof)
	// A request that only servers and routers answer goes to the
	// infrastructure alone. Rules judge the asking of a single server, unless the
	// server is named.
	up := [][]flows.Term{
		{flows.EthType(flows.EthTypeRARP)},
		append(udp(flows.EthTypeIPv4, 68, 67), flows.Addr(flows.FieldIPDst, broadcastIPv4)),
		append(udp(flows.EthTypeIPv6, 546, 547), flows.Addr(flows.FieldIPv6Dst, dhcpServersIPv6)),
		append(icmp6(icmp6RouterSolicit), flows.Prefix(flows.FieldIPv6Dst, linkMulticastIPv6)),
	}
	for _, kind := range []uint8{icmp6MLDReport, icmp6MLDDone, icmp6MLDv2Report} {
		up = append(up, append(icmp6(kind), flows.Prefix(flows.FieldIPv6Dst, multicastIPv6)))
	}
	for _, a := range f.dhcp {
		if a.Is4() {
			up = append(up, append(udp(flows.EthTypeIPv4, 68, 67), flows.Addr(flows.FieldIPDst, a)))
		} else {
			up = append(up, append(udp(flows.EthTypeIPv6, 546, 547), flows.Addr(flows.FieldIPv6Dst, a)))
		}
	}
	for _, ts := range up {
		f.add(t, dispatchOutServices, with(ts), int(flows.TableDeliver))
	}
	link := flows.Prefix(flows.FieldIPv6Dst, linkMulticastIPv6)
	for _, ts := range [][]flows.Term{{flows.EthType(flows.EthTypeARP)}, append(icmp6(icmp6NeighborSolic), link), append(icmp6(icmp6NeighborAdvert), link)} {
		f.add(t, dispatchOutNeighbour, with(ts, flows.Multicast()), int(flows.TableFlood), flows.SetReg(flows.RegFlood, flows.FloodDirect))
	}
	// Neighbour discovery does not leave the link, or it would be a way to anywhere.
	f.add(t, dispatchOutLink, with(ndStep(flows.NDLocal, flows.Prefix(flows.FieldIPv6Dst, linkLocalIPv6))), int(flows.TableDeliver))
	f.deny(t, dispatchOutBeyond, with(ndStep(flows.NDLocal)), flows.CauseSpoof)
	f.add(t, dispatchOutMulticast, flows.NewMatch(flows.Multicast()), int(flows.TableTrack), flows.SetReg(flows.RegFlood, flows.FloodJudged))
	f.add(t, tableMiss, flows.Match{}, int(flows.TableTrack))
}

// dispatchEndpoint emits the flow that finds a VM by its VLAN and MAC.
func dispatchEndpoint(e *policy.Endpoint, cookie flows.Cookie, emit flows.Emitter) {
	emit(flows.TableDispatch, dispatchVM, cookie, flows.NewMatch(flows.RegIs(flows.RegNetwork, uint32(e.Tag)), flows.EthDst(e.MAC)),
		int(flows.TableTrack), flows.SetReg(flows.RegDst, uint32(e.OFPort)))
	// The link of an address is its /64 (RFC 4291, 2.5.4): there the VM looks for
	// neighbours, and answers them.
	seen := map[netip.Prefix]bool{}
	for _, a := range e.Addrs {
		if link, err := a.Prefix(64); a.Is6() && err == nil && !seen[link] {
			seen[link] = true
			emit(flows.TableDispatch, dispatchOutLink, cookie, with(ndStep(flows.NDLocal,
				flows.RegIs(flows.RegSrc, uint32(e.OFPort)), flows.Prefix(flows.FieldIPv6Dst, link))), int(flows.TableDeliver))
		}
	}
}
