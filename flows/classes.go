package flows

import (
	"cmp"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// identity is what the ports of a class have in common, see setKey.
type identity struct{ vpc, groups string }

// class is a Class with ports in it.
type class struct {
	key    classKey
	epochs Epochs
	ports  int
}

func (c *class) identity() identity { return c.key.identity() }

// classes is who is in which class. Its rules:
//
//   - What a class allows shrinks only together with a new epoch, higher than
//     all before.
//   - As long as a port belongs to the same VM, what it may do does not shrink
//     and its epochs do not change, whatever class it is in.
//   - Otherwise it gets epochs higher than all it ever had.
//
// So a connection that carries the present epoch of a port was allowed by
// rules that allow it still.
type classes struct {
	of  map[uint16]*class
	all map[identity][]*class // sorted by index
	// last are the highest epochs that connections of ports in no class may
	// carry; floor those of the ports that are not in it.
	last       map[uint16]Epochs
	floor      uint32
	generation uint32 // the highest epoch there ever was
	mark       uint32 // see Input.Mark
	raised     bool   // generation is new in this step
	wrapped    bool   // epochs began anew in this step
	// adopted are the classes that the flows in force tell of.
	adopted installed
	// changed are the classes that are new, gone or have other epochs since
	// step.
	changed map[*class]bool
}

func newClasses() classes {
	return classes{of: map[uint16]*class{}, all: map[identity][]*class{}, last: map[uint16]Epochs{}, changed: map[*class]bool{}}
}

// adopt takes over what the flows in force say.
func (cs *classes) adopt(in installed) {
	cs.adopted = in
	cs.generation, cs.floor, cs.mark = in.highest, in.highest, in.mark
}

// raise is the epoch for all that needs a new one in this step.
func (cs *classes) raise() uint32 {
	if !cs.raised {
		cs.raised = true
		if cs.generation == MaxEpoch {
			cs.wrapped = true
		} else {
			cs.generation++
		}
	}
	return cs.generation
}

// groupInVPC is the members of a group in a VPC.
type groupInVPC struct{ vpc, group string }

// ruleBook finds the rules of groups before and after a step.
type ruleBook struct {
	after  map[string]*groupRules
	was    map[string]*groupRules // those that differ, as they were; nil: absent
	differ bool
}

func (b ruleBook) groups(set string, before bool) []*groupRules {
	var out []*groupRules
	for _, id := range groupsOf(set) {
		g := b.after[id]
		if was, differs := b.was[id]; before && differs {
			g = was
		}
		if g != nil {
			out = append(out, g)
		}
	}
	return out
}

// shrinks says for each direction whether ports with one identity would be
// allowed less with another: what their rules said before is not all said
// after, or somebody they let in has left.
func (b ruleBook) shrinks(was, now identity, left map[groupInVPC]bool) (out [2]bool) {
	before, after := b.groups(was.groups, true), b.groups(now.groups, false)
	for d := range out {
		d := policy.Direction(d)
		for _, g := range before {
			for _, ref := range g.refs[d] {
				out[d] = out[d] || was.vpc != now.vpc || left[groupInVPC{was.vpc, ref}]
			}
		}
		out[d] = out[d] || !subset(before, after, d)
	}
	return out
}

// subset says whether all that some groups allow others allow too.
func subset(groups, others []*groupRules, d policy.Direction) bool {
	if slices.Equal(groups, others) {
		return true
	}
	now := contents(others, d)
	for _, c := range contents(groups, d) {
		if _, ok := slices.BinarySearch(now, c); !ok {
			return false
		}
	}
	return true
}

// step brings the classes up to date with what became of endpoints and rules,
// and of members: of which groups of a VPC some have left.
func (cs *classes) step(endpoints []policy.Change[policy.Endpoint], rules ruleBook, left map[groupInVPC]bool) {
	cs.raised, cs.wrapped = false, false
	clear(cs.changed)
	// Those who go.
	type mover struct {
		e    *policy.Endpoint
		from *class // nil: the port is new, or belongs to somebody else now
		was  Epochs
	}
	var movers []mover
	for _, ch := range endpoints {
		if ch.Before == nil {
			movers = append(movers, mover{e: ch.After})
			continue
		}
		from := cs.of[ch.Before.OFPort]
		same := ch.After != nil && ownerOf(ch.Before) == ownerOf(ch.After)
		if same && from.identity() == newClassKey(ch.After, 0).identity() {
			continue
		}
		cs.leave(ch.Before.OFPort)
		switch {
		case same:
			movers = append(movers, mover{ch.After, from, from.epochs})
		case ch.After != nil:
			movers = append(movers, mover{e: ch.After})
		}
	}
	// Those who stay.
	if rules.differ || len(left) > 0 {
		cs.raiseStaying(rules, left)
	}
	// Those who come.
	for _, m := range movers {
		k := newClassKey(m.e, 0)
		switch {
		case m.from != nil:
			if shrunk := rules.shrinks(m.from.identity(), k.identity(), left); shrunk == [2]bool{} {
				cs.join(m.e.OFPort, cs.withEpochs(k.identity(), m.was))
			} else {
				cs.join(m.e.OFPort, cs.above(k.identity(), m.was))
			}
		case cs.adoptable(m.e):
			cs.join(m.e.OFPort, cs.readopt(m.e, rules))
		default:
			last, ok := cs.last[m.e.OFPort]
			if !ok {
				last = Epochs{cs.floor, cs.floor}
			}
			cs.join(m.e.OFPort, cs.above(k.identity(), last))
		}
	}
	cs.settle()
}

// raiseStaying raises the epochs of classes whose rules allow less.
func (cs *classes) raiseStaying(rules ruleBook, left map[groupInVPC]bool) {
	for id, list := range cs.all {
		shrunk := rules.shrinks(id, id, left)
		for _, c := range list {
			for d, yes := range shrunk {
				if yes {
					c.epochs[d] = cs.raise()
					cs.changed[c] = true
				}
			}
		}
	}
}

// raiseReferring raises the epochs of a direction wherever rules refer to
// members.
func (cs *classes) raiseReferring(d policy.Direction, rules map[string]*groupRules) {
	cs.raised, cs.wrapped = false, false
	clear(cs.changed)
	for _, list := range cs.all {
		for _, c := range list {
			for _, g := range pickGroups(rules, c.key.ids()) {
				if len(g.refs[d]) > 0 {
					c.epochs[d] = cs.raise()
					cs.changed[c] = true
				}
			}
		}
	}
	cs.settle()
}

func (cs *classes) leave(ofport uint16) {
	c := cs.of[ofport]
	delete(cs.of, ofport)
	cs.last[ofport] = c.epochs
	if c.ports--; c.ports > 0 {
		return
	}
	cs.changed[c] = true
	id := c.identity()
	cs.all[id] = slices.DeleteFunc(cs.all[id], func(o *class) bool { return o == c })
	if len(cs.all[id]) == 0 {
		delete(cs.all, id)
	}
}

func (cs *classes) join(ofport uint16, c *class) {
	c.ports++
	cs.of[ofport] = c
	delete(cs.last, ofport)
}

// withEpochs is a class of an identity that has certain epochs, if need be a
// new one.
func (cs *classes) withEpochs(id identity, epochs Epochs) *class {
	for _, c := range cs.all[id] {
		if c.epochs == epochs {
			return c
		}
	}
	return cs.at(classKey{vpc: id.vpc, groups: id.groups}, epochs)
}

// at is the class with a key if it has certain epochs, else a new one, whose
// index is another if need be.
func (cs *classes) at(k classKey, epochs Epochs) *class {
	id := k.identity()
	taken := map[uint32]bool{}
	for _, c := range cs.all[id] {
		if c.key == k && c.epochs == epochs {
			return c
		}
		taken[c.key.index] = true
	}
	if taken[k.index] {
		for k.index = 0; taken[k.index]; {
			k.index++
		}
	}
	c := &class{key: k, epochs: epochs}
	cs.all[id] = append(cs.all[id], c)
	slices.SortFunc(cs.all[id], func(a, b *class) int { return cmp.Compare(a.key.index, b.key.index) })
	cs.changed[c] = true
	return c
}

// above is a class of an identity with epochs higher than those given.
func (cs *classes) above(id identity, epochs Epochs) *class {
	for _, c := range cs.all[id] {
		if c.epochs[0] > epochs[0] && c.epochs[1] > epochs[1] {
			return c
		}
	}
	if epochs == (Epochs{}) {
		return cs.withEpochs(id, Epochs{1, 1})
	}
	e := cs.raise()
	return cs.withEpochs(id, Epochs{e, e})
}

// adoptable says whether the flows in force were made for the same VM.
func (cs *classes) adoptable(e *policy.Endpoint) bool {
	number, ok := cs.adopted.ports[e.OFPort]
	if !ok || cs.adopted.owners[e.OFPort] != ownerOf(e) {
		return false
	}
	_, ok = cs.adopted.classes[number]
	return ok
}

// likelyIndexes is how many indexes of a class are tried to find the one that
// its number is made of. Lower ones are taken first, so there is hardly ever
// one beyond the first few.
const likelyIndexes = 256

// readopt is the class of an endpoint that had one before a restart: with its
// epochs where the rules still say the same.
func (cs *classes) readopt(e *policy.Endpoint, rules ruleBook) *class {
	number := cs.adopted.ports[e.OFPort]
	was, k := cs.adopted.classes[number], newClassKey(e, 0)
	epochs := was.epochs
	for d, print := range fingerprints(e.VPC, pickGroups(rules.after, e.Groups)) {
		if was.prints[d] != print {
			epochs[d] = cs.raise()
		}
	}
	// For choice the one that had the same number, so that a restart changes
	// nothing.
	for k.index = range uint32(likelyIndexes) {
		if uint32(hash64(k.String())) == number {
			return cs.at(k, epochs)
		}
	}
	return cs.withEpochs(k.identity(), epochs)
}

// settle ends a step.
func (cs *classes) settle() {
	cs.adopted = installed{}
	if cs.wrapped {
		cs.restart()
	}
	highest := uint32(0)
	for _, list := range cs.all {
		for _, c := range list {
			highest = max(highest, c.epochs[0], c.epochs[1])
		}
	}
	if cs.generation = max(cs.generation, highest); cs.generation > highest || cs.mark > cs.generation {
		cs.mark = cs.generation
	}
}

// restart gives out the lowest epochs again, after the highest. All
// connections must be forgotten.
func (cs *classes) restart() {
	for _, list := range cs.all {
		for _, c := range list {
			for d := range c.epochs {
				c.epochs[d] = 1 + c.epochs[d]%2
			}
			cs.changed[c] = true
		}
	}
	clear(cs.last)
	cs.floor, cs.generation = 0, 2
}

// byPort is what Input wants to know.
func (cs *classes) byPort() map[uint16]Class {
	out := make(map[uint16]Class, len(cs.of))
	for port, c := range cs.of {
		out[port] = Class{c.key.index, c.epochs}
	}
	return out
}
