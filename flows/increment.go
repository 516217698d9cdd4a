package flows

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/policy"
)

// increment is what a Compiler knows of the flows in force: the numbers given
// out, and which flows come from what. For a member nothing is kept, as its
// flows can be made again.
type increment struct {
	hash             func(string) uint64
	class, vpc, conj *numbering
	remote           [2]*numbering          // by set of groups, by direction
	refs             [2]map[groupInVPC]int  // how many classes refer to the members
	referred         [2]map[groupInVPC]bool // of those counted anew in this step: did any before
	remotes          [2]map[string][]uint32 // numbers of the sets that a group is in
	locals           map[string][]uint32    // numbers of the classes that have a group

	frame   []Flow
	infra   []InfraPort
	trunks  []Flow // those of infra
	ports   map[uint16][]Flow
	floods  map[uint16][]Flow
	network map[uint16][]uint16 // ports by VLAN
	classes map[*class]*classUnit
	rulings map[rulingKey]*ruling
	tables  [2]rulesTable
	service map[policy.Protocol]*serviceUnit

	olds, news []Flow // what this step takes away and puts in
	spoilt     bool   // the step must be done by comparing everything
}

// classUnit is what comes from a class.
type classUnit struct {
	number, vpc *numbered
	flows       []Flow
	refs        [2][]groupInVPC
}

func newIncrement(hash func(string) uint64) *increment {
	u := &increment{
		hash: hash, class: newNumbering(hash), vpc: newNumbering(hash), conj: newNumbering(hash),
		ports: map[uint16][]Flow{}, floods: map[uint16][]Flow{}, network: map[uint16][]uint16{},
		classes: map[*class]*classUnit{}, rulings: map[rulingKey]*ruling{}, service: map[policy.Protocol]*serviceUnit{},
	}
	for d := range u.remote {
		u.remote[d], u.refs[d], u.referred[d] = newNumbering(hash), map[groupInVPC]int{}, map[groupInVPC]bool{}
		u.tables[d] = rulesTable{clauses: map[Match]*clause{}, plain: map[Match]*plain{}}
	}
	return u
}

// collect makes an emitter that appends to a list.
func collect(to *[]Flow) emitter {
	return func(t Table, priority uint16, cookie Cookie, match Match, next int, as ...Action) {
		*to = append(*to, Flow{Key{t, priority, match}, cookie, NewActions(next, as...)})
	}
}

// replace notes that flows come in the place of others, and returns those that
// come.
func (u *increment) replace(old, now []Flow) []Flow {
	u.olds, u.news = append(u.olds, old...), append(u.news, now...)
	return now
}

// advance takes a step: the compiler has the new state already, r tells what
// was before. A first step is told everything.
func (u *increment) advance(c *Compiler, ch policy.ModelChange, r reading) {
	first := u.frame == nil
	changed := c.classes.changed
	if first {
		changed = map[*class]bool{}
		for _, list := range c.classes.all {
			for _, k := range list {
				changed[k] = true
			}
		}
	}
	touched := map[string]bool{} // groups with other rules
	for _, g := range ch.Groups {
		touched[idOf(g)] = true
	}
	ruled := [2]map[string]bool{maps.Clone(touched), maps.Clone(touched)} // groups to be compiled again

	if u.number(c, changed, touched) {
		for d := range ruled {
			for k := range changed {
				for _, id := range k.key.ids() {
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
	for _, s := range sides {
		if u.members(s, r.gone, dirty) {
			for id, g := range c.groups {
				if len(g.refs[s.Direction]) > 0 {
					ruled[s.Direction][id] = true
				}
			}
		}
		u.rules(c, s, ruled[s.Direction])
	}
	if len(touched) > 0 {
		u.services(c, touched)
	}
	u.epochs(c, changed, touched)
	u.endpoints(c, ch)
	u.fixed(c, first)
	u.sweep()
}

func idOf(g policy.Change[policy.RuleGroup]) string {
	if g.After != nil {
		return g.After.ID
	}
	return g.Before.ID
}

// sweep ends a step.
func (u *increment) sweep() {
	clear(u.referred[0])
	clear(u.referred[1])
	for _, n := range []*numbering{u.class, u.vpc, u.conj, u.remote[0], u.remote[1]} {
		n.sweep()
		u.spoilt = u.spoilt || n.spoilt
	}
}

// number numbers classes and VPCs, and counts who refers to whose members. It
// says whether classes came or went.
func (u *increment) number(c *Compiler, changed map[*class]bool, touched map[string]bool) (came bool) {
	for k := range changed {
		unit, live := u.classes[k], k.ports > 0
		switch {
		case unit == nil && live:
			unit = &classUnit{}
			unit.number, _ = u.class.take(k.key.String())
			if k.key.vpc != "" {
				unit.vpc, _ = u.vpc.take(k.key.vpc)
			}
			u.classes[k] = unit
			u.refer(unit, k, c.groups)
			came = true
		case unit != nil && !live:
			u.class.drop(unit.number)
			if unit.vpc != nil {
				u.vpc.drop(unit.vpc)
			}
			u.unrefer(unit)
			came = true
		}
	}
	if len(touched) > 0 {
		for k, unit := range u.classes {
			if k.ports > 0 && slices.ContainsFunc(k.key.ids(), func(id string) bool { return touched[id] }) {
				u.unrefer(unit)
				u.refer(unit, k, c.groups)
			}
		}
	}
	if came {
		u.locals = map[string][]uint32{}
		for k, unit := range u.classes {
			if k.ports > 0 {
				for _, id := range k.key.ids() {
					u.locals[id] = append(u.locals[id], unit.number.number)
				}
			}
		}
	}
	return came
}

func (u *increment) refer(unit *classUnit, k *class, groups map[string]*groupRules) {
	if k.key.vpc == "" {
		return
	}
	for _, g := range pickGroups(groups, k.key.ids()) {
		for d, refs := range g.refs {
			for _, ref := range refs {
				at := groupInVPC{k.key.vpc, ref}
				unit.refs[d] = append(unit.refs[d], at)
				u.count(d, at, 1)
			}
		}
	}
}

func (u *increment) unrefer(unit *classUnit) {
	for d := range unit.refs {
		for _, at := range unit.refs[d] {
			u.count(d, at, -1)
		}
		unit.refs[d] = nil
	}
}

// count counts one class more or less that refers to members.
func (u *increment) count(d int, at groupInVPC, n int) {
	if _, seen := u.referred[d][at]; !seen {
		u.referred[d][at] = u.refs[d][at] > 0
	}
	if u.refs[d][at] += n; u.refs[d][at] == 0 {
		delete(u.refs[d], at)
	}
}

// dirtyMembers are the members, as they are now, that may be in other sets.
func (u *increment) dirtyMembers(c *Compiler, ch policy.ModelChange) []*member {
	dirty := map[*member]bool{}
	for _, m := range ch.Members {
		if m.After != nil {
			if x := c.members.get(m.After); x != nil {
				dirty[x] = true
			}
		}
	}
	for d := range u.referred {
		for at, was := range u.referred[d] {
			if was == (u.refs[d][at] > 0) {
				continue
			}
			for _, m := range c.members[at] {
				dirty[m] = true
			}
		}
	}
	return keysUnsorted(dirty)
}

// members puts the flows of members right. It says whether a set of groups
// came or went.
func (u *increment) members(s side, gone, dirty []*member) (came bool) {
	sets := u.remote[s.Direction]
	made := memberFlows{s: s, u: u}
	flow := func(to *[]Flow, m *member) {
		if set := m.sets[s.Direction]; set != nil {
			*to = append(*to, made.flow(m.Member, set.number))
		}
	}
	leave := func(m *member) {
		flow(&u.olds, m)
		if set := m.sets[s.Direction]; set != nil {
			came = sets.drop(set) || came
			m.sets[s.Direction] = nil
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
			if u.refs[s.Direction][groupInVPC{m.VPC, g}] > 0 {
				in = append(in, g)
			}
		}
		if len(in) > 0 {
			set, began := sets.take(setKey(in))
			m.sets[s.Direction] = set
			came = came || began
		}
		flow(&u.news, m)
	}
	if came {
		remotes := map[string][]uint32{}
		for _, set := range sets.byKey {
			if set.uses > 0 {
				for _, g := range groupsOf(set.key) {
					remotes[g] = append(remotes[g], set.number)
				}
			}
		}
		u.remotes[s.Direction] = remotes
	}
	return came
}

// memberFlows makes the flows of members, which are many and differ little, by
// putting the address into a match made before.
type memberFlows struct {
	s       side
	u       *increment
	matches map[memberMatch]matchParts
	actions map[uint32]Actions
}

type memberMatch struct {
	vpc string
	v6  bool
}

type matchParts struct{ before, behind string }

func (mf *memberFlows) flow(m *policy.Member, remote uint32) Flow {
	if mf.matches == nil {
		mf.matches, mf.actions = map[memberMatch]matchParts{}, map[uint32]Actions{}
	}
	k := memberMatch{m.VPC, m.Addr.Is6()}
	parts, known := mf.matches[k]
	as, also := mf.actions[remote]
	if !known || !also {
		var made []Flow
		memberFlow(mf.s, m, mf.u.vpc.of(m.VPC), remote, mf.u.hash, collect(&made))
		like := made[0]
		oxm, header := like.Match.oxm, fields[mf.s.addr(m.Addr)].header
		at := strings.LastIndex(oxm, string(binary.BigEndian.AppendUint32(nil, header))) + 4
		mf.matches[k] = matchParts{oxm[:at], oxm[at+m.Addr.BitLen()/8:]}
		mf.actions[remote] = like.Actions
		return like
	}
	b := make([]byte, 0, 64)
	b = append(append(append(b, parts.before...), m.Addr.AsSlice()...), parts.behind...)
	return Flow{Key{mf.s.remote(), 100, Match{string(b)}}, memberCookie(m, mf.u.hash), as}
}

// epochs puts the flows of classes right.
func (u *increment) epochs(c *Compiler, changed map[*class]bool, touched map[string]bool) {
	for k, unit := range u.classes {
		if k.ports == 0 {
			u.replace(unit.flows, nil)
			delete(u.classes, k)
			continue
		}
		if !changed[k] && !slices.ContainsFunc(k.key.ids(), func(id string) bool { return touched[id] }) {
			continue
		}
		prints := fingerprints(k.key.vpc, pickGroups(c.groups, k.key.ids()))
		vpc := uint32(0)
		if unit.vpc != nil {
			vpc = unit.vpc.number
		}
		var now []Flow
		classFlows(unit.number.number, vpc, k.epochs, prints, collect(&now))
		unit.flows = u.replace(unit.flows, now)
	}
}

// endpoints puts the flows of VM ports and of their networks right.
func (u *increment) endpoints(c *Compiler, ch policy.ModelChange) {
	vlans := map[uint16]bool{}
	for _, e := range ch.Endpoints {
		if e.Before != nil {
			port, vlan := e.Before.OFPort, e.Before.Tag
			u.replace(u.ports[port], nil)
			delete(u.ports, port)
			vlans[vlan] = true
			u.network[vlan] = slices.DeleteFunc(u.network[vlan], func(p uint16) bool { return p == port })
		}
		if e.After != nil {
			var now []Flow
			endpointFlows(e.After, collect(&now))
			memberOfClass(e.After.OFPort, u.classes[c.classes.of[e.After.OFPort]].number.number, collect(&now))
			vlans[e.After.Tag] = true
			u.network[e.After.Tag] = append(u.network[e.After.Tag], e.After.OFPort)
			u.ports[e.After.OFPort] = u.replace(nil, now)
		}
	}
	for vlan := range vlans {
		var now []Flow
		if ports := u.network[vlan]; len(ports) > 0 {
			floodFlows(vlan, slices.Clone(ports), collect(&now))
		}
		u.floods[vlan] = u.replace(u.floods[vlan], now)
	}
}

// fixed puts right what depends on neither policy nor VM ports.
func (u *increment) fixed(c *Compiler, first bool) {
	if first || !slices.EqualFunc(c.host.Infra, u.infra, InfraPort.equal) {
		var now []Flow
		for _, p := range c.host.Infra {
			infraFlows(p, collect(&now))
		}
		u.infra = c.host.Infra
		u.trunks = u.replace(u.trunks, now)
	}
	mark := newCookie(KindPipeline, uint64(c.classes.mark))
	if !first && slices.ContainsFunc(u.frame, func(f Flow) bool { return f.Table == TableClassify && f.Priority == 0 && f.Cookie == mark }) {
		return
	}
	frame := compiler{in: Input{Mark: c.classes.mark, Userspace: c.host.Userspace}, set: &Set{}}
	frame.pipeline()
	u.frame = u.replace(u.frame, slices.Collect(frame.set.All()))
}

// all is what a first step comes to; ok is false if that cannot be said.
func (u *increment) all() (set *Set, ok bool) {
	set = &Set{m: make(map[Key]Flow, len(u.news))}
	ok = !u.spoilt && len(u.olds) == 0
	for _, f := range u.news {
		ok = set.add(f) == nil && ok
	}
	u.news = nil
	return set, ok
}

// delta is what the step comes to; ok is false if that cannot be said.
func (u *increment) delta() (d Delta, ok bool) {
	olds, news := make(map[Key]Flow, len(u.olds)), make(map[Key]Flow, len(u.news))
	for _, f := range u.olds {
		olds[f.Key] = f
	}
	for _, f := range u.news {
		if was, twice := news[f.Key]; twice && was != f {
			return Delta{}, false
		}
		news[f.Key] = f
	}
	u.olds, u.news = nil, nil
	for k, f := range news {
		switch was, there := olds[k]; {
		case !there:
			d.Add = append(d.Add, f)
		case was != f:
			d.Modify = append(d.Modify, f)
		}
	}
	for k, f := range olds {
		if _, stays := news[k]; !stays {
			d.Delete = append(d.Delete, f)
		}
	}
	return Delta{inOrder(d.Add), inOrder(d.Modify), inOrder(d.Delete)}, !u.spoilt
}
