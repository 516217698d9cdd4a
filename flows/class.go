package flows

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Epochs are a class's, by policy.Direction. The epoch of a direction is
// raised when its rules allow less than before; connections remember the one
// they were judged at.
type Epochs [2]uint32

// MaxEpoch is the highest epoch; a quarter of ct_label holds one.
const MaxEpoch = math.MaxUint32

// Class is what VM ports with the same VPC and groups have in common. The
// epochs are its, not the ports', so that a change of rules costs the same
// flows whatever the number of ports. A port whose groups grow keeps its
// epochs, which the class it joins may not have; hence there may be several
// classes for the same VPC and groups, told apart by their index.
type Class struct {
	Index  uint32
	Epochs Epochs
}

// classKey is the identity of a class. Comparable.
type classKey struct {
	vpc, groups string // groups: see setKey
	index       uint32
}

// newClassKey is that of an endpoint in a class with an index.
func newClassKey(e *policy.Endpoint, index uint32) classKey {
	return classKey{e.VPC, setKey(e.Groups), index}
}

// String is what the number of the class is the hash of.
func (k classKey) String() string {
	s := "class " + k.vpc + "\x00" + k.groups
	if k.index > 0 {
		s += "\x00\x00" + strconv.FormatUint(uint64(k.index), 10)
	}
	return s
}

func (k classKey) ids() []string { return groupsOf(k.groups) }

func (k classKey) identity() identity { return identity{k.vpc, k.groups} }

// setKey names a set of groups, sorted.
func setKey(groups []string) string { return strings.Join(groups, "\x00") }

// groupsOf are the groups of a set that setKey has named.
func groupsOf(set string) []string {
	if set == "" {
		return nil
	}
	return strings.Split(set, "\x00")
}

// groupRules is a rule group with the content of each of its rules.
type groupRules struct {
	*policy.RuleGroup
	keys []string    // contentKey of each rule
	refs [2][]string // the groups whose members rules refer to, by direction
}

func newGroupRules(g *policy.RuleGroup) *groupRules {
	out := &groupRules{RuleGroup: g, keys: make([]string, len(g.Rules))}
	for i, r := range g.Rules {
		out.keys[i] = contentKey(r)
		if refs := &out.refs[r.Direction]; r.Remote.Kind == policy.ResolvedMembers && !slices.Contains(*refs, r.Remote.Group) {
			*refs = append(*refs, r.Remote.Group)
		}
	}
	return out
}

// contents lists what the rules of a direction allow, sorted, each once.
func contents(groups []*groupRules, d policy.Direction) []string {
	var out []string
	for _, g := range groups {
		for i, r := range g.Rules {
			if r.Direction == d {
				out = append(out, g.keys[i])
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// fingerprint is 40 bits that stay the same as long as what the rules of a
// direction allow does, apart from who the members of groups are.
func fingerprint(vpc string, d policy.Direction, contents []string) uint64 {
	return hash64("rules "+vpc+"\x00"+d.String()+"\x00"+strings.Join(contents, "\x00")) & objectMask
}

// fingerprints are those of both directions, for what groups allow.
func fingerprints(vpc string, groups []*groupRules) (out [2]uint64) {
	for _, s := range sides {
		out[s.Direction] = fingerprint(vpc, s.Direction, contents(groups, s.Direction))
	}
	return out
}

// classFlows are the flows of a class: they recognise the connections whose
// verdict is up to date, and prepare the judging of the others.
func classFlows(number, vpc uint32, epochs Epochs, fingerprints [2]uint64, emit emitter) {
	const all = 0xffffffff
	for _, s := range sides {
		class, load := RegIs(RegLocal, number), SetReg(s.epochReg(), epochs[s.Direction])
		emit(s.epoch(), 110, newCookie(KindEpoch, fingerprints[s.Direction]),
			NewMatch(class, RegLacks(RegCommit, 1<<s.stale().Offset), CTLabel(s.label(0, epochs[s.Direction]), s.label(0, all))), int(s.allowed()), load)
		emit(s.epoch(), 100, newCookie(KindEpoch, 0), NewMatch(class), int(s.remote()),
			load, Load(s.stale(), 1), SetReg(RegVPC, vpc), Resubmit(uint8(TableService)))
	}
}

// memberOfClass are the flows that say which class a VM port is in, and
// whether a connection is the port's own: a guest may send its packets to
// another VM, and an address may move.
func memberOfClass(ofport uint16, class uint32, emit emitter) {
	const all = 0xffffffff
	p := uint32(ofport)
	for _, s := range sides {
		port, load := RegIs(s.port(), p), SetReg(RegLocal, class)
		cookie := newCookie(KindPort, uint64(p))
		emit(s.est(), 110, cookie, NewMatch(port, CTLabel(s.label(p, 0), s.label(all, 0))), int(s.epoch()), load)
		emit(s.est(), 100, cookie, NewMatch(port), int(s.epoch()), load, Load(s.stale(), 1))
	}
}
