package pipeline

import (
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Table 0, classify: whose port a packet came in at.

// classify emits the frame of the table. The cookie of the last flow keeps the
// highest epoch for a restart.
func (f frame) classify(highestEpoch uint32) {
	// A packet that was tracked before it came here is judged anew.
	f.add(flows.TableClassify, classifyTracked, flows.NewMatch(flows.CT(flows.CTTrk, 0)), flows.Drop,
		flows.CTClear(), flows.Resubmit(uint8(flows.TableClassify)))
	f.emit(flows.TableClassify, tableMiss, flows.NewCookie(flows.KindPipeline, uint64(highestEpoch)), flows.Match{},
		int(flows.TableDeny), flows.SetReg(flows.RegCause, uint32(flows.CauseUnidentified)))
}

// classifyInfra emits the VLANs of an infrastructure port.
func classifyInfra(p flows.InfraPort, emit flows.Emitter) {
	in := func(priority uint16, vlan flows.Term, as ...flows.Action) {
		emit(flows.TableClassify, priority, flows.NewCookie(flows.KindInfra, uint64(p.OFPort)),
			flows.NewMatch(flows.InPort(p.OFPort), vlan), int(flows.TableDispatch), as...)
	}
	switch {
	case p.Native != 0:
		in(classifyNative, flows.NoVLAN(), flows.SetReg(flows.RegNetwork, uint32(p.Native)))
	case len(p.Trunks) == 0 || slices.Contains(p.Trunks, 0):
		in(classifyNative, flows.NoVLAN())
	}
	switch {
	case p.Access:
	case len(p.Trunks) == 0:
		in(classifyPort, flows.Tagged(), flows.Move(flows.Whole(flows.FieldVLANVID), flows.Low(flows.RegNetwork, 12)))
	default:
		for _, vlan := range p.Trunks {
			if vlan != 0 {
				in(classifyPort, flows.VLAN(vlan), flows.SetReg(flows.RegNetwork, uint32(vlan)))
			}
		}
	}
}

// classifyEndpoint emits the flow of a VM port.
func classifyEndpoint(e *policy.Endpoint, cookie flows.Cookie, emit flows.Emitter) {
	p := uint32(e.OFPort)
	as := []flows.Action{flows.SetReg(flows.RegSrc, p)}
	if e.Tag != 0 {
		as = append(as, flows.SetReg(flows.RegNetwork, uint32(e.Tag)))
	}
	emit(flows.TableClassify, classifyPort, cookie, flows.NewMatch(flows.InPort(p), flows.Untagged(), flows.EthSrc(e.MAC)),
		int(flows.TableSpoofGuard), as...)
}
