package flows

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Host is what the flows depend on besides the model: see Input.
type Host struct {
	Infra     []InfraPort
	Userspace bool
}

// Compiler keeps the flows of a host up to date: it is told what changes in
// the model and says which flows change with it, at a cost that depends on the
// change alone. What it says adds up to what Compile gives for the whole. It
// also gives out the epochs. Use NewCompiler.
type Compiler struct {
	hash      func(string) uint64
	host      Host
	endpoints map[uint16]*policy.Endpoint
	groups    map[string]*groupRules
	members   members
	classes   classes
	inc       *increment // nil: has to be made anew
}

// members are the addresses in each group of a VPC. One in several groups is
// the same everywhere.
type members map[groupInVPC]map[netip.Addr]*member

// member is an address and, by direction, the set of groups that rules refer
// to and it is in; nil: none.
type member struct {
	*policy.Member
	sets [2]*numbered
}

func (ms members) get(m *policy.Member) *member {
	if len(m.Groups) == 0 {
		return nil
	}
	return ms[groupInVPC{m.VPC, m.Groups[0]}][m.Addr]
}

func (ms members) put(m *member) {
	for _, g := range m.Groups {
		k := groupInVPC{m.VPC, g}
		if ms[k] == nil {
			ms[k] = map[netip.Addr]*member{}
		}
		ms[k][m.Addr] = m
	}
}

func (ms members) remove(m *policy.Member) {
	for _, g := range m.Groups {
		k := groupInVPC{m.VPC, g}
		if delete(ms[k], m.Addr); len(ms[k]) == 0 {
			delete(ms, k)
		}
	}
}

// NewCompiler makes a compiler of nothing.
func NewCompiler() *Compiler { return newCompilerWith(hash64) }

func newCompilerWith(hash func(string) uint64) *Compiler {
	return &Compiler{hash: hash, endpoints: map[uint16]*policy.Endpoint{}, groups: map[string]*groupRules{},
		members: members{}, classes: newClasses()}
}

// Adopt reads from flows in force, before the first Update, which epochs ports
// had before a restart, so that those of ports for which nothing changed stay.
func (c *Compiler) Adopt(installed *Set) { c.classes.adopt(readInstalled(installed)) }

// Update takes a change in and returns the flows that change with it. ok is
// false if that can only be told by comparing all flows: see Flows. Errors: an
// ofport beyond the connection tracking zones. After an error only Flows tells
// how things are.
func (c *Compiler) Update(ch policy.ModelChange, host Host) (d Delta, ok bool, err error) {
	r := c.take(ch)
	c.classes.step(ch.Endpoints, r.book, r.left)
	wasUserspace := c.host.Userspace
	c.host = host
	if err := c.check(); err != nil {
		c.inc = nil
		return Delta{}, false, err
	}
	if c.inc == nil || wasUserspace != host.Userspace {
		c.inc = nil
		return Delta{}, false, nil
	}
	c.inc.advance(c, ch, r)
	if d, ok = c.inc.delta(); !ok {
		c.inc = nil
	}
	return d, ok, nil
}

// Raise raises the epochs of a direction for all ports whose rules refer to
// members: some may have left while nobody looked.
func (c *Compiler) Raise(d policy.Direction) {
	c.classes.raiseReferring(d, c.groups)
	c.inc = nil
}

func (c *Compiler) check() error {
	for _, e := range c.endpoints {
		if err := checkOFPort(e); err != nil {
			return err
		}
	}
	return nil
}

// Flows returns all flows. Errors are those of Compile.
func (c *Compiler) Flows() (*Set, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.inc = newIncrement(c.hash)
	for _, in := range c.members {
		for _, m := range in {
			m.sets = [2]*numbered{}
		}
	}
	c.inc.advance(c, c.whole(), reading{book: ruleBook{after: c.groups}})
	if set, ok := c.inc.all(); ok {
		return set, nil
	}
	c.inc = nil
	return compileWith(c.Input(), c.hash)
}

// Wrapped says whether the last change made the epochs begin anew, so that all
// connections have to be forgotten.
func (c *Compiler) Wrapped() bool { return c.classes.wrapped }

// Epochs are those of an endpoint's class; zero if there is none.
func (c *Compiler) Epochs(ofport uint16) Epochs {
	if class := c.classes.of[ofport]; class != nil {
		return class.epochs
	}
	return Epochs{}
}

// Input is what Compile needs for the same flows.
func (c *Compiler) Input() Input {
	ch := c.whole()
	m := &policy.Model{}
	for _, e := range ch.Endpoints {
		m.Endpoints = append(m.Endpoints, *e.After)
	}
	for _, g := range ch.Groups {
		m.Groups = append(m.Groups, *g.After)
	}
	for _, x := range ch.Members {
		m.Members = append(m.Members, *x.After)
	}
	slices.SortFunc(m.Groups, func(a, b policy.RuleGroup) int { return strings.Compare(a.ID, b.ID) })
	return Input{Model: m, Infra: c.host.Infra, Classes: c.classes.byPort(), Mark: c.classes.mark, Userspace: c.host.Userspace}
}

// whole is the change that makes everything out of nothing, in no order.
func (c *Compiler) whole() (ch policy.ModelChange) {
	for _, e := range c.endpoints {
		ch.Endpoints = append(ch.Endpoints, policy.Change[policy.Endpoint]{After: e})
	}
	for _, g := range c.groups {
		ch.Groups = append(ch.Groups, policy.Change[policy.RuleGroup]{After: g.RuleGroup})
	}
	for k, in := range c.members {
		for _, m := range in {
			if m.Groups[0] == k.group {
				ch.Members = append(ch.Members, policy.Change[policy.Member]{After: m.Member})
			}
		}
	}
	return ch
}

// reading is what taking a change in tells.
type reading struct {
	book ruleBook
	left map[groupInVPC]bool // of which some member has left
	gone []*member           // as they were: those that differ or are gone
}

// take notes the new model.
func (c *Compiler) take(ch policy.ModelChange) reading {
	r := reading{book: ruleBook{after: c.groups, was: map[string]*groupRules{}}, left: map[groupInVPC]bool{}}
	for _, e := range ch.Endpoints {
		if e.Before != nil {
			delete(c.endpoints, e.Before.OFPort)
		}
	}
	for _, e := range ch.Endpoints {
		if e.After != nil { // a copy, so as not to keep a whole list
			now := *e.After
			c.endpoints[now.OFPort] = &now
		}
	}
	for _, g := range ch.Groups {
		r.book.differ = true
		if g.Before != nil {
			r.book.was[g.Before.ID] = c.groups[g.Before.ID]
			delete(c.groups, g.Before.ID)
		}
		if g.After != nil {
			if _, known := r.book.was[g.After.ID]; !known {
				r.book.was[g.After.ID] = nil
			}
			now := *g.After
			c.groups[now.ID] = newGroupRules(&now)
		}
	}
	for _, m := range ch.Members {
		if m.Before != nil {
			if was := c.members.get(m.Before); was != nil {
				r.gone = append(r.gone, was)
				c.members.remove(m.Before)
			}
			for _, g := range m.Before.Groups {
				if m.After == nil || !slices.Contains(m.After.Groups, g) {
					r.left[groupInVPC{m.Before.VPC, g}] = true
				}
			}
		}
		if m.After != nil && len(m.After.Groups) > 0 {
			c.members.put(&member{Member: m.After})
		}
	}
	return r
}
