package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
)

// Tables 5 and 9, egress_est and ingress_est: which class the local VM port is in,
// and whether the connection is the port's own. The connection may be another
// port's, because a guest may send its packets to another VM and an address may
// move.

// est emits the frame of the side's table.
func (f frame) est(s side) {
	f.add(s.est(), estNoVM, flows.NewMatch(flows.RegIs(s.port(), 0)), s.allowed())
	// Only an end of a connection speaks about it with ICMP errors. They carry the
	// connection's addresses, so that rules would judge the wrong sender.
	f.deny(s.est(), estRelated, flows.NewMatch(flows.CT(flows.CTTrk|flows.CTRel, 0)), flows.CauseInvalid)
	f.deny(s.est(), tableMiss, flows.Match{}, s.cause())
}

// ClassOfPort emits the flows that say which class a VM port is in.
func ClassOfPort(ofport uint16, class uint32, emit flows.Emitter) {
	const all = 0xffffffff
	p := uint32(ofport)
	for _, s := range sides {
		port, load := flows.RegIs(s.port(), p), flows.SetReg(flows.RegLocal, class)
		cookie := flows.NewCookie(flows.KindPort, uint64(p))
		emit(s.est(), EstOwn, cookie, flows.NewMatch(port, flows.CTLabel(s.label(p, 0), s.label(all, 0))), int(s.epoch()), load)
		emit(s.est(), estOther, cookie, flows.NewMatch(port), int(s.epoch()), load, flows.Load(s.stale(), 1))
	}
}
