package flows

import (
	"fmt"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Input is all that the flows of a host depend on.
type Input struct {
	Model *policy.Model
	Infra []InfraPort
	// Classes holds, for the ofport of each endpoint, its class; if absent, or
	// without epochs, the one with index 0 and the epochs 1. What has the same
	// VPC, groups and index must have the same epochs.
	Classes map[uint16]Class
	// Mark is the highest epoch there ever was, if no class has it any more,
	// for those who come after; else that of the time when this was so last.
	Mark uint32
	// Userspace says that the datapath is Open vSwitch's own (datapath_type
	// netdev) and not the kernel's. It hands out fragments of other packets
	// with any that is committed, see frameFragments.
	Userspace bool
}

// InfraPort is a port whose traffic is trusted: the bridge's own, an uplink,
// a patch or tunnel port. The zero VLAN fields are a trunk of all VLANs.
type InfraPort struct {
	OFPort uint32
	// Access: the port carries one VLAN, Native, without tag.
	Access bool
	// Native is the VLAN of frames without tag; 0: none.
	Native uint16
	// Trunks are the VLANs the port carries; empty: all.
	Trunks []uint16
}

func (p InfraPort) equal(o InfraPort) bool {
	return p.OFPort == o.OFPort && p.Access == o.Access && p.Native == o.Native && slices.Equal(p.Trunks, o.Trunks)
}

// Compile returns the flows that enforce in. The same input, in whatever
// order, gives the same flows. Errors: an ofport beyond the connection
// tracking zones, a policy too large for a message; the caller keeps what is
// in force.
func Compile(in Input) (*Set, error) { return compileWith(in, hash64) }

// compileWith is Compile with another hash, so that tests can force
// collisions.
func compileWith(in Input, hash func(string) uint64) (*Set, error) {
	c := &compiler{in: in, hash: hash, set: &Set{}}
	c.number()
	c.pipeline()
	for _, p := range in.Infra {
		infraFlows(p, c.add)
	}
	networks := map[uint16][]uint16{}
	for i := range in.Model.Endpoints {
		e := &in.Model.Endpoints[i]
		if err := checkOFPort(e); err != nil {
			return nil, err
		}
		endpointFlows(e, c.add)
		memberOfClass(e.OFPort, c.class[c.classes[e.OFPort].String()], c.add)
		networks[e.Tag] = append(networks[e.Tag], e.OFPort)
	}
	c.epochs()
	for vlan, ports := range networks {
		floodFlows(vlan, ports, c.add)
	}
	for protocol, ranges := range portRanges(c.groups) {
		serviceFlows(protocol, ranges, c.add)
	}
	for _, s := range sides {
		c.members(s)
		c.rules(s)
	}
	return c.set, c.err
}

func checkOFPort(e *policy.Endpoint) error {
	if e.OFPort == 0 || e.OFPort > MaxOFPort {
		return fmt.Errorf("compile: port %s: ofport %d is not within 1 to %d", e.VIF, e.OFPort, MaxOFPort)
	}
	return nil
}

// emitter takes the flows that one thing makes.
type emitter func(t Table, priority uint16, cookie Cookie, match Match, next int, as ...Action)

type compiler struct {
	in   Input
	hash func(string) uint64
	set  *Set
	err  error

	groups  []*groupRules       // as in the model
	classes map[uint16]classKey // of each endpoint
	class   map[string]uint32   // number of a class
	vpc     map[string]uint32   // number of a VPC
	conj    map[string]uint32   // conjunction ID of a rule's content, see conjKey
	byID    map[string]*groupRules
	sides   [2]sideNumbers // by policy.Direction
}

// sideNumbers is what differs between the tables of egress and ingress.
type sideNumbers struct {
	// refs are the groups whose members some endpoint of a VPC refers to.
	refs map[string]map[string]bool
	// remote is the identity of a set of such groups; setOf the set of each
	// member, by index in Model.Members ("" = none).
	remote map[string]uint32
	setOf  []string
}

// add adds a flow; the first error stays.
func (c *compiler) add(t Table, priority uint16, cookie Cookie, match Match, next int, as ...Action) {
	f := Flow{Key{t, priority, match}, cookie, NewActions(next, as...)}
	if err := c.set.add(f); err != nil && c.err == nil {
		c.err = err
	}
}

// drop as the table to go to.
const drop = -1

// number gives numbers to everything that flows name by number.
func (c *compiler) number() {
	m := c.in.Model
	var classes, vpcs, rules []string
	c.classes = map[uint16]classKey{}
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		k := newClassKey(e, c.in.Classes[e.OFPort].Index)
		c.classes[e.OFPort] = k
		classes = append(classes, k.String())
		if e.VPC != "" {
			vpcs = append(vpcs, e.VPC)
		}
	}
	c.byID = map[string]*groupRules{}
	for i := range m.Groups {
		g := newGroupRules(&m.Groups[i])
		c.groups, c.byID[g.ID] = append(c.groups, g), g
		for _, content := range g.keys {
			rules = append(rules, conjKey(g.ID, content))
		}
	}
	c.class, c.vpc, c.conj = numbers(classes, c.hash), numbers(vpcs, c.hash), numbers(rules, c.hash)

	for d := range c.sides {
		c.sides[d].refs = map[string]map[string]bool{}
	}
	for _, e := range m.Endpoints {
		for _, id := range e.Groups {
			for _, r := range c.byID[id].Rules {
				if r.Remote.Kind == policy.ResolvedMembers && e.VPC != "" {
					refs := c.sides[r.Direction].refs
					if refs[e.VPC] == nil {
						refs[e.VPC] = map[string]bool{}
					}
					refs[e.VPC][r.Remote.Group] = true
				}
			}
		}
	}
	for d := range c.sides {
		s := &c.sides[d]
		s.setOf = make([]string, len(m.Members))
		seen := map[string]bool{}
		for i, member := range m.Members {
			refs := s.refs[member.VPC]
			if len(refs) == 0 {
				continue
			}
			var in []string
			for _, g := range member.Groups {
				if refs[g] {
					in = append(in, g)
				}
			}
			if len(in) > 0 {
				s.setOf[i] = setKey(in)
				seen[s.setOf[i]] = true
			}
		}
		s.remote = numbers(keysOf(seen), c.hash)
	}
}

func keysOf[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// epochs adds the flows of the classes.
func (c *compiler) epochs() {
	done := map[classKey]bool{}
	for ofport, k := range c.classes {
		if done[k] {
			continue
		}
		done[k] = true
		epochs := c.in.Classes[ofport].Epochs
		if epochs == (Epochs{}) {
			epochs = Epochs{1, 1}
		}
		classFlows(c.class[k.String()], c.vpc[k.vpc], epochs, fingerprints(k.vpc, pickGroups(c.byID, k.ids())), c.add)
	}
}

// members adds the members that some rule of this side refers to.
func (c *compiler) members(s side) {
	numbers := &c.sides[s.Direction]
	for i := range c.in.Model.Members {
		m := &c.in.Model.Members[i]
		if set := numbers.setOf[i]; set != "" {
			memberFlow(s, m, c.vpc[m.VPC], numbers.remote[set], c.hash, c.add)
		}
	}
}

// rules adds the rules of one side.
func (c *compiler) rules(s side) {
	locals := map[string][]uint32{} // classes that a rule group is part of
	done := map[classKey]bool{}
	for _, k := range c.classes {
		for _, g := range k.ids() {
			if !done[k] {
				locals[g] = append(locals[g], c.class[k.String()])
			}
		}
		done[k] = true
	}
	remotes := map[string][]uint32{} // identities that a remote group is part of
	for set, id := range c.sides[s.Direction].remote {
		for _, g := range groupsOf(set) {
			remotes[g] = append(remotes[g], id)
		}
	}
	clauses := map[clauseKey][]Conjunction{}
	for _, g := range c.groups {
		for _, r := range s.ruleParts(g, locals[g.ID], remotes, c.conj, c.hash) {
			c.rule(s, r, clauses)
		}
	}
	for k, cs := range clauses {
		clauseFlow(s, k, cs, c.add)
	}
}

// rule adds one rule, the product of its dimensions.
func (c *compiler) rule(s side, r ruleParts, clauses map[clauseKey][]Conjunction) {
	if len(r.dims) == 1 {
		for _, m := range r.dims[0] {
			// Another group of the same VMs may say the same.
			if _, ok := c.set.Get(Key{s.rules(), priorityPlain, m}); !ok {
				c.add(s.rules(), priorityPlain, r.cookie, m, int(s.allowed()))
			}
		}
		return
	}
	priority := uint16(priorityConj)
	for crowded(clauses, priority, r.dims) {
		priority--
	}
	for k, d := range r.dims {
		for _, m := range d {
			at := clauseKey{priority, m}
			clauses[at] = append(clauses[at], Conjunction{r.id, uint8(k + 1), uint8(len(r.dims))})
		}
	}
	c.add(s.rules(), priority, r.cookie, NewMatch(ConjID(r.id)), int(s.allowed()))
}

// crowded says that some clause flow at a priority has no room left.
func crowded(clauses map[clauseKey][]Conjunction, priority uint16, dims [][]Match) bool {
	for _, d := range dims {
		for _, m := range d {
			if len(clauses[clauseKey{priority, m}]) >= maxConjunctions {
				return true
			}
		}
	}
	return false
}
