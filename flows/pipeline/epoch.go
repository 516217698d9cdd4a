package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
)

// Tables 6 and 10, egress_epoch and ingress_epoch: whether the connection was
// judged by the rules that its class has now. If not, the tables that judge it are
// prepared: RegVPC, RegPorts.

// epoch emits the frame of the side's table.
func (f frame) epoch(s side) { f.deny(s.epoch(), tableMiss, flows.Match{}, s.cause()) }

// Class emits the flows of a class: they recognise the connections whose verdict
// is up to date, and prepare the others to be judged. number is the number of the
// class and vpc the number of its VPC; the fingerprints are those of what the
// rules of the class allow, by policy.Direction.
func Class(number, vpc uint32, epochs flows.Epochs, fingerprints [2]uint64, emit flows.Emitter) {
	const all = 0xffffffff
	for _, s := range sides {
		class, load := flows.RegIs(flows.RegLocal, number), flows.SetReg(s.epochReg(), epochs[s.Direction])
		emit(s.epoch(), EpochCurrent, flows.NewCookie(flows.KindEpoch, fingerprints[s.Direction]),
			flows.NewMatch(class, flows.RegLacks(flows.RegCommit, 1<<s.stale().Offset),
				flows.CTLabel(s.label(0, epochs[s.Direction]), s.label(0, all))), s.allowed(), load)
		emit(s.epoch(), epochStale, flows.NewCookie(flows.KindEpoch, 0), flows.NewMatch(class), int(s.remote()),
			load, flows.Load(s.stale(), 1), flows.SetReg(flows.RegVPC, vpc), flows.Resubmit(uint8(flows.TableService)))
	}
}
