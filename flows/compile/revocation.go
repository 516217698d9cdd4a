package compile

import (
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Grants is what the rules of each endpoint allow, so that two models can be
// compared.
type Grants struct{ ports map[uint16]portGrants }

type portGrants struct {
	identity
	addrs []netip.Addr // at which the rules reach the VM, sorted
	rules []string     // contents, sorted
}

// identity is what a policy can change about a VM so that none of its connections
// goes on, whatever the rules say.
type identity struct {
	mac policy.MAC
	vpc string
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
		g.ports[e.OFPort] = portGrants{identity{e.MAC, e.VPC}, e.Addrs, rules}
	}
	return g
}

// Revocation is how much a change takes away, counted in grants. A grant is the
// content of a rule that an endpoint has.
type Revocation struct {
	Before  int // grants before the change
	Removed int // grants of before that are gone after the change
	// Ports is the number of endpoints that had grants before; Cut is how many
	// of these have no grants after that reach them as before, at any address.
	Ports, Cut int
	// Displaced is how many of these lose an address, or have another MAC
	// address or VPC after. All their grants are removed: they hold for what
	// the VM was.
	Displaced int
}

// Revokes compares what endpoints may do with what they could do before.
// Endpoints that only one side has do not count, and neither do the members
// of remote groups. The ports of the host must be the same on both sides, so that
// all differences are those of the policy.
func (g *Grants) Revokes(old *Grants) Revocation {
	var r Revocation
	for port, was := range old.ports {
		now, ok := g.ports[port]
		if !ok || len(was.rules) == 0 {
			continue
		}
		kept := 0 // addresses
		for _, a := range was.addrs {
			if slices.Contains(now.addrs, a) {
				kept++
			}
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
		other := now.identity != was.identity
		if other || kept < len(was.addrs) {
			r.Displaced++
			removed = len(was.rules)
		}
		r.Before += len(was.rules)
		r.Removed += removed
		r.Ports++
		if len(now.rules) == 0 || other || kept == 0 && len(was.addrs) > 0 {
			r.Cut++
		}
	}
	return r
}
