package compile

import (
	"maps"
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/pipeline"
	"github.com/ovs-sg/ovs-sg/policy"
)

// flowIndex is what a Compiler remembers of the flows that it has returned: the
// numbers that it gave out, and the flows of each class, group, port and network.
// It has no flows of members, because these can be made again.
type flowIndex struct {
	class, vpc, conj *idPool
	sets             [2]*idPool             // of groups, by direction
	refs             [2]map[groupInVPC]int  // how many classes refer to the members
	referred         [2]map[groupInVPC]bool // for each of refs that this step counts: was it above 0 before
	remotes          [2]map[string][]uint32 // numbers of the sets that a group is in
	locals           map[string][]uint32    // numbers of the classes that have a group

	framed       bool // frame is made
	frameEpoch   uint32
	frame        []flows.Flow
	infra        []flows.InfraPort
	infraFlows   []flows.Flow
	ports        map[uint16][]flows.Flow
	networks     map[uint16][]flows.Flow // by VLAN
	networkPorts map[uint16][]uint16     // by VLAN
	classes      map[*portClass]*classFlows
	groups       map[groupKey]*groupFlows
	tables       [2]rulesTable
	service      map[policy.Protocol]*servicePorts

	removed, added []flows.Flow // by this step; a flow may be in both
	needsFull      bool         // only Full can make the flows
}

// classFlows has the numbers, the flows and the references of a class.
type classFlows struct {
	number, vpc *pooledID // vpc is nil for a class in no VPC
	flows       []flows.Flow
	refs        [2][]groupInVPC
}

func newFlowIndex(hash func(string) uint64) *flowIndex {
	ix := &flowIndex{
		class: newIDPool(hash), vpc: newIDPool(hash), conj: newIDPool(hash),
		ports: map[uint16][]flows.Flow{}, networks: map[uint16][]flows.Flow{}, networkPorts: map[uint16][]uint16{},
		classes: map[*portClass]*classFlows{}, groups: map[groupKey]*groupFlows{}, service: map[policy.Protocol]*servicePorts{},
	}
	for d := range ix.sets {
		ix.sets[d], ix.refs[d], ix.referred[d] = newIDPool(hash), map[groupInVPC]int{}, map[groupInVPC]bool{}
		ix.tables[d] = rulesTable{clauses: map[flows.Match]*sharedClause{}, plain: map[flows.Match]*sharedPlain{}}
	}
	return ix
}

// replace notes that the step removes the old flows and adds the new ones, and
// returns the new ones.
func (ix *flowIndex) replace(old, now []flows.Flow) []flows.Flow {
	ix.removed, ix.added = append(ix.removed, old...), append(ix.added, now...)
	return now
}

// update brings the index up to date in one step. The compiler has the new state
// already; diff holds the state before. The change of the first step is the whole
// model.
func (ix *flowIndex) update(c *Compiler, ch policy.ModelChange, diff modelDiff) {
	first := !ix.framed
	changed := c.epochs.changed
	if first {
		changed = map[*portClass]bool{}
		for _, list := range c.epochs.classes {
			for _, k := range list {
				changed[k] = true
			}
		}
	}
	touched := map[string]bool{} // groups with other rules
	for _, g := range ch.Groups {
		touched[groupID(g)] = true
	}
	ruled := [2]map[string]bool{maps.Clone(touched), maps.Clone(touched)} // groups to be compiled again

	if ix.number(c, changed, touched) {
		for d := range ruled {
			for k := range changed {
				for _, id := range k.groupIDs() {
					ruled[d][id] = true
				}
			}
		}
	}
	var dirty []*member
	if first {
		for _, m := range ch.Members {
			dirty = append(dirty, c.members.get(m.After))
		}
	} else {
		dirty = ix.dirtyMembers(c, ch)
	}
	for _, d := range directions {
		if ix.members(d, diff.gone, dirty) {
			for id, g := range c.groups {
				if len(g.refs[d]) > 0 {
					ruled[d][id] = true
				}
			}
		}
		ix.rules(c, d, ruled[d])
	}
	if len(touched) > 0 {
		ix.services(c, touched)
	}
	ix.epochs(c, changed, touched)
	ix.endpoints(c, ch)
	ix.fixed(c)
	ix.sweep()
}

func groupID(g policy.Change[policy.RuleGroup]) string {
	if g.After != nil {
		return g.After.ID
	}
	return g.Before.ID
}

// sweep ends a step.
func (ix *flowIndex) sweep() {
	clear(ix.referred[0])
	clear(ix.referred[1])
	for _, p := range []*idPool{ix.class, ix.vpc, ix.conj, ix.sets[0], ix.sets[1]} {
		p.sweep()
		ix.needsFull = ix.needsFull || p.collided
	}
}

// number gives numbers to classes and VPCs, and counts the references of classes
// to members. The result says whether classes came or went.
func (ix *flowIndex) number(c *Compiler, changed map[*portClass]bool, touched map[string]bool) (came bool) {
	for k := range changed {
		unit, live := ix.classes[k], k.ports > 0
		switch {
		case unit == nil && live:
			unit = &classFlows{}
			unit.number, _ = ix.class.acquire(k.String())
			if k.vpc != "" {
				unit.vpc, _ = ix.vpc.acquire(k.vpc)
			}
			ix.classes[k] = unit
			ix.refer(unit, k, c.groups)
			came = true
		case unit != nil && !live:
			ix.class.release(unit.number)
			if unit.vpc != nil {
				ix.vpc.release(unit.vpc)
			}
			ix.unrefer(unit)
			came = true
		}
	}
	if len(touched) > 0 {
		for k, unit := range ix.classes {
			if k.ports > 0 && slices.ContainsFunc(k.groupIDs(), func(id string) bool { return touched[id] }) {
				ix.unrefer(unit)
				ix.refer(unit, k, c.groups)
			}
		}
	}
	if came {
		ix.locals = map[string][]uint32{}
		for k, unit := range ix.classes {
			if k.ports > 0 {
				for _, id := range k.groupIDs() {
					ix.locals[id] = append(ix.locals[id], unit.number.number)
				}
			}
		}
	}
	return came
}

// epochs updates the flows of classes.
func (ix *flowIndex) epochs(c *Compiler, changed map[*portClass]bool, touched map[string]bool) {
	for k, unit := range ix.classes {
		if k.ports == 0 {
			ix.replace(unit.flows, nil)
			delete(ix.classes, k)
			continue
		}
		if !changed[k] && !slices.ContainsFunc(k.groupIDs(), func(id string) bool { return touched[id] }) {
			continue
		}
		prints := fingerprints(k.vpc, pickGroups(c.groups, k.groupIDs()))
		vpc := uint32(0)
		if unit.vpc != nil {
			vpc = unit.vpc.number
		}
		var now []flows.Flow
		pipeline.Class(unit.number.number, vpc, k.epochs, prints, flows.Collect(&now))
		unit.flows = ix.replace(unit.flows, now)
	}
}

// endpoints updates the flows of VM ports and of their networks.
func (ix *flowIndex) endpoints(c *Compiler, ch policy.ModelChange) {
	vlans := map[uint16]bool{}
	for _, e := range ch.Endpoints {
		if e.Before != nil {
			port, vlan := e.Before.OFPort, e.Before.Tag
			ix.replace(ix.ports[port], nil)
			delete(ix.ports, port)
			vlans[vlan] = true
			ix.networkPorts[vlan] = slices.DeleteFunc(ix.networkPorts[vlan], func(p uint16) bool { return p == port })
		}
		if e.After != nil {
			port, vlan := e.After.OFPort, e.After.Tag
			var now []flows.Flow
			pipeline.Endpoint(e.After, c.host, flows.Collect(&now))
			pipeline.ClassOfPort(port, ix.classes[c.epochs.ofPort[port]].number.number, flows.Collect(&now))
			vlans[vlan] = true
			ix.networkPorts[vlan] = append(ix.networkPorts[vlan], port)
			ix.ports[port] = ix.replace(nil, now)
		}
	}
	for vlan := range vlans {
		var now []flows.Flow
		if ports := ix.networkPorts[vlan]; len(ports) > 0 {
			pipeline.Network(vlan, slices.Clone(ports), flows.Collect(&now))
		}
		ix.networks[vlan] = ix.replace(ix.networks[vlan], now)
	}
}

// fixed updates the flows that depend on neither policy nor VM ports.
func (ix *flowIndex) fixed(c *Compiler) {
	if !ix.framed || !slices.EqualFunc(c.host.Infra, ix.infra, flows.InfraPort.Equal) {
		var now []flows.Flow
		for _, p := range c.host.Infra {
			pipeline.Infra(p, flows.Collect(&now))
		}
		ix.infra = c.host.Infra
		ix.infraFlows = ix.replace(ix.infraFlows, now)
	}
	if ix.framed && ix.frameEpoch == c.epochs.persisted {
		return
	}
	var now []flows.Flow
	pipeline.Frame(c.epochs.persisted, c.host, flows.Collect(&now))
	ix.framed, ix.frameEpoch = true, c.epochs.persisted
	ix.frame = ix.replace(ix.frame, now)
}

// all returns all flows after a first step; ok is false if only Full can make
// them.
func (ix *flowIndex) all() (set *flows.Set, ok bool) {
	set = flows.NewSet(len(ix.added))
	ok = !ix.needsFull && len(ix.removed) == 0
	for _, f := range ix.added {
		ok = set.Add(f) == nil && ok
	}
	ix.added = nil
	return set, ok
}

// delta returns the flows that the step changes; ok is false if only Full can
// make them.
func (ix *flowIndex) delta() (d flows.Delta, ok bool) {
	removed, added := flows.NewSet(len(ix.removed)), flows.NewSet(len(ix.added))
	for _, f := range ix.removed {
		removed.Put(f)
	}
	for _, f := range ix.added {
		if added.Add(f) != nil {
			return flows.Delta{}, false
		}
	}
	ix.removed, ix.added = nil, nil
	return flows.Diff(added, removed), !ix.needsFull
}
