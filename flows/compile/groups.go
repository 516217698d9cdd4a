package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// directions has both directions, in the order in which the tables ask their
// rules.
var directions = [...]policy.Direction{policy.Egress, policy.Ingress}

// setKey names a set of groups, sorted.
func setKey(groups []string) string { return strings.Join(groups, "\x00") }

// groupsOf returns the groups of a set named by setKey.
func groupsOf(set string) []string {
	if set == "" {
		return nil
	}
	return strings.Split(set, "\x00")
}

// groupInVPC names the members of a group in a VPC.
type groupInVPC struct{ vpc, group string }

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

// contentKey names what a rule allows, so that two rules have the same key
// exactly if they allow the same.
func contentKey(r policy.ResolvedRule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s ", r.Direction, r.Protocol, r.Ports)
	switch r.Remote.Kind {
	case policy.ResolvedAnywhere:
		b.WriteString("anywhere")
	case policy.ResolvedMembers:
		b.WriteString("members " + r.Remote.Group)
	case policy.ResolvedPrefixes:
		for _, p := range r.Remote.Prefixes {
			b.WriteString(p.String() + " ")
		}
	}
	return b.String()
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

// subset reports whether others allow everything in a direction that groups
// allow.
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

// pickGroups returns the groups with these IDs, in the order of the IDs; IDs that
// name no group are left out.
func pickGroups(from map[string]*groupRules, ids []string) []*groupRules {
	out := make([]*groupRules, 0, len(ids))
	for _, id := range ids {
		if g := from[id]; g != nil {
			out = append(out, g)
		}
	}
	return out
}

// portRanges returns the ports that rules name, by protocol.
func portRanges(groups []*groupRules) map[policy.Protocol][]policy.PortRange {
	out := map[policy.Protocol][]policy.PortRange{}
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Protocol.HasPorts() && !r.Ports.IsAll() {
				out[r.Protocol] = append(out[r.Protocol], r.Ports)
			}
		}
	}
	return out
}

// fingerprint returns 40 bits that stay the same as long as the rules of a
// direction allow the same; the members of groups do not count. The hash is
// always flows.Hash, because the cookies of the flows in force carry
// fingerprints, and a restarted agent keeps the epochs of a class only if the
// fingerprint is the same.
func fingerprint(vpc string, d policy.Direction, contents []string) uint64 {
	return flows.Hash("rules "+vpc+"\x00"+d.String()+"\x00"+strings.Join(contents, "\x00")) & flows.ObjectMask
}

// fingerprints returns the fingerprints of what groups allow, by direction.
func fingerprints(vpc string, groups []*groupRules) (out [2]uint64) {
	for _, d := range directions {
		out[d] = fingerprint(vpc, d, contents(groups, d))
	}
	return out
}

// ruleSets has the rules of groups before and after a change of the model.
type ruleSets struct {
	after  map[string]*groupRules
	before map[string]*groupRules // of the groups that differ, as they were; nil: absent
	differ bool
}

// groups returns the rules of a set of groups, before or after the change.
func (rs ruleSets) groups(set string, before bool) []*groupRules {
	var out []*groupRules
	for _, id := range groupsOf(set) {
		g := rs.after[id]
		if was, differs := rs.before[id]; before && differs {
			g = was
		}
		if g != nil {
			out = append(out, g)
		}
	}
	return out
}

// shrinks reports, for each direction, whether ports that move from class was to
// class now are allowed less after the change: a rule is missing, or a member has
// left a group that a rule refers to (see left).
func (rs ruleSets) shrinks(was, now classID, left map[groupInVPC]bool) (out [2]bool) {
	before, after := rs.groups(was.groups, true), rs.groups(now.groups, false)
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
