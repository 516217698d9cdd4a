package flows

import "slices"

// Revocation is how much a change takes away, counted in grants: a rule's
// content that an endpoint has.
type Revocation struct {
	Before  int // grants before the change
	Removed int // of these, those that are gone after
	// Ports is the number of endpoints that had grants before; Cut how many
	// of them have none after.
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
		removed := 0
		for _, rule := range was.rules {
			if _, kept := slices.BinarySearch(now.rules, rule); !kept {
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
