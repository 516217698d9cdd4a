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
	f.add(t, commitNever, flows.NewMatch(flows.RegIs(flows.RegZone, flows.ZoneFlood)), int(flows.TableDeliver))
	f.add(t, commitCurrent, flows.NewMatch(flows.RegIs(flows.RegCommit, 0)), int(flows.TableDeliver))
	label, zone := flows.Move(flows.Whole(flows.FieldXXReg1), flows.Whole(flows.FieldCTLabel)), flows.Low(flows.RegZone, 16)
	for _, family := range families {
		match := flows.NewMatch(family, flows.CT(flows.CTTrk, flows.CTRel))
		if f.userspace { // see fragments
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
