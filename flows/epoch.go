package flows

import (
	"reflect"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// MaxEpoch is the highest epoch; a quarter of ct_label holds one.
const MaxEpoch = 0xffffffff

// Grants is what the endpoints of a model may do, in a form in which two
// models can be compared.
type Grants struct {
	ports   map[uint16]portGrants
	members map[groupInVPC]map[string]bool
}

type portGrants struct {
	owner Owner
	vpc   string
	rules []string // content keys, sorted
	refs  []string // groups whose members rules refer to
}

type groupInVPC struct{ vpc, group string }

// NewGrants takes from a model what comparing needs.
func NewGrants(m *policy.Model) *Grants {
	g := &Grants{ports: map[uint16]portGrants{}, members: map[groupInVPC]map[string]bool{}}
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		p := portGrants{owner: Owner{e.MAC, e.Tag}, vpc: e.VPC, rules: grants(m, e)}
		for _, id := range e.Groups {
			for _, r := range groupByID(m, id).Rules {
				if r.Remote.Kind == policy.ResolvedMembers {
					p.refs = append(p.refs, r.Remote.Group)
					g.members[groupInVPC{e.VPC, r.Remote.Group}] = map[string]bool{}
				}
			}
		}
		g.ports[e.OFPort] = p
	}
	for _, m := range m.Members {
		for _, group := range m.Groups {
			if in := g.members[groupInVPC{m.VPC, group}]; in != nil {
				in[m.Addr.String()] = true
			}
		}
	}
	return g
}

// Equal says whether two are the same in every port, rule and member.
func (g *Grants) Equal(o *Grants) bool { return reflect.DeepEqual(g, o) }

// Shrank returns the ofports for which something that was allowed is not
// allowed any more, as far as that can be told by comparing rules one by one
// (a rule that another one covers counts too), and those that belong to
// somebody else now.
func (g *Grants) Shrank(old *Grants) map[uint16]bool {
	out := map[uint16]bool{}
	lost := map[groupInVPC]bool{}
	for k, was := range old.members {
		now := g.members[k]
		for a := range was {
			if !now[a] {
				lost[k] = true
				break
			}
		}
	}
	for port, was := range old.ports {
		now, ok := g.ports[port]
		if !ok {
			continue
		}
		shrank := now.owner != was.owner || now.vpc != was.vpc && len(was.refs) > 0
		for _, r := range was.rules {
			if _, ok := slices.BinarySearch(now.rules, r); !ok {
				shrank = true
			}
		}
		for _, group := range was.refs {
			shrank = shrank || lost[groupInVPC{was.vpc, group}]
		}
		if shrank {
			out[port] = true
		}
	}
	return out
}

// RefersTo says whether an endpoint has rules of a direction whose remote is
// the members of a group.
func RefersTo(m *policy.Model, e *policy.Endpoint, d policy.Direction) bool {
	for _, id := range e.Groups {
		for _, r := range groupByID(m, id).Rules {
			if r.Direction == d && r.Remote.Kind == policy.ResolvedMembers {
				return true
			}
		}
	}
	return false
}
