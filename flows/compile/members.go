package compile

import (
	"net/netip"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/pipeline"
	"github.com/ovs-sg/ovs-sg/policy"
)

// members are the addresses in each group of a VPC. An address in several groups
// has the same *member in all of them.
type members map[groupInVPC]map[netip.Addr]*member

// member is an address of a VM.
type member struct {
	*policy.Member
	// sets are, by direction, the set of those groups of the member to which rules
	// refer; nil: there is none.
	sets [2]*pooledID
}

func (ms members) get(m *policy.Member) *member {
	if len(m.Groups) == 0 {
		return nil
	}
	return ms[groupInVPC{m.VPC, m.Groups[0]}][m.Addr]
}

func (ms members) put(m *member) {
	for _, g := range m.Groups {
		k := groupInVPC{m.VPC, g}
		if ms[k] == nil {
			ms[k] = map[netip.Addr]*member{}
		}
		ms[k][m.Addr] = m
	}
}

func (ms members) remove(m *policy.Member) {
	for _, g := range m.Groups {
		k := groupInVPC{m.VPC, g}
		if delete(ms[k], m.Addr); len(ms[k]) == 0 {
			delete(ms, k)
		}
	}
}

// refer counts the references of a class to members.
func (ix *flowIndex) refer(unit *classFlows, k *portClass, groups map[string]*groupRules) {
	if k.vpc == "" {
		return
	}
	for _, g := range pickGroups(groups, k.groupIDs()) {
		for d, refs := range g.refs {
			for _, ref := range refs {
				at := groupInVPC{k.vpc, ref}
				unit.refs[d] = append(unit.refs[d], at)
				ix.countRef(d, at, 1)
			}
		}
	}
}

// unrefer undoes what refer has counted.
func (ix *flowIndex) unrefer(unit *classFlows) {
	for d := range unit.refs {
		for _, at := range unit.refs[d] {
			ix.countRef(d, at, -1)
		}
		unit.refs[d] = nil
	}
}

// countRef counts n more references of classes to members.
func (ix *flowIndex) countRef(d int, at groupInVPC, n int) {
	if _, seen := ix.referred[d][at]; !seen {
		ix.referred[d][at] = ix.refs[d][at] > 0
	}
	if ix.refs[d][at] += n; ix.refs[d][at] == 0 {
		delete(ix.refs[d], at)
	}
}

// dirtyMembers returns the members, as they are now, that may be in other sets.
func (ix *flowIndex) dirtyMembers(c *Compiler, ch policy.ModelChange) []*member {
	dirty := map[*member]bool{}
	for _, m := range ch.Members {
		if m.After != nil {
			if x := c.members.get(m.After); x != nil {
				dirty[x] = true
			}
		}
	}
	for d := range ix.referred {
		for at, was := range ix.referred[d] {
			if was == (ix.refs[d][at] > 0) {
				continue
			}
			for _, m := range c.members[at] {
				dirty[m] = true
			}
		}
	}
	return unsortedKeys(dirty)
}

// members updates the flows of members: gone are the members that do not exist
// any more, dirty are the members that may be in other sets. The result says
// whether a set of groups came or went.
func (ix *flowIndex) members(d policy.Direction, gone, dirty []*member) (changed bool) {
	sets := ix.sets[d]
	made := pipeline.Members{Direction: d}
	flow := func(to *[]flows.Flow, m *member) {
		if set := m.sets[d]; set != nil {
			*to = append(*to, made.Flow(m.Member, ix.vpc.of(m.VPC), set.number))
		}
	}
	leave := func(m *member) {
		flow(&ix.removed, m)
		if set := m.sets[d]; set != nil {
			changed = sets.release(set) || changed
			m.sets[d] = nil
		}
	}
	for _, m := range gone {
		leave(m)
	}
	for _, m := range dirty {
		leave(m)
	}
	var in []string
	for _, m := range dirty {
		in = in[:0]
		for _, g := range m.Groups {
			if ix.refs[d][groupInVPC{m.VPC, g}] > 0 {
				in = append(in, g)
			}
		}
		if len(in) > 0 {
			set, began := sets.acquire(setKey(in))
			m.sets[d] = set
			changed = changed || began
		}
		flow(&ix.added, m)
	}
	if changed {
		remotes := map[string][]uint32{}
		for _, set := range sets.byKey {
			if set.uses > 0 {
				for _, g := range groupsOf(set.key) {
					remotes[g] = append(remotes[g], set.number)
				}
			}
		}
		ix.remotes[d] = remotes
	}
	return changed
}
