package pipeline

import (
	"net/netip"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Frame emits the flows that do not depend on policy or ports. HighestEpoch is
// kept in a cookie for a restart, see classify.
func Frame(highestEpoch uint32, h flows.Host, emit flows.Emitter) {
	f := frame{emit, h.Userspace, h.DHCPServers}
	f.classify(highestEpoch)
	f.spoofGuard()
	f.dispatch()
	f.track()
	f.role()
	for _, s := range sides {
		f.est(s)
		f.epoch(s)
		f.remote(s)
		f.rules(s)
	}
	f.commit()
	f.deliver()
	f.flood()
	f.denied()
	f.copy()
	f.service()
}

// frame emits the part of each table that belongs to Frame.
type frame struct {
	emit      flows.Emitter
	userspace bool // see flows.Host
	dhcp      []netip.Addr
}

// add adds a flow.
func (f frame) add(t flows.Table, priority uint16, match flows.Match, next int, as ...flows.Action) {
	f.emit(t, priority, flows.NewCookie(flows.KindPipeline, 0), match, next, as...)
}

// deny adds a flow that denies.
func (f frame) deny(t flows.Table, priority uint16, match flows.Match, why flows.Cause) {
	f.add(t, priority, match, int(flows.TableDeny), flows.SetReg(flows.RegCause, uint32(why)))
}

// Infra emits the flows of an infrastructure port.
func Infra(p flows.InfraPort, emit flows.Emitter) { classifyInfra(p, emit) }

// Endpoint emits the flows of one VM port: what the VM may send, how frames find
// the VM, the counters of denied packets. The flows of the port's class come from
// ClassOfPort.
func Endpoint(e *policy.Endpoint, h flows.Host, emit flows.Emitter) {
	cookie := flows.NewCookie(flows.KindPort, uint64(e.OFPort))
	if !e.MAC.IsZero() {
		classifyEndpoint(e, cookie, emit)
		dispatchEndpoint(e, cookie, emit)
		spoofGuardEndpoint(e, cookie, emit)
		if h.Userspace {
			roleEndpoint(e, cookie, emit)
		}
	}
	denyEndpoint(e, cookie, emit)
}

// Network emits the list of copies that a multicast frame in a VLAN becomes: one
// for each VM port, one for the infrastructure.
func Network(vlan uint16, ports []uint16, emit flows.Emitter) { floodNetwork(vlan, ports, emit) }
