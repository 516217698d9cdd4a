package flows

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Input is all that the flows of a host depend on.
type Input struct {
	Model *policy.Model
	Infra []InfraPort
	// Epochs holds, for the ofport of each endpoint, the epoch of its rules,
	// from 1; 1 if absent.
	Epochs map[uint16]uint32
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
		c.infra(p)
	}
	networks := map[uint16][]uint16{}
	for i := range in.Model.Endpoints {
		e := &in.Model.Endpoints[i]
		if e.OFPort == 0 || e.OFPort > MaxOFPort {
			return nil, fmt.Errorf("compile: port %s: ofport %d is not within 1 to %d", e.VIF, e.OFPort, MaxOFPort)
		}
		c.endpoint(e)
		networks[e.Tag] = append(networks[e.Tag], e.OFPort)
	}
	for vlan, ports := range networks {
		c.flood(vlan, ports)
	}
	c.services()
	for _, d := range sides {
		c.members(d)
		c.rules(d)
	}
	return c.set, c.err
}

type compiler struct {
	in   Input
	hash func(string) uint64
	set  *Set
	err  error

	local map[string]uint32 // identity of a set of rule groups, see setKey
	vpc   map[string]uint32 // number of a VPC
	conj  map[string]uint32 // conjunction ID of a rule's content, see ruleKey
	sides [2]sideNumbers    // by policy.Direction
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

// setKey names a set of groups, sorted.
func setKey(groups []string) string { return strings.Join(groups, "\x00") }

// number gives numbers to everything that flows name by number.
func (c *compiler) number() {
	m := c.in.Model
	var locals, vpcs, rules []string
	for _, e := range m.Endpoints {
		if len(e.Groups) > 0 {
			locals = append(locals, setKey(e.Groups))
		}
		if e.VPC != "" {
			vpcs = append(vpcs, e.VPC)
		}
	}
	for _, g := range m.Groups {
		for _, r := range g.Rules {
			rules = append(rules, conjKey(g.ID, r))
		}
	}
	c.local, c.vpc, c.conj = numbers(locals, c.hash), numbers(vpcs, c.hash), numbers(rules, c.hash)

	byID := map[string]*policy.RuleGroup{}
	for i := range m.Groups {
		byID[m.Groups[i].ID] = &m.Groups[i]
	}
	for d := range c.sides {
		c.sides[d].refs = map[string]map[string]bool{}
	}
	for _, e := range m.Endpoints {
		for _, id := range e.Groups {
			for _, r := range byID[id].Rules {
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
