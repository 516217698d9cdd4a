package compile

// This file is the reference for the Compiler, and what the Compiler falls back to
// when numbers collide or more than pipeline.MaxConjunctions share a clause;
// incremental.go has the product.

import (
	"fmt"
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/pipeline"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Input is all that the flows of a host depend on.
type Input struct {
	Model *policy.Model
	flows.Host
	// Classes holds, for the ofport of each endpoint, its class; if absent, or
	// without epochs, the class with index 0 and the epochs 1. Classes with the same
	// VPC, groups and index must have the same epochs.
	Classes map[uint16]Class
	// HighestEpoch keeps the epoch counter across a restart: it is the highest
	// epoch that was ever given out, as of the last time when no class had that
	// epoch any more.
	HighestEpoch uint32
}

// Full returns all flows that enforce in. The same input, in whatever order, gives
// the same flows. Errors: an ofport beyond the connection tracking zones, a policy
// too large for a message; the caller keeps what is in force.
func Full(in Input) (*flows.Set, error) { return fullWith(in, flows.Hash) }

// fullWith is Full with another hash for numbers, so that tests can force
// collisions.
func fullWith(in Input, hash func(string) uint64) (*flows.Set, error) {
	c := &fullCompiler{in: in, hash: hash, set: &flows.Set{}}
	c.number()
	pipeline.Frame(in.HighestEpoch, in.Host, c.emit)
	for _, p := range in.Infra {
		pipeline.Infra(p, c.emit)
	}
	networks := map[uint16][]uint16{}
	for i := range in.Model.Endpoints {
		e := &in.Model.Endpoints[i]
		if err := checkOFPort(e); err != nil {
			return nil, err
		}
		pipeline.Endpoint(e, in.Host, c.emit)
		pipeline.ClassOfPort(e.OFPort, c.class[c.classes[e.OFPort].String()], c.emit)
		networks[e.Tag] = append(networks[e.Tag], e.OFPort)
	}
	c.epochs()
	for vlan, ports := range networks {
		pipeline.Network(vlan, ports, c.emit)
	}
	for protocol, ranges := range portRanges(c.groups) {
		for _, b := range pipeline.PortBlocks(ranges) {
			pipeline.Service(protocol, b, c.emit)
		}
	}
	for _, d := range directions {
		c.members(d)
		c.rules(d)
	}
	return c.set, c.err
}

func checkOFPort(e *policy.Endpoint) error {
	if e.OFPort == 0 || e.OFPort > flows.MaxOFPort {
		return fmt.Errorf("compile: port %s: ofport %d is not within 1 to %d", e.VIF, e.OFPort, flows.MaxOFPort)
	}
	return nil
}

// fullCompiler makes all flows of one Input.
type fullCompiler struct {
	in   Input
	hash func(string) uint64
	set  *flows.Set
	err  error

	groups  []*groupRules // as in the model
	byID    map[string]*groupRules
	classes map[uint16]classKey // of each endpoint
	class   map[string]uint32   // number of a class
	vpc     map[string]uint32   // number of a VPC
	conj    map[string]uint32   // conjunction ID of a rule's content, see conjKey
	remotes [2]remoteNumbers    // by policy.Direction
}

// remoteNumbers has the numbers of the sets of groups in one of the two remote
// tables.
type remoteNumbers struct {
	// refs are, by VPC, the groups to whose members rules of some endpoint refer.
	refs map[string]map[string]bool
	// bySet is the number of a set of such groups; setOf is the set of each
	// member, by index in Model.Members ("" = none).
	bySet map[string]uint32
	setOf []string
}

// emit implements flows.Emitter.
func (c *fullCompiler) emit(t flows.Table, priority uint16, cookie flows.Cookie, match flows.Match, next int, as ...flows.Action) {
	c.add(flows.NewFlow(t, priority, cookie, match, next, as...))
}

// add adds a flow; the first error stays.
func (c *fullCompiler) add(f flows.Flow) {
	if err := c.set.Add(f); err != nil && c.err == nil {
		c.err = err
	}
}

// number gives numbers to everything that flows name by number.
func (c *fullCompiler) number() {
	m := c.in.Model
	var classes, vpcs, rules []string
	c.classes = map[uint16]classKey{}
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		k := classKey{classIDOf(e), c.in.Classes[e.OFPort].Index}
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

	for d := range c.remotes {
		c.remotes[d].refs = map[string]map[string]bool{}
	}
	for _, e := range m.Endpoints {
		for _, id := range e.Groups {
			for _, r := range c.byID[id].Rules {
				if r.Remote.Kind == policy.ResolvedMembers && e.VPC != "" {
					refs := c.remotes[r.Direction].refs
					if refs[e.VPC] == nil {
						refs[e.VPC] = map[string]bool{}
					}
					refs[e.VPC][r.Remote.Group] = true
				}
			}
		}
	}
	for d := range c.remotes {
		n := &c.remotes[d]
		n.setOf = make([]string, len(m.Members))
		seen := map[string]bool{}
		for i, member := range m.Members {
			refs := n.refs[member.VPC]
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
				n.setOf[i] = setKey(in)
				seen[n.setOf[i]] = true
			}
		}
		n.bySet = numbers(sortedKeys(seen), c.hash)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// epochs adds the flows of the classes.
func (c *fullCompiler) epochs() {
	done := map[classKey]bool{}
	for ofport, k := range c.classes {
		if done[k] {
			continue
		}
		done[k] = true
		epochs := c.in.Classes[ofport].Epochs
		if epochs == (flows.Epochs{}) {
			epochs = flows.Epochs{1, 1}
		}
		pipeline.Class(c.class[k.String()], c.vpc[k.vpc], epochs, fingerprints(k.vpc, pickGroups(c.byID, k.groupIDs())), c.emit)
	}
}

// members adds the members to which some rule of the direction refers.
func (c *fullCompiler) members(d policy.Direction) {
	n := &c.remotes[d]
	for i := range c.in.Model.Members {
		m := &c.in.Model.Members[i]
		if set := n.setOf[i]; set != "" {
			c.add(pipeline.Member(d, m, c.vpc[m.VPC], n.bySet[set]))
		}
	}
}

// clauseKey identifies a clause flow: clauses with the same key share the flow.
type clauseKey struct {
	priority uint16
	match    flows.Match
}

// rules adds the rules of a direction.
func (c *fullCompiler) rules(d policy.Direction) {
	locals := map[string][]uint32{} // numbers of the classes that have a group
	done := map[classKey]bool{}
	for _, k := range c.classes {
		for _, g := range k.groupIDs() {
			if !done[k] {
				locals[g] = append(locals[g], c.class[k.String()])
			}
		}
		done[k] = true
	}
	remotes := map[string][]uint32{} // numbers of the sets that a remote group is in
	for set, id := range c.remotes[d].bySet {
		for _, g := range groupsOf(set) {
			remotes[g] = append(remotes[g], id)
		}
	}
	clauses := map[clauseKey][]flows.Conjunction{}
	for _, g := range c.groups {
		for _, r := range partsOf(g, d, locals[g.ID], remotes, c.conj) {
			c.rule(d, r, clauses)
		}
	}
	for k, cs := range clauses {
		c.add(pipeline.Clause(d, k.priority, k.match, cs))
	}
}

// rule adds one rule, the product of its dimensions.
func (c *fullCompiler) rule(d policy.Direction, r ruleParts, clauses map[clauseKey][]flows.Conjunction) {
	if len(r.dims) == 1 {
		for _, m := range r.dims[0] {
			f := pipeline.PlainRule(d, r.cookie, m)
			// Another group of the same VMs may say the same.
			if _, ok := c.set.Get(f.Key); !ok {
				c.add(f)
			}
		}
		return
	}
	priority := uint16(pipeline.RulesConjunction)
	for crowded(clauses, priority, r.dims) {
		priority--
	}
	for k, dim := range r.dims {
		for _, m := range dim {
			at := clauseKey{priority, m}
			clauses[at] = append(clauses[at], r.clause(k))
		}
	}
	c.add(pipeline.Conjunction(d, priority, r.cookie, r.id))
}

// crowded reports whether a clause flow at the priority has no room left.
func crowded(clauses map[clauseKey][]flows.Conjunction, priority uint16, dims [][]flows.Match) bool {
	for _, d := range dims {
		for _, m := range d {
			if len(clauses[clauseKey{priority, m}]) >= pipeline.MaxConjunctions {
				return true
			}
		}
	}
	return false
}
