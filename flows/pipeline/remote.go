package pipeline

import (
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Tables 7 and 11, egress_remote and ingress_remote: which groups the address of
// the other side is a member of.

// remote emits the frame of the side's table.
func (f frame) remote(s side) {
	f.add(s.remote(), tableMiss, flows.Match{}, int(s.rules()), flows.SetReg(flows.RegRemote, 0))
}

// Member returns the flow of an address that is a member of groups to which some
// rule of the direction refers. Vpc is the number of the member's VPC, remote that
// of the set of groups.
func Member(d policy.Direction, m *policy.Member, vpc, remote uint32) flows.Flow {
	s := side{d}
	return flows.NewFlow(s.remote(), remoteMember, memberCookie(m),
		flows.NewMatch(tracked, family(m.Addr), flows.RegIs(flows.RegVPC, vpc), flows.Addr(s.addr(m.Addr), m.Addr)),
		int(s.rules()), flows.SetReg(flows.RegRemote, remote))
}

func memberCookie(m *policy.Member) flows.Cookie {
	return flows.NewCookie(flows.KindMember, flows.Hash("vm "+m.VM.String()))
}

// Members makes what Member makes, faster where there are many members: of two
// flows with the same VPC and family only the address differs, so it is put into
// the encoded match that was made for the first; see BenchmarkMembers. The zero
// Members is ready, for flows of one direction.
type Members struct {
	Direction policy.Direction
	matches   map[memberMatch]flows.AddrTemplate
	actions   map[uint32]flows.Actions // by number of the set of groups
}

type memberMatch struct {
	vpc uint32
	v6  bool
}

// Flow returns what Member returns.
func (ms *Members) Flow(m *policy.Member, vpc, remote uint32) flows.Flow {
	if ms.matches == nil {
		ms.matches, ms.actions = map[memberMatch]flows.AddrTemplate{}, map[uint32]flows.Actions{}
	}
	k := memberMatch{vpc, m.Addr.Is6()}
	match, known := ms.matches[k]
	actions, also := ms.actions[remote]
	s := side{ms.Direction}
	if !known || !also {
		f := Member(ms.Direction, m, vpc, remote)
		ms.matches[k] = flows.NewAddrTemplate(f.Match, s.addr(m.Addr))
		ms.actions[remote] = f.Actions
		return f
	}
	return flows.Flow{
		Key:    flows.Key{Table: s.remote(), Priority: remoteMember, Match: match.Match(m.Addr)},
		Cookie: memberCookie(m), Actions: actions,
	}
}
