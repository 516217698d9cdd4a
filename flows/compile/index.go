package compile

import (
	"maps"
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/pipeline"
	"github.com/ovs-sg/ovs-sg/policy"
)

// flowIndex is what a Compiler knows of the flows that it has returned: the numbers
// given out, and which flows come from what. For a member it keeps nothing, as the
// flows of a member can be made again.
type flowIndex struct {
	class, vpc, conj *idPool
	sets             [2]*idPool             // of groups, by direction
	refs             [2]map[groupInVPC]int  // how many classes refer to the members
	referred         [2]map[groupInVPC]bool // of the refs counted in this step: were they above 0 before
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
	needsFull      bool         // only Full can tell the flows
}

// classFlows is what comes from a class.
type classFlows struct {
	number, vpc *pooledID // vpc is nil for a class in no VPC
	flows       []flows.Flow
	refs        [2][]groupInVPC
}

func newFlowIndex(hash func(string) uint64) *flowIndex {
	u := &flowIndex{
		class: newIDPool(hash), vpc: newIDPool(hash), conj: newIDPool(hash),
		ports: map[uint16][]flows.Flow{}, networks: map[uint16][]flows.Flow{}, networkPorts: map[uint16][]uint16{},
		classes: map[*portClass]*classFlows{}, groups: map[groupKey]*groupFlows{}, service: map[policy.Protocol]*servicePorts{},
	}
	for d := range u.sets {
		u.sets[d], u.refs[d], u.referred[d] = newIDPool(hash), map[groupInVPC]int{}, map[groupInVPC]bool{}
		u.tables[d] = rulesTable{clauses: map[flows.Match]*sharedClause{}, plain: map[flows.Match]*sharedPlain{}}
	}
	return u
}

// replace notes that flows take the place of others, and returns the new flows.
func (u *flowIndex) replace(old, now []flows.Flow) []flows.Flow {
	u.removed, u.added = append(u.removed, old...), append(u.added, now...)
	return now
}

// update takes a step: the compiler has the new state already, diff tells what was
// before. The first step is told everything.
func (u *flowIndex) update(c *Compiler, ch policy.ModelChange, diff modelDiff) {
	first := !u.framed
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

	if u.number(c, changed, touched) {
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
		dirty = u.dirtyMembers(c, ch)
	}
	for _, d := range directions {
		if u.members(d, diff.gone, dirty) {
			for id, g := range c.groups {
				if len(g.refs[d]) > 0 {
					ruled[d][id] = true
				}
			}
		}
		u.rules(c, d, ruled[d])
	}
	if len(touched) > 0 {
		u.services(c, touched)
	}
	u.epochs(c, changed, touched)
	u.endpoints(c, ch)
	u.fixed(c)
	u.sweep()
}

func groupID(g policy.Change[policy.RuleGroup]) string {
	if g.After != nil {
		return g.After.ID
	}
	return g.Before.ID
}

// sweep ends a step.
func (u *flowIndex) sweep() {
	clear(u.referred[0])
	clear(u.referred[1])
	for _, p := range []*idPool{u.class, u.vpc, u.conj, u.sets[0], u.sets[1]} {
		p.sweep()
		u.needsFull = u.needsFull || p.collided
	}
}

// number numbers classes and VPCs, and counts which classes refer to whose members.
// It says whether classes came or went.
func (u *flowIndex) number(c *Compiler, changed map[*portClass]bool, touched map[string]bool) (came bool) {
	for k := range changed {
		unit, live := u.classes[k], k.ports > 0
		switch {
		case unit == nil && live:
			unit = &classFlows{}
			unit.number, _ = u.class.acquire(k.String())
			if k.vpc != "" {
				unit.vpc, _ = u.vpc.acquire(k.vpc)
			}
			u.classes[k] = unit
			u.refer(unit, k, c.groups)
			came = true
		case unit != nil && !live:
			u.class.release(unit.number)
			if unit.vpc != nil {
				u.vpc.release(unit.vpc)
			}
			u.unrefer(unit)
			came = true
		}
	}
	if len(touched) > 0 {
		for k, unit := range u.classes {
			if k.ports > 0 && slices.ContainsFunc(k.groupIDs(), func(id string) bool { return touched[id] }) {
				u.unrefer(unit)
				u.refer(unit, k, c.groups)
			}
		}
	}
	if came {
		u.locals = map[string][]uint32{}
		for k, unit := range u.classes {
			if k.ports > 0 {
				for _, id := range k.groupIDs() {
					u.locals[id] = append(u.locals[id], unit.number.number)
				}
			}
		}
	}
	return came
}

// epochs puts the flows of classes right.
func (u *flowIndex) epochs(c *Compiler, changed map[*portClass]bool, touched map[string]bool) {
	for k, unit := range u.classes {
		if k.ports == 0 {
			u.replace(unit.flows, nil)
			delete(u.classes, k)
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
		unit.flows = u.replace(unit.flows, now)
	}
}

// endpoints puts the flows of VM ports and of their networks right.
func (u *flowIndex) endpoints(c *Compiler, ch policy.ModelChange) {
	vlans := map[uint16]bool{}
	for _, e := range ch.Endpoints {
		if e.Before != nil {
			port, vlan := e.Before.OFPort, e.Before.Tag
			u.replace(u.ports[port], nil)
			delete(u.ports, port)
			vlans[vlan] = true
			u.networkPorts[vlan] = slices.DeleteFunc(u.networkPorts[vlan], func(p uint16) bool { return p == port })
		}
		if e.After != nil {
			port, vlan := e.After.OFPort, e.After.Tag
			var now []flows.Flow
			pipeline.Endpoint(e.After, flows.Collect(&now))
			pipeline.ClassOfPort(port, u.classes[c.epochs.ofPort[port]].number.number, flows.Collect(&now))
			vlans[vlan] = true
			u.networkPorts[vlan] = append(u.networkPorts[vlan], port)
			u.ports[port] = u.replace(nil, now)
		}
	}
	for vlan := range vlans {
		var now []flows.Flow
		if ports := u.networkPorts[vlan]; len(ports) > 0 {
			pipeline.Network(vlan, slices.Clone(ports), flows.Collect(&now))
		}
		u.networks[vlan] = u.replace(u.networks[vlan], now)
	}
}

// fixed puts right what depends on neither policy nor VM ports.
func (u *flowIndex) fixed(c *Compiler) {
	if !u.framed || !slices.EqualFunc(c.host.Infra, u.infra, flows.InfraPort.Equal) {
		var now []flows.Flow
		for _, p := range c.host.Infra {
			pipeline.Infra(p, flows.Collect(&now))
		}
		u.infra = c.host.Infra
		u.infraFlows = u.replace(u.infraFlows, now)
	}
	if u.framed && u.frameEpoch == c.epochs.persisted {
		return
	}
	var now []flows.Flow
	pipeline.Frame(c.epochs.persisted, c.host.Userspace, flows.Collect(&now))
	u.framed, u.frameEpoch = true, c.epochs.persisted
	u.frame = u.replace(u.frame, now)
}

// all returns what a first step comes to; ok is false if only Full can tell.
func (u *flowIndex) all() (set *flows.Set, ok bool) {
	set = flows.NewSet(len(u.added))
	ok = !u.needsFull && len(u.removed) == 0
	for _, f := range u.added {
		ok = set.Add(f) == nil && ok
	}
	u.added = nil
	return set, ok
}

// delta returns what the step comes to; ok is false if only Full can tell.
func (u *flowIndex) delta() (d flows.Delta, ok bool) {
	removed, added := flows.NewSet(len(u.removed)), flows.NewSet(len(u.added))
	for _, f := range u.removed {
		removed.Put(f)
	}
	for _, f := range u.added {
		if added.Add(f) != nil {
			return flows.Delta{}, false
		}
	}
	u.removed, u.added = nil, nil
	return flows.Diff(added, removed), !u.needsFull
}
