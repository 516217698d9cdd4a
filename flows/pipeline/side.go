package pipeline

import (
	"net/netip"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// side is one of the two directions in which rules are asked: the
// originator's egress rules, then the responder's ingress rules.
type side struct{ policy.Direction }

var sides = []side{{policy.Egress}, {policy.Ingress}}

func pick[T any](s side, egress, ingress T) T {
	if s.Direction == policy.Egress {
		return egress
	}
	return ingress
}

func (s side) est() flows.Table { return pick(s, flows.TableEgressEst, flows.TableIngressEst) }
func (s side) epoch() flows.Table {
	return pick(s, flows.TableEgressEpoch, flows.TableIngressEpoch)
}
func (s side) remote() flows.Table {
	return pick(s, flows.TableEgressRemote, flows.TableIngressRemote)
}
func (s side) rules() flows.Table {
	return pick(s, flows.TableEgressRules, flows.TableIngressRules)
}

// allowed returns the table that follows when the side allows the connection.
func (s side) allowed() int { return int(pick(s, flows.TableIngressEst, flows.TableCommit)) }

func (s side) cause() flows.Cause { return pick(s, flows.CauseEgress, flows.CauseIngress) }

// port returns the register of the local VM whose rules are asked.
func (s side) port() flows.Field { return pick(s, flows.RegOrig, flows.RegResp) }

// addr returns the connection's address on the other side: the responder's for
// egress, the originator's for ingress, whatever the packet's direction.
func (s side) addr(a netip.Addr) flows.Field {
	if a.Is4() {
		return pick(s, flows.FieldCTNWDst, flows.FieldCTNWSrc)
	}
	return pick(s, flows.FieldCTIPv6Dst, flows.FieldCTIPv6Src)
}

// epochReg returns the register of the epoch of the local VM whose rules are
// asked.
func (s side) epochReg() flows.Field { return pick(s, flows.RegOrigEpoch, flows.RegRespEpoch) }

// stale returns the bit of RegCommit that says that the side's part of ct_label
// is out of date.
func (s side) stale() flows.Bits {
	return flows.Bits{Field: flows.RegCommit, Offset: pick(s, 0, 1), N: 1}
}

// label returns the side's part of ct_label.
func (s side) label(port, epoch uint32) flows.Label {
	return pick(s, flows.Label{Orig: port, OrigEpoch: epoch}, flows.Label{Resp: port, RespEpoch: epoch})
}

// tracked matches valid connection tracking state, which Open vSwitch requires in
// a match on the original tuple (ovs-fields(7)).
var tracked = flows.CT(flows.CTTrk, flows.CTInv)

func family(a netip.Addr) flows.Term {
	if a.Is4() {
		return flows.EthType(flows.EthTypeIPv4)
	}
	return flows.EthType(flows.EthTypeIPv6)
}
