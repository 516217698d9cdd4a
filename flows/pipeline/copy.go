package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
)

// Table 17, copy: what becomes of one flooded copy. The copy with RegDst 0 is for
// the infrastructure, and is dropped if the frame came from there. Copies go back
// to tables before this one, by resubmit, because goto_table only goes forward.

// copy emits the frame of the table, which is all of it.
func (f frame) copy() {
	t := flows.TableCopy
	infra := flows.RegIs(flows.RegDst, 0)
	f.add(t, copyBack, flows.NewMatch(infra, outside), flows.Drop)
	f.add(t, copyOutside, flows.NewMatch(infra), flows.Drop, flows.Resubmit(uint8(flows.TableDeliver)))
	f.add(t, copyVM, flows.NewMatch(flows.RegIs(flows.RegFlood, flows.FloodCopy)), flows.Drop,
		flows.Move(flows.Whole(flows.RegDst), flows.Whole(flows.RegResp)), flows.Resubmit(uint8(flows.TableIngressEst)))
	f.add(t, copyVM, flows.NewMatch(flows.RegIs(flows.RegFlood, flows.FloodDirect)), flows.Drop, flows.Resubmit(uint8(flows.TableDeliver)))
	f.add(t, copyVM, flows.NewMatch(flows.RegIs(flows.RegFlood, flows.FloodTrack)), flows.Drop, flows.Resubmit(uint8(flows.TableTrack)))
}
