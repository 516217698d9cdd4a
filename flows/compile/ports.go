package compile

import (
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/pipeline"
	"github.com/ovs-sg/ovs-sg/policy"
)

// servicePorts is the service table for one protocol.
type servicePorts struct {
	uses    map[policy.PortRange]int
	flows   map[pipeline.PortBlock][]flows.Flow
	byGroup map[string][]policy.PortRange
}

// services updates the service table after rules of groups have changed.
func (ix *flowIndex) services(c *Compiler, touched map[string]bool) {
	for id := range touched {
		if g := c.groups[id]; g != nil {
			for protocol := range portRanges([]*groupRules{g}) {
				if ix.service[protocol] == nil {
					ix.service[protocol] = &servicePorts{map[policy.PortRange]int{}, map[pipeline.PortBlock][]flows.Flow{}, map[string][]policy.PortRange{}}
				}
			}
		}
	}
	for protocol, sp := range ix.service {
		if sp.count(c, protocol, touched) {
			ix.portBlocks(protocol, sp)
		}
	}
}

// count counts the ranges that the rules of groups name. The result says whether
// a range came or went.
func (sp *servicePorts) count(c *Compiler, protocol policy.Protocol, touched map[string]bool) (changed bool) {
	before := map[policy.PortRange]bool{} // of the ranges that are counted: were they in use
	add := func(r policy.PortRange, n int) {
		if _, seen := before[r]; !seen {
			before[r] = sp.uses[r] > 0
		}
		if sp.uses[r] += n; sp.uses[r] == 0 {
			delete(sp.uses, r)
		}
	}
	for id := range touched {
		for _, r := range sp.byGroup[id] {
			add(r, -1)
		}
		delete(sp.byGroup, id)
		if g := c.groups[id]; g != nil {
			if ranges := portRanges([]*groupRules{g})[protocol]; len(ranges) > 0 {
				sp.byGroup[id] = ranges
				for _, r := range ranges {
					add(r, 1)
				}
			}
		}
	}
	for r, was := range before {
		changed = changed || was != (sp.uses[r] > 0)
	}
	return changed
}

func (ix *flowIndex) portBlocks(protocol policy.Protocol, sp *servicePorts) {
	ranges := make([]policy.PortRange, 0, len(sp.uses))
	for r := range sp.uses {
		ranges = append(ranges, r)
	}
	var blocks []pipeline.PortBlock
	if len(ranges) > 0 {
		blocks = pipeline.PortBlocks(ranges)
	}
	now := make(map[pipeline.PortBlock][]flows.Flow, len(blocks))
	for _, b := range blocks {
		fs, known := sp.flows[b]
		if !known {
			pipeline.Service(protocol, b, flows.Collect(&fs))
			ix.added = append(ix.added, fs...)
		}
		now[b] = fs
	}
	for b, fs := range sp.flows {
		if _, stays := now[b]; !stays {
			ix.removed = append(ix.removed, fs...)
		}
	}
	sp.flows = now
}
