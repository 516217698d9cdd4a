package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Table 4, role: which VM opened the connection and which VM answers it.

// role emits the frame of the table, which is all of it.
func (f frame) role() {
	t := flows.TableRole
	roles := func(orig, resp flows.Field) []flows.Action {
		return []flows.Action{
			flows.Move(flows.Whole(orig), flows.Whole(flows.RegOrig)),
			flows.Move(flows.Whole(resp), flows.Whole(flows.RegResp)),
		}
	}
	f.deny(t, roleInvalid, flows.NewMatch(flows.CT(flows.CTInv|flows.CTTrk, 0)), flows.CauseInvalid)
	known := func(priority uint16, ts ...flows.Term) {
		f.add(t, priority, with(ts, flows.CT(flows.CTTrk, flows.CTRpl)), int(flows.TableEgressEst), roles(flows.RegSrc, flows.RegDst)...)
		f.add(t, priority, with(ts, flows.CT(flows.CTTrk|flows.CTRpl, 0)), int(flows.TableEgressEst), roles(flows.RegDst, flows.RegSrc)...)
	}
	if f.userspace {
		for _, family := range families {
			known(roleKnown, family, flows.Unfragmented())
		}
		known(roleOwn, flows.RegIs(flows.RegND, flows.NDOwn))
		f.roleFragments()
	} else {
		known(roleKnown)
	}
	f.deny(t, tableMiss, flows.Match{}, flows.CauseInvalid)
}

// Fragments on the userspace datapath. The kernel's datapath puts datagrams
// together before anything looks at them.
//
// The userspace datapath holds fragments back in each ct() until their datagram
// is complete. Then it hands them out together with whatever packet is in ct() at
// that moment, 32 at a time, and those that waited in vain too: they go on with the
// registers of that packet. What is a fragment's own are its headers, and the zone,
// the state and the label of its datagram, unless it waited in vain. So registers
// are believed only after they were compared with these: in role, where fragments
// come out of the ct() of track and of commit. A fragment that comes out of the
// ct() of another packet's commit, or of the ct() of a long list of flooded copies,
// goes nowhere.

// roleFragments adds to role the comparison of a fragment with the registers. A
// fragment comes here with RegND below NDPiece.
func (f frame) roleFragments() {
	t := flows.TableRole
	piece := flows.RegIs(flows.RegND, flows.NDPiece)
	// Routers and hosts keep ICMP errors so short that they are never in pieces
	// (RFC 1812, 4.3.2.3, RFC 4443, 2.4), and only whole ones show their type.
	for _, family := range families {
		f.deny(t, roleRelated, flows.NewMatch(family, flows.Fragment(), flows.CT(flows.CTTrk|flows.CTRel, 0)), flows.CauseSpoof)
		f.add(t, rolePiece, flows.NewMatch(family, flows.Fragment(), flows.CT(flows.CTTrk, 0)), flows.Drop,
			flows.Move(flows.Whole(flows.FieldCTZone), flows.Low(flows.RegLocal, 16)), flows.SetReg(flows.RegND, flows.NDPiece), flows.Resubmit(uint8(t)))
	}
	// The zone is that of the registers, bit by bit, or the packet came from or to
	// another VM or another network.
	for bit := range 16 {
		one, zero := uint32(1)<<bit, flows.RegLacks
		f.deny(t, roleZone, flows.NewMatch(piece, flows.RegHas(flows.RegLocal, one), zero(flows.RegZone, one)), flows.CauseInvalid)
		f.deny(t, roleZone, flows.NewMatch(piece, zero(flows.RegLocal, one), flows.RegHas(flows.RegZone, one)), flows.CauseInvalid)
	}
	own := []flows.Action{flows.SetReg(flows.RegND, flows.NDOwn), flows.Resubmit(uint8(t))}
	f.add(t, roleOutside, flows.NewMatch(piece, outside), flows.Drop, own...)
	// spoof_guard sees no ports of a fragment, but here are those of the connection, at
	// least with the first. Without the first the others wait in vain in commit.
	for _, g := range []struct {
		ethType, port uint16
	}{{flows.EthTypeIPv4, 68}, {flows.EthTypeIPv6, 546}} {
		guard := func(ts ...flows.Term) {
			f.deny(t, roleGuard, with(ts, piece, flows.EthType(g.ethType), flows.Byte(flows.FieldCTNWProto, flows.ProtoUDP)), flows.CauseSpoof)
		}
		asked, answered := flows.CT(flows.CTTrk, flows.CTRpl|flows.CTInv), flows.CT(flows.CTTrk|flows.CTRpl, flows.CTInv)
		guard(asked, flows.Port(flows.FieldCTTPDst, g.port, 0xffff))
		guard(answered, flows.Port(flows.FieldCTTPSrc, g.port, 0xffff))
	}
	f.deny(t, roleForeign, flows.NewMatch(piece), flows.CauseInvalid)
}

// roleEndpoint emits the flow that knows the fragments of a VM: classify has let
// none with the MAC of another in.
func roleEndpoint(e *policy.Endpoint, cookie flows.Cookie, emit flows.Emitter) {
	emit(flows.TableRole, roleSender, cookie, flows.NewMatch(flows.RegIs(flows.RegND, flows.NDPiece),
		flows.RegIs(flows.RegSrc, uint32(e.OFPort)), flows.EthSrc(e.MAC)), flows.Drop,
		flows.SetReg(flows.RegND, flows.NDOwn), flows.Resubmit(uint8(flows.TableRole)))
}

// strayFragments denies, in a table where ct() goes on, the fragments that came there
// with another packet and were not compared with its registers.
func (f frame) strayFragments(t flows.Table, priority uint16, ts ...flows.Term) {
	if !f.userspace {
		return
	}
	for _, family := range families {
		f.deny(t, priority, with(ts, family, flows.Fragment(), flows.RegLacks(flows.RegND, flows.NDOwn)), flows.CauseInvalid)
	}
}
