package compile

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Class has the index and the epochs of a class of VM ports, which have the same
// VPC and groups. Index tells apart the classes with the same VPC and groups.
//
// Epochs belong to classes and not to ports, so that a change of rules costs the
// same flows whatever the number of ports. A port whose groups grow keeps its
// epochs, but the class it joins may have other epochs; hence there may be several
// classes for the same VPC and groups, with different indexes.
type Class struct {
	Index  uint32
	Epochs flows.Epochs
}

// classID is the VPC and the groups of a class. It is comparable.
type classID struct {
	vpc, groups string // groups: see setKey
}

// groupIDs returns the groups of the class.
func (id classID) groupIDs() []string { return groupsOf(id.groups) }

func classIDOf(e *policy.Endpoint) classID { return classID{e.VPC, setKey(e.Groups)} }

// classKey names a class. It is comparable.
type classKey struct {
	classID
	index uint32
}

// String returns the text whose hash is the number of the class.
func (k classKey) String() string {
	s := "class " + k.vpc + "\x00" + k.groups
	if k.index > 0 {
		s += "\x00\x00" + strconv.FormatUint(uint64(k.index), 10)
	}
	return s
}

// portClass is a class with ports in it.
type portClass struct {
	classKey
	epochs flows.Epochs
	ports  int
}

// epochTracker knows which port is in which class, and gives out the epochs:
//
//   - A class gets an epoch higher than all before whenever its rules allow less
//     than before.
//   - As long as a port belongs to the same VM and may do all that it could do
//     before, its epochs do not change, whatever class it is in.
//   - Otherwise the port gets epochs higher than all it ever had.
//
// So a connection that carries the present epoch of a port was allowed by
// rules that allow it still.
type epochTracker struct {
	hash    func(string) uint64 // see Compiler
	ofPort  map[uint16]*portClass
	classes map[classID][]*portClass // sorted by index
	// last are the highest epochs that connections of a port in no class may
	// carry; for ports that were in no class yet, floor is.
	last    map[uint16]flows.Epochs
	floor   uint32
	highest uint32 // the highest epoch that was ever given out
	// Epochs are given out from first to final. Those outside were given out for
	// another bridge, or by an agent that gave out all.
	first, final uint32
	// persisted is Input.HighestEpoch.
	persisted uint32
	raised    bool // highest was raised in this step
	wrapped   bool // epochs began anew in this step
	// adopted is what the flows in force said, before the first step.
	adopted installed
	// changed are the classes that came, went or got other epochs in this step.
	changed map[*portClass]bool
}

func newEpochTracker(hash func(string) uint64) epochTracker {
	return epochTracker{hash: hash, first: 1, final: flows.MaxEpoch, ofPort: map[uint16]*portClass{}, classes: map[classID][]*portClass{},
		last: map[uint16]flows.Epochs{}, changed: map[*portClass]bool{}}
}

// adopt takes over what the flows in force say.
func (t *epochTracker) adopt(in installed) {
	t.adopted = in
	if t.foreign(in.highest) {
		in.highest = t.first - 1
	}
	t.highest, t.floor, t.persisted = in.highest, in.highest, in.persisted
}

// foreign reports whether an epoch is not one of those that are given out here.
func (t *epochTracker) foreign(epoch uint32) bool { return epoch < t.first || epoch > t.final }

// saltBits is the number of bits of an epoch that a salt has.
const saltBits = 10

// salt makes all epochs begin with a salt, which is not 0.
func (t *epochTracker) salt(salt uint16) {
	const rest = 32 - saltBits
	t.first = uint32(salt)<<rest | 1
	t.final = t.first | (1<<rest - 1)
	t.highest, t.floor = t.first-1, t.first-1
}

// raise returns the epoch for everything that needs a new one in this step.
func (t *epochTracker) raise() uint32 {
	if !t.raised {
		t.raised = true
		if t.highest == t.final {
			t.wrapped = true
		} else {
			t.highest++
		}
	}
	return t.highest
}

// begin begins a step.
func (t *epochTracker) begin() {
	t.raised, t.wrapped = false, false
	clear(t.changed)
}

// step brings the classes up to date after endpoints, rules and members have
// changed. left holds the groups of a VPC that some member has left.
func (t *epochTracker) step(endpoints []policy.Change[policy.Endpoint], rules ruleSets, left map[groupInVPC]bool) {
	t.begin()
	// Ports that leave their classes.
	type mover struct {
		e    *policy.Endpoint
		from *portClass // nil: the port is new, or belongs to another VM now
		was  flows.Epochs
	}
	var movers []mover
	for _, ch := range endpoints {
		if ch.Before == nil {
			movers = append(movers, mover{e: ch.After})
			continue
		}
		from := t.ofPort[ch.Before.OFPort]
		same := ch.After != nil && ownerOf(ch.Before) == ownerOf(ch.After)
		if same && from.classID == classIDOf(ch.After) {
			continue
		}
		t.leave(ch.Before.OFPort)
		switch {
		case same:
			movers = append(movers, mover{ch.After, from, from.epochs})
		case ch.After != nil:
			movers = append(movers, mover{e: ch.After})
		}
	}
	// Classes that stay.
	if rules.differ || len(left) > 0 {
		t.raiseShrunk(rules, left)
	}
	// Ports that join classes.
	for _, m := range movers {
		id := classIDOf(m.e)
		switch {
		case m.from != nil:
			if shrunk := rules.shrinks(m.from.classID, id, left); shrunk == [2]bool{} {
				t.join(m.e.OFPort, t.withEpochs(id, m.was))
			} else {
				t.join(m.e.OFPort, t.above(id, m.was))
			}
		case t.adoptable(m.e):
			t.join(m.e.OFPort, t.readopt(m.e, rules))
		default:
			last, ok := t.last[m.e.OFPort]
			if !ok {
				last = flows.Epochs{t.floor, t.floor}
			}
			t.join(m.e.OFPort, t.above(id, last))
		}
	}
	t.settle()
}

// raiseShrunk raises the epochs of classes whose rules allow less.
func (t *epochTracker) raiseShrunk(rules ruleSets, left map[groupInVPC]bool) {
	for id, list := range t.classes {
		shrunk := rules.shrinks(id, id, left)
		for _, c := range list {
			for d, yes := range shrunk {
				if yes {
					c.epochs[d] = t.raise()
					t.changed[c] = true
				}
			}
		}
	}
}

// raiseAll makes a step of its own, which raises the epochs of all classes.
func (t *epochTracker) raiseAll() {
	t.begin()
	for _, list := range t.classes {
		for _, c := range list {
			c.epochs = flows.Epochs{t.raise(), t.raise()}
			t.changed[c] = true
		}
	}
	t.settle()
}

func (t *epochTracker) leave(ofport uint16) {
	c := t.ofPort[ofport]
	delete(t.ofPort, ofport)
	t.last[ofport] = c.epochs
	if c.ports--; c.ports > 0 {
		return
	}
	t.changed[c] = true
	t.classes[c.classID] = slices.DeleteFunc(t.classes[c.classID], func(o *portClass) bool { return o == c })
	if len(t.classes[c.classID]) == 0 {
		delete(t.classes, c.classID)
	}
}

func (t *epochTracker) join(ofport uint16, c *portClass) {
	c.ports++
	t.ofPort[ofport] = c
	delete(t.last, ofport)
}

// withEpochs returns a class of the VPC and groups that has certain epochs, if need
// be a new one.
func (t *epochTracker) withEpochs(id classID, epochs flows.Epochs) *portClass {
	for _, c := range t.classes[id] {
		if c.epochs == epochs {
			return c
		}
	}
	return t.at(classKey{classID: id}, epochs)
}

// at returns the class with a key if the class has certain epochs, else a new
// class, with another index if the key's index is taken.
func (t *epochTracker) at(k classKey, epochs flows.Epochs) *portClass {
	taken := map[uint32]bool{}
	for _, c := range t.classes[k.classID] {
		if c.classKey == k && c.epochs == epochs {
			return c
		}
		taken[c.index] = true
	}
	if taken[k.index] {
		for k.index = 0; taken[k.index]; {
			k.index++
		}
	}
	c := &portClass{classKey: k, epochs: epochs}
	t.classes[k.classID] = append(t.classes[k.classID], c)
	slices.SortFunc(t.classes[k.classID], func(a, b *portClass) int { return cmp.Compare(a.index, b.index) })
	t.changed[c] = true
	return c
}

// above returns a class of the VPC and groups with higher epochs than those given.
func (t *epochTracker) above(id classID, epochs flows.Epochs) *portClass {
	for _, c := range t.classes[id] {
		if c.epochs[0] > epochs[0] && c.epochs[1] > epochs[1] {
			return c
		}
	}
	if t.foreign(epochs[0]) && t.foreign(epochs[1]) {
		return t.withEpochs(id, flows.Epochs{t.first, t.first})
	}
	e := t.raise()
	return t.withEpochs(id, flows.Epochs{e, e})
}

// adoptable reports whether the flows in force were made for the same VM.
func (t *epochTracker) adoptable(e *policy.Endpoint) bool {
	number, ok := t.adopted.ports[e.OFPort]
	if !ok || t.adopted.owners[e.OFPort] != ownerOf(e) {
		return false
	}
	_, ok = t.adopted.classes[number]
	return ok
}

// likelyIndexes is the number of indexes that readopt tries until the hash of the
// class is the class's number. Low indexes are taken first, so there is hardly
// ever one beyond the first few.
const likelyIndexes = 256

// readopt returns the class of an endpoint that was in a class before a restart:
// it has the epochs of before where the rules still say the same.
func (t *epochTracker) readopt(e *policy.Endpoint, rules ruleSets) *portClass {
	number := t.adopted.ports[e.OFPort]
	was, k := t.adopted.classes[number], classKey{classID: classIDOf(e)}
	epochs := was.epochs
	for d, print := range fingerprints(e.VPC, pickGroups(rules.after, e.Groups)) {
		if was.prints[d] != print || t.foreign(epochs[d]) {
			epochs[d] = t.raise()
		}
	}
	// The class with the same number is preferred, so that a restart changes
	// nothing.
	for k.index = range uint32(likelyIndexes) {
		if uint32(t.hash(k.String())) == number {
			return t.at(k, epochs)
		}
	}
	return t.withEpochs(k.classID, epochs)
}

// settle ends a step.
func (t *epochTracker) settle() {
	t.adopted = installed{}
	if t.wrapped {
		t.beginAnew()
	}
	highest := uint32(0)
	for _, list := range t.classes {
		for _, c := range list {
			highest = max(highest, c.epochs[0], c.epochs[1])
		}
	}
	if t.highest = max(t.highest, highest); t.highest > highest || t.persisted > t.highest {
		t.persisted = t.highest
	}
}

// beginAnew gives out the lowest epochs again, after the highest. All
// connections must be forgotten.
func (t *epochTracker) beginAnew() {
	for _, list := range t.classes {
		for _, c := range list {
			for d := range c.epochs {
				c.epochs[d] = t.first + c.epochs[d]%2
			}
			t.changed[c] = true
		}
	}
	clear(t.last)
	t.floor, t.highest = t.first-1, t.first+1
}

// byPort returns Input.Classes.
func (t *epochTracker) byPort() map[uint16]Class {
	out := make(map[uint16]Class, len(t.ofPort))
	for port, c := range t.ofPort {
		out[port] = Class{c.index, c.epochs}
	}
	return out
}
