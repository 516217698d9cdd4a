package compile

import "github.com/ovs-sg/ovs-sg/policy"

// Grants is what the rules of each endpoint allow, so that two models can be
// compared.
type Grants struct{ ports map[uint16]portGrants }

type portGrants struct {
	owner Owner
	rules []string // contents, sorted
}

// NewGrants takes the grants from the endpoints and groups of a model.
func NewGrants(m *policy.Model) *Grants {
	g := &Grants{ports: map[uint16]portGrants{}}
	groups := map[string]*groupRules{}
	for i := range m.Groups {
		groups[m.Groups[i].ID] = newGroupRules(&m.Groups[i])
	}
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		var rules []string
		for _, d := range directions {
			rules = append(rules, contents(pickGroups(groups, e.Groups), d)...)
		}
		g.ports[e.OFPort] = portGrants{ownerOf(e), rules}
	}
	return g
}

// Revocation is how much a change takes away, counted in grants. A grant is the
// content of a rule that an endpoint has.
type Revocation struct {
	Before  int // grants before the change
	Removed int // grants of before that are gone after the change
	// Ports is the number of endpoints that had grants before; Cut is how many
	// of these have no grants after.
	Ports, Cut int
}

// Revokes compares what endpoints may do with what they could do before.
// Endpoints that only one side has do not count, and neither do the members
// of remote groups.
func (g *Grants) Revokes(old *Grants) Revocation {
	var r Revocation
	for port, was := range old.ports {
		now, ok := g.ports[port]
		if !ok || now.owner != was.owner {
			continue
		}
		has := map[string]bool{}
		for _, rule := range now.rules {
			has[rule] = true
		}
		removed := 0
		for _, rule := range was.rules {
			if !has[rule] {
				removed++
			}
		}
		r.Before += len(was.rules)
		r.Removed += removed
		if len(was.rules) > 0 {
			r.Ports++
			if len(now.rules) == 0 {
				r.Cut++
			}
		}
	}
	return r
}
