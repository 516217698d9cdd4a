package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
)

// Table 13, commit: the epochs are remembered in the connection.

// commit emits the frame of the table, which is all of it.
func (f frame) commit() {
	t := flows.TableCommit
	// Three kinds of packets are not committed: a flooded copy, which has no
	// connection of its own; a related packet (an ICMP error), which opens none;
	// and multicast from outside, which has no zone.
	f.add(t, commitNever, flows.NewMatch(flows.RegIs(flows.RegFlood, flows.FloodCopy)), int(flows.TableDeliver))
	f.add(t, commitNever, flows.NewMatch(flows.RegHas(flows.RegZone, flows.ZoneFlood)), int(flows.TableDeliver))
	f.add(t, commitCurrent, flows.NewMatch(flows.RegIs(flows.RegCommit, 0)), int(flows.TableDeliver))
	label, zone := flows.Move(flows.Whole(flows.FieldXXReg1), flows.Whole(flows.FieldCTLabel)), flows.Low(flows.RegZone, 16)
	if f.userspace {
		// A fragment waits here for its datagram, then role looks at it once more.
		f.add(t, commitPassed, flows.NewMatch(flows.RegIs(flows.RegCommit, flows.CommitPassed)), int(flows.TableDeliver))
		f.deny(t, commitAgain, flows.NewMatch(flows.RegHas(flows.RegCommit, flows.CommitPassed)), flows.CauseInvalid)
		for _, family := range families {
			f.add(t, commitFragment, flows.NewMatch(family, flows.Fragment(), flows.CT(flows.CTTrk, flows.CTRel), flows.RegLacks(flows.RegCommit, flows.CommitPassed)), flows.Drop,
				flows.SetReg(flows.RegND, 0), flows.SetReg(flows.RegCommit, flows.CommitPassed), flows.CommitTrack(zone, uint8(flows.TableRole), label))
		}
	}
	for _, family := range families {
		match := flows.NewMatch(family, flows.CT(flows.CTTrk, flows.CTRel))
		if f.userspace { // deliver denies the fragments that come along, see strayFragments
			f.add(t, commitStale, match, flows.Drop, flows.CommitTrack(zone, uint8(flows.TableDeliver), label))
			continue
		}
		f.add(t, commitStale, match, int(flows.TableDeliver), flows.Commit(zone, label))
		// The commit forgets the state and the tuple, which copies need.
		f.add(t, commitJudged, flows.NewMatch(family, flows.CT(flows.CTTrk, flows.CTRel), flows.RegIs(flows.RegFlood, flows.FloodJudged)),
			flows.Drop, flows.CommitTrack(zone, uint8(flows.TableDeliver), label))
	}
	f.add(t, tableMiss, flows.Match{}, int(flows.TableDeliver))
}
