package flows

import (
	"math/bits"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Clauses about ports match them under masks, and a lookup that tries a mask
// makes the megaflow depend on all its bits, whether it finds something or
// not: with one rule for one port, each port would cost a megaflow. So a table
// of disjoint prefixes is asked first: it says which masks can match at all,
// and looks at no more of the port than that takes. The clauses then match
// that answer too, which Open vSwitch does before it looks at the port
// ("staged lookup" in its lib/classifier.h).

// portBlock is a prefix of the port space in which the same masks can match.
type portBlock struct {
	portMask
	lengths uint32 // bit n: a mask of n bits
}

// portBlocks divides all ports into the fewest blocks.
func portBlocks(masks []portMask) []portBlock {
	slices.SortFunc(masks, func(a, b portMask) int { return int(a.value) - int(b.value) })
	var out []portBlock
	var walk func(block portMask, inside []portMask, lengths uint32)
	walk = func(block portMask, inside []portMask, lengths uint32) {
		var deeper []portMask
		for _, m := range inside {
			if m == block {
				lengths |= 1 << m.len()
			} else {
				deeper = append(deeper, m)
			}
		}
		if len(deeper) == 0 {
			out = append(out, portBlock{block, lengths})
			return
		}
		half := uint16(1) << (15 - block.len())
		for _, start := range []uint16{block.value, block.value + half} {
			child := portMask{start, block.mask | half}
			from, _ := slices.BinarySearchFunc(deeper, start, func(m portMask, v uint16) int { return int(m.value) - int(v) })
			to, _ := slices.BinarySearchFunc(deeper, uint32(start)+uint32(half), func(m portMask, v uint32) int { return int(uint32(m.value)) - int(v) })
			walk(child, deeper[from:to], lengths)
		}
	}
	walk(portMask{}, slices.Compact(masks), 0)
	return out
}

func (m portMask) len() int { return bits.OnesCount16(m.mask) }

// portRanges are the ports that rules name, by protocol.
func portRanges(groups []*groupRules) map[policy.Protocol][]policy.PortRange {
	out := map[policy.Protocol][]policy.PortRange{}
	for _, g := range groups {
		for _, r := range g.Rules {
			if (r.Protocol == policy.TCP || r.Protocol == policy.UDP) && !r.Ports.IsAll() {
				out[r.Protocol] = append(out[r.Protocol], r.Ports)
			}
		}
	}
	return out
}

// serviceFlows are the table of ports for one protocol.
func serviceFlows(protocol policy.Protocol, ranges []policy.PortRange, emit emitter) {
	for _, b := range servicePorts(ranges) {
		serviceFlow(protocol, b, emit)
	}
}

func servicePorts(ranges []policy.PortRange) []portBlock {
	var masks []portMask
	for _, r := range ranges {
		masks = append(masks, portMasks(r)...)
	}
	return portBlocks(masks)
}

func serviceFlow(protocol policy.Protocol, b portBlock, emit emitter) {
	// Short prefixes first: the lookup ends with the first that fits.
	emit(TableService, uint16(100-b.len()), newCookie(KindClause, 0),
		NewMatch(tracked, ctProto(protocol), Port(FieldCTTPDst, b.value, b.mask)), drop, SetReg(RegPorts, b.lengths))
}

func ctProto(p policy.Protocol) Term {
	if p == policy.UDP {
		return Byte(FieldCTNWProto, ProtoUDP)
	}
	return Byte(FieldCTNWProto, ProtoTCP)
}

func serviceClause(p policy.Protocol, ports policy.PortRange) clauses {
	if p == policy.ICMP {
		return clauses{
			{tracked, EthType(EthTypeIPv4), Byte(FieldCTNWProto, ProtoICMP)},
			{tracked, EthType(EthTypeIPv6), Byte(FieldCTNWProto, ProtoICMPv6)},
		}
	}
	if ports.IsAll() {
		return clauses{{tracked, ctProto(p)}}
	}
	var out clauses
	for _, m := range portMasks(ports) {
		out = append(out, []Term{tracked, ctProto(p), Port(FieldCTTPDst, m.value, m.mask), RegHas(RegPorts, 1<<m.len())})
	}
	return out
}
