package pipeline

import (
	"math/bits"
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Table 18, service: which masks of ports can match, asked by the epoch tables.
//
// Clauses about ports match them under masks, and a lookup that tries a mask
// makes the megaflow depend on all bits of the mask, whether it finds something
// or not: with one rule for one port, each port would cost a megaflow. So this
// table of disjoint prefixes is asked first: it says which masks can match at
// all, and looks only at as many bits of the port as it needs for that. The
// clauses then match the answer of this table too, and Open vSwitch matches the
// answer before it looks at the port ("staged lookup" in its lib/classifier.h).

// service emits the frame of the table.
func (f frame) service() { f.add(flows.TableService, tableMiss, flows.Match{}, flows.Drop) }

// PortBlock is a prefix of the port space in which the same masks can match.
type PortBlock struct {
	portMask
	lengths uint32 // bit n: a mask of n bits
}

// PortBlocks divides all ports into the fewest blocks for the ranges that rules of
// a protocol name.
func PortBlocks(ranges []policy.PortRange) []PortBlock {
	var masks []portMask
	for _, r := range ranges {
		masks = append(masks, portMasks(r)...)
	}
	return portBlocks(masks)
}

func portBlocks(masks []portMask) []PortBlock {
	slices.SortFunc(masks, func(a, b portMask) int { return int(a.value) - int(b.value) })
	var out []PortBlock
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
			out = append(out, PortBlock{block, lengths})
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

// Service emits the flows of a block of ports of a protocol that has ports.
func Service(protocol policy.Protocol, b PortBlock, emit flows.Emitter) {
	for _, ts := range protocolChoices(protocol) {
		// Short prefixes first: the lookup ends with the first that fits.
		emit(flows.TableService, uint16(serviceBlock-b.len()), flows.NewCookie(flows.KindClause, 0),
			with(ts, flows.Port(flows.FieldCTTPDst, b.value, b.mask)), flows.Drop, flows.SetReg(flows.RegPorts, b.lengths))
	}
}

// protocolChoices returns the matches of a protocol: one if it has the same
// number over IPv4 and IPv6, else one for each family.
func protocolChoices(p policy.Protocol) choices {
	ipv4, ipv6 := p.Numbers()
	if ipv4 == ipv6 {
		return choices{{tracked, flows.Byte(flows.FieldCTNWProto, ipv4)}}
	}
	return choices{
		{tracked, flows.EthType(flows.EthTypeIPv4), flows.Byte(flows.FieldCTNWProto, ipv4)},
		{tracked, flows.EthType(flows.EthTypeIPv6), flows.Byte(flows.FieldCTNWProto, ipv6)},
	}
}
