package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
)

// Table 14, deliver: to the VM, or towards the infrastructure.

// deliver emits the frame of the table, which is all of it.
func (f frame) deliver() {
	t := flows.TableDeliver
	f.strayFragments(t, deliverFragment)
	if f.userspace { // a packet that is committed is looked at once more
		f.deny(t, deliverInvalid, flows.NewMatch(flows.CT(flows.CTTrk|flows.CTInv, 0)), flows.CauseInvalid)
	}
	// Only a packet that opens a connection is for many. An answer or an ICMP
	// error has one addressee, which is outside.
	judged := flows.RegIs(flows.RegFlood, flows.FloodJudged)
	f.add(t, deliverFlood, flows.NewMatch(judged, flows.CT(flows.CTTrk, flows.CTRpl|flows.CTRel)), int(flows.TableFlood),
		flows.SetReg(flows.RegFlood, flows.FloodCopy))
	f.add(t, deliverFloodOutside, flows.NewMatch(judged, outside), flows.Drop)

	// A packet for the infrastructure is given to NORMAL as one of the
	// controller's: NORMAL then takes the VLAN from the tag and learns nothing
	// about the VM's port, so that no frame ever reaches a VM by way of NORMAL.
	infra := flows.RegIs(flows.RegDst, 0)
	f.add(t, deliverBack, flows.NewMatch(infra, outside), flows.Drop, flows.Normal())
	f.add(t, deliverUntagged, flows.NewMatch(infra, flows.RegIs(flows.RegNetwork, 0)), flows.Drop, flows.LoadInPort(), flows.Normal())
	f.add(t, deliverTagged, flows.NewMatch(infra), flows.Drop, flows.LoadInPort(), flows.PushVLAN(),
		flows.Move(flows.Low(flows.RegNetwork, 12), flows.Whole(flows.FieldVLANVID)), flows.Normal())
	// To a VM, always without tag.
	f.add(t, deliverPop, flows.NewMatch(flows.Tagged()), flows.Drop, flows.PopVLAN(), flows.OutputReg(flows.RegDst))
	f.add(t, tableMiss, flows.Match{}, flows.Drop, flows.OutputReg(flows.RegDst))
}
