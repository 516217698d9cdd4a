package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Table 16, deny: drop and count. RegCause says why.

// denied emits the frame of the table.
func (f frame) denied() { f.add(flows.TableDeny, tableMiss, flows.Match{}, flows.Drop) }

// denyEndpoint emits the flows that count the denied packets of a VM port: those
// that its egress rules deny, those that its ingress rules deny, and all others
// that came in at the port.
func denyEndpoint(e *policy.Endpoint, cookie flows.Cookie, emit flows.Emitter) {
	p := uint32(e.OFPort)
	for _, s := range sides {
		emit(flows.TableDeny, denyByRule, cookie, flows.NewMatch(flows.RegIs(flows.RegCause, uint32(s.cause())), flows.RegIs(s.port(), p)), flows.Drop)
	}
	emit(flows.TableDeny, denyAtPort, cookie, flows.NewMatch(flows.InPort(p)), flows.Drop)
}
