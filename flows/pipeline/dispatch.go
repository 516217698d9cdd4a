package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Table 2, dispatch: whom a packet is for.

// dispatch emits the frame of the table.
func (f frame) dispatch() {
	t := flows.TableDispatch
	// Multicast and broadcast from the infrastructure: NORMAL forwards the frame
	// to the other infrastructure ports, and VMs get copies.
	direct := [][]flows.Term{
		{flows.EthType(flows.EthTypeARP)},
		icmp6(icmp6MLDQuery), icmp6(icmp6RouterAdvert), icmp6(icmp6NeighborSolic), icmp6(icmp6NeighborAdvert),
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

	// From a VM. A request that only servers and routers answer goes to the
	// infrastructure alone.
	up := [][]flows.Term{{flows.EthType(flows.EthTypeRARP)}, udp(flows.EthTypeIPv4, 68, 67), udp(flows.EthTypeIPv6, 546, 547)}
	for _, kind := range []uint8{icmp6RouterSolicit, icmp6MLDReport, icmp6MLDDone, icmp6MLDv2Report} {
		up = append(up, icmp6(kind))
	}
	for _, ts := range up {
		f.add(t, dispatchOutServices, with(ts), int(flows.TableDeliver))
	}
	for _, ts := range [][]flows.Term{{flows.EthType(flows.EthTypeARP)}, icmp6(icmp6NeighborSolic), icmp6(icmp6NeighborAdvert)} {
		f.add(t, dispatchOutNeighbour, with(ts, flows.Multicast()), int(flows.TableFlood), flows.SetReg(flows.RegFlood, flows.FloodDirect))
	}
	f.add(t, dispatchOutMulticast, flows.NewMatch(flows.Multicast()), int(flows.TableTrack), flows.SetReg(flows.RegFlood, flows.FloodJudged))
	f.add(t, tableMiss, flows.Match{}, int(flows.TableTrack))
}

// dispatchEndpoint emits the flow that finds a VM by its VLAN and MAC.
func dispatchEndpoint(e *policy.Endpoint, cookie flows.Cookie, emit flows.Emitter) {
	emit(flows.TableDispatch, dispatchVM, cookie, flows.NewMatch(flows.RegIs(flows.RegNetwork, uint32(e.Tag)), flows.EthDst(e.MAC)),
		int(flows.TableTrack), flows.SetReg(flows.RegDst, uint32(e.OFPort)))
}
