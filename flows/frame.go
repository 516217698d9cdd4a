package flows

import (
	"net/netip"

	"github.com/ovs-sg/ovs-sg/policy"
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

func icmp6(t uint8) []Term {
	return []Term{EthType(EthTypeIPv6), IPProto(ProtoICMPv6), Byte(FieldICMPv6Type, t)}
}

func udp(ethType uint16, src, dst int) []Term {
	ts := []Term{EthType(ethType), IPProto(ProtoUDP)}
	if src >= 0 {
		ts = append(ts, Port(FieldUDPSrc, uint16(src), 0xffff))
	}
	return append(ts, Port(FieldUDPDst, uint16(dst), 0xffff))
}

// families are those that connection tracking takes.
var families = []Term{EthType(EthTypeIPv4), EthType(EthTypeIPv6)}

func with(ts []Term, more ...Term) Match { return NewMatch(append(ts[:len(ts):len(ts)], more...)...) }

// pipeline adds the flows that are there whatever the policy.
func (c *compiler) pipeline() {
	c.frameClassify()
	c.frameSpoofGuard()
	c.frameDispatch()
	c.frameTrack()
	c.frameJudge()
	c.frameDeliver()
}

// frame adds a flow of the fixed frame.
func (c *compiler) frame(t Table, priority uint16, match Match, next int, as ...Action) {
	c.add(t, priority, newCookie(KindPipeline, 0), match, next, as...)
}

// deny adds a flow of the fixed frame that denies.
func (c *compiler) deny(t Table, priority uint16, match Match, why Cause) {
	c.frame(t, priority, match, int(TableDeny), SetReg(RegCause, uint32(why)))
}

func (c *compiler) frameClassify() {
	// A packet that somebody tracked before it came here is judged anew.
	c.frame(TableClassify, 200, NewMatch(CT(CTTrk, 0)), drop, CTClear(), Resubmit(uint8(TableClassify)))
	c.add(TableClassify, 0, newCookie(KindPipeline, uint64(c.in.Mark)), Match{}, int(TableDeny), SetReg(RegCause, uint32(CauseUnidentified)))
	c.frame(TableDeny, 0, Match{}, drop)
}

func (c *compiler) frameSpoofGuard() {
	t := TableSpoofGuard
	// What only servers and routers send. DHCP clients take an answer from
	// any source port, so the destination port alone decides.
	for _, ts := range [][]Term{
		udp(EthTypeIPv4, -1, 68), udp(EthTypeIPv6, -1, 546),
		icmp6(icmp6RouterAdvert), icmp6(icmp6Redirect), icmp6(icmp6MLDQuery),
	} {
		c.deny(t, 300, with(ts), CauseSpoof)
	}
	// Neighbour discovery is looked at in steps, see spoofGuard. A link-layer
	// address that is left out shows as zero.
	again := func(kind uint8, link Field, done uint32) {
		c.frame(t, 220, with(icmp6(kind), RegIs(RegND, 0), MAC(link, policy.MAC{})), drop, SetReg(RegND, done), Resubmit(uint8(t)))
	}
	again(icmp6NeighborSolic, FieldNDSLL, ndDone)
	again(icmp6NeighborAdvert, FieldNDTLL, ndLinkLayer)
	// Nor is there a target in what Open vSwitch cannot read, such as an option
	// that comes twice.
	c.deny(t, 260, with(icmp6(icmp6NeighborSolic), Addr(FieldNDTarget, netip.IPv6Unspecified())), CauseSpoof)
	c.deny(t, 200, with(icmp6(icmp6NeighborSolic), RegIs(RegND, 0)), CauseSpoof)
	c.deny(t, 200, with(icmp6(icmp6NeighborAdvert), RegIs(RegND, 0)), CauseSpoof)
	c.deny(t, 200, with(icmp6(icmp6NeighborAdvert), RegIs(RegND, ndLinkLayer)), CauseSpoof)
	// What a VM sends before it has an address, or without using one.
	c.frame(t, 100, with(udp(EthTypeIPv4, 68, 67),
		Addr(FieldIPSrc, netip.IPv4Unspecified()), Addr(FieldIPDst, broadcastIPv4)), int(TableDispatch))
	for _, kind := range []uint8{icmp6RouterSolicit, icmp6MLDReport, icmp6MLDDone, icmp6MLDv2Report} {
		c.frame(t, 100, with(icmp6(kind), Addr(FieldIPv6Src, netip.IPv6Unspecified())), int(TableDispatch))
	}
	// RARP "request reverse", which hypervisors send for a VM that moved.
	c.frame(t, 100, NewMatch(EthType(EthTypeRARP), EthDst(ethBroadcast), ARPOp(3)), int(TableDispatch))
	c.deny(t, 0, Match{}, CauseSpoof)
}

func (c *compiler) frameDispatch() {
	t := TableDispatch
	outside := RegIs(RegSrc, 0)
	// Multicast and broadcast from the infrastructure: among the
	// infrastructure ports it is the switch's business; VMs get copies.
	direct := [][]Term{
		{EthType(EthTypeARP)},
		icmp6(icmp6MLDQuery), icmp6(icmp6RouterAdvert), icmp6(icmp6NeighborSolic), icmp6(icmp6NeighborAdvert),
		udp(EthTypeIPv4, 67, 68), udp(EthTypeIPv6, 547, 546),
	}
	for _, ts := range direct {
		c.frame(t, 96, with(ts, outside, Multicast()), int(TableFlood), Normal(), SetReg(RegFlood, floodDirect))
	}
	for _, ts := range [][]Term{
		{EthType(EthTypeIPv4), Prefix(FieldIPDst, multicastIPv4)},
		{EthType(EthTypeIPv4), Addr(FieldIPDst, broadcastIPv4)},
		{EthType(EthTypeIPv6), Prefix(FieldIPv6Dst, multicastIPv6)},
	} {
		c.frame(t, 94, with(ts, outside, Multicast()), int(TableTrack), Normal(), SetReg(RegFlood, floodJudged))
	}
	for _, family := range families {
		c.frame(t, 92, NewMatch(family, outside, Multicast()), int(TableFlood), Normal(), SetReg(RegFlood, floodTrack))
	}
	c.frame(t, 90, NewMatch(outside), drop, Normal())

	// From a VM. What only servers and routers are to answer goes towards the
	// infrastructure alone.
	up := [][]Term{{EthType(EthTypeRARP)}, udp(EthTypeIPv4, 68, 67), udp(EthTypeIPv6, 546, 547)}
	for _, kind := range []uint8{icmp6RouterSolicit, icmp6MLDReport, icmp6MLDDone, icmp6MLDv2Report} {
		up = append(up, icmp6(kind))
	}
	for _, ts := range up {
		c.frame(t, 86, with(ts), int(TableDeliver))
	}
	for _, ts := range [][]Term{{EthType(EthTypeARP)}, icmp6(icmp6NeighborSolic), icmp6(icmp6NeighborAdvert)} {
		c.frame(t, 84, with(ts, Multicast()), int(TableFlood), SetReg(RegFlood, floodDirect))
	}
	c.frame(t, 82, NewMatch(Multicast()), int(TableTrack), SetReg(RegFlood, floodJudged))
	c.frame(t, 0, Match{}, int(TableTrack))
}

func (c *compiler) frameTrack() {
	t := TableTrack
	outside := RegIs(RegSrc, 0)
	for _, ts := range [][]Term{
		{EthType(EthTypeARP)}, icmp6(icmp6NeighborSolic), icmp6(icmp6NeighborAdvert),
		append(icmp6(icmp6RouterAdvert), outside), append(icmp6(icmp6MLDQuery), outside),
		append(udp(EthTypeIPv4, 67, 68), outside), append(udp(EthTypeIPv6, 547, 546), outside),
	} {
		c.frame(t, 200, with(ts), int(TableDeliver))
	}
	track := Track(Low(RegZone, 16), uint8(TableRole))
	for _, family := range families {
		c.frame(t, 130, NewMatch(family, outside, RegIs(RegFlood, floodJudged)), drop, SetReg(RegZone, zoneFlood), track)
		c.frame(t, 120, NewMatch(family, outside), drop, Move(Whole(RegDst), Whole(RegZone)), track)
		c.frame(t, 110, NewMatch(family, RegIs(RegDst, 0)), drop, Move(Whole(RegSrc), Whole(RegZone)), track)
		c.frame(t, 100, NewMatch(family), drop, SetReg(RegZone, zoneLocal), Move(Low(RegNetwork, 12), Low(RegZone, 12)), track)
	}
	c.deny(t, 0, Match{}, CauseEtherType)
}

// frameJudge adds what the tables from role to commit have in common for all
// ports.
func (c *compiler) frameJudge() {
	roles := func(orig, resp Field) []Action {
		return []Action{Move(Whole(orig), Whole(RegOrig)), Move(Whole(resp), Whole(RegResp))}
	}
	c.deny(TableRole, 110, NewMatch(CT(CTInv|CTTrk, 0)), CauseInvalid)
	c.frame(TableRole, 100, NewMatch(CT(CTTrk, CTRpl)), int(TableEgressEst), roles(RegSrc, RegDst)...)
	c.frame(TableRole, 100, NewMatch(CT(CTTrk|CTRpl, 0)), int(TableEgressEst), roles(RegDst, RegSrc)...)
	c.deny(TableRole, 0, Match{}, CauseInvalid)

	for _, s := range sides {
		c.frame(s.est(), 120, NewMatch(RegIs(s.port(), 0)), int(s.allowed()))
		c.deny(s.est(), 0, Match{}, s.cause())
		c.deny(s.epoch(), 0, Match{}, s.cause())
		c.frame(s.remote(), 0, Match{}, int(s.rules()), SetReg(RegRemote, 0))
		c.deny(s.rules(), 0, Match{}, s.cause())
	}

	// A flooded copy has no connection of its own, and a related packet (an
	// ICMP error) is none; what came by multicast from outside has no zone.
	c.frame(TableCommit, 120, NewMatch(RegIs(RegFlood, floodCopy)), int(TableDeliver))
	c.frame(TableCommit, 120, NewMatch(RegIs(RegZone, zoneFlood)), int(TableDeliver))
	c.frame(TableCommit, 115, NewMatch(RegIs(RegCommit, 0)), int(TableDeliver))
	label, zone := Move(Whole(FieldXXReg1), Whole(FieldCTLabel)), Low(RegZone, 16)
	for _, family := range families {
		match := NewMatch(family, CT(CTTrk, CTRel))
		if c.in.Userspace {
			c.frame(TableCommit, 100, match, drop, CommitTrack(zone, uint8(TableDeliver), label))
			continue
		}
		c.frame(TableCommit, 100, match, int(TableDeliver), Commit(zone, label))
		// The commit forgets the state and the tuple, which copies need.
		c.frame(TableCommit, 110, NewMatch(family, CT(CTTrk, CTRel), RegIs(RegFlood, floodJudged)),
			drop, CommitTrack(zone, uint8(TableDeliver), label))
	}
	c.frame(TableCommit, 0, Match{}, int(TableDeliver))
	if c.in.Userspace {
		c.frameFragments()
	}
}

// frameFragments adds what the userspace datapath needs for fragments. The
// kernel's puts datagrams together before anything looks at them.
//
// It holds fragments back in each ct() until their datagram is complete, and
// lets go of those that wait in vain, marked invalid, together with whatever
// packet comes next. So what was committed is looked at once more.
//
// Before Open vSwitch 3.1.7 it does not show the connection's ports with a
// later fragment. So a later fragment that no rule allows goes on to the
// commit all the same: there it is held back until the first fragment comes,
// which it does only if the rules allow the connection. (Not so a flooded or
// a related one, which is never committed.)
func (c *compiler) frameFragments() {
	c.deny(TableDeliver, 200, NewMatch(CT(CTTrk|CTInv, 0)), CauseInvalid)
	for _, s := range sides {
		for _, family := range families {
			c.frame(s.rules(), 10, NewMatch(family, LaterFragment(), CT(CTTrk, CTRel), RegIs(RegFlood, floodNone)), int(s.allowed()))
		}
	}
}

func (c *compiler) frameDeliver() {
	// Only what opens a connection is for many; an answer or an ICMP error
	// has one addressee, outside.
	judged := RegIs(RegFlood, floodJudged)
	c.frame(TableDeliver, 140, NewMatch(judged, CT(CTTrk, CTRpl|CTRel)), int(TableFlood), SetReg(RegFlood, floodCopy))
	c.frame(TableDeliver, 130, NewMatch(judged, RegIs(RegSrc, 0)), drop)

	// Towards the infrastructure, as a packet of the controller's: NORMAL then
	// takes the VLAN from the tag and learns nothing about the VM's port, so
	// that no frame ever reaches a VM by way of NORMAL.
	c.frame(TableDeliver, 120, NewMatch(RegIs(RegDst, 0), RegIs(RegSrc, 0)), drop, Normal())
	c.frame(TableDeliver, 110, NewMatch(RegIs(RegDst, 0), RegIs(RegNetwork, 0)), drop, LoadInPort(), Normal())
	c.frame(TableDeliver, 100, NewMatch(RegIs(RegDst, 0)), drop, LoadInPort(), PushVLAN(),
		Move(Low(RegNetwork, 12), Whole(FieldVLANVID)), Normal())
	// To a VM, always without tag.
	c.frame(TableDeliver, 90, NewMatch(Tagged()), drop, PopVLAN(), OutputReg(RegDst))
	c.frame(TableDeliver, 0, Match{}, drop, OutputReg(RegDst))

	// One flooded copy; RegDst 0 is the one for the infrastructure, which
	// had its own already if the frame came from there. These go back, which
	// goto_table cannot.
	c.frame(TableCopy, 120, NewMatch(RegIs(RegDst, 0), RegIs(RegSrc, 0)), drop)
	c.frame(TableCopy, 110, NewMatch(RegIs(RegDst, 0)), drop, Resubmit(uint8(TableDeliver)))
	c.frame(TableCopy, 100, NewMatch(RegIs(RegFlood, floodCopy)), drop, Move(Whole(RegDst), Whole(RegResp)), Resubmit(uint8(TableIngressEst)))
	c.frame(TableCopy, 100, NewMatch(RegIs(RegFlood, floodDirect)), drop, Resubmit(uint8(TableDeliver)))
	c.frame(TableCopy, 100, NewMatch(RegIs(RegFlood, floodTrack)), drop, Resubmit(uint8(TableTrack)))
	c.frame(TableFlood, 0, Match{}, drop)
	c.frame(TableService, 0, Match{}, drop)
}
