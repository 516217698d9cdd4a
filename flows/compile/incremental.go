package compile

// This file has the product, the Compiler. full.go has the reference: the tests
// compare the two, and the Compiler falls back to the reference when numbers
// collide.

import (
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Compiler keeps the flows of a host up to date: it takes the changes of the
// model and returns the changes of the flows, at a cost that depends on the
// change alone. The deltas add up to what Full returns for the whole model. It
// also gives out the epochs. Use New.
type Compiler struct {
	hash      func(string) uint64 // the hash that all numbers are made of
	host      flows.Host
	endpoints map[uint16]*policy.Endpoint
	groups    map[string]*groupRules
	members   members
	epochs    epochTracker
	index     *flowIndex // nil: has to be made anew
}

// New returns a compiler of nothing.
func New() *Compiler { return newWith(flows.Hash) }

// newWith is New with another hash for numbers, so that tests can force collisions.
func newWith(hash func(string) uint64) *Compiler {
	return &Compiler{hash: hash, endpoints: map[uint16]*policy.Endpoint{}, groups: map[string]*groupRules{},
		members: members{}, epochs: newEpochTracker(hash)}
}

// Salt makes all epochs that are given out begin with a salt, 1 to 1023, before
// Adopt. Bridges share the connections of a datapath, and number their ports alike:
// with salts of their own none takes the connections of another for its own.
func (c *Compiler) Salt(salt uint16) { c.epochs.salt(salt) }

// Adopt reads from flows in force, before the first Update, which epochs ports
// had before a restart, so that the epochs of ports for which nothing changed stay.
func (c *Compiler) Adopt(installed *flows.Set) { c.epochs.adopt(readInstalled(installed)) }

// Update applies a change of the model and returns the flows that change with it.
// If alone is false, or after an error, the delta is not enough: the caller then
// compares what [Compiler.Flows] returns with the flows in force. Errors: an
// ofport beyond the connection tracking zones.
func (c *Compiler) Update(change policy.ModelChange, host flows.Host) (d flows.Delta, alone bool, err error) {
	diff := c.take(change)
	c.epochs.step(change.Endpoints, diff.rules, diff.left)
	wasUserspace := c.host.Userspace
	c.host = host
	if err := c.check(); err != nil {
		c.index = nil
		return flows.Delta{}, false, err
	}
	if c.index == nil || wasUserspace != host.Userspace {
		c.index = nil
		return flows.Delta{}, false, nil
	}
	c.index.update(c, change, diff)
	if d, alone = c.index.delta(); !alone {
		c.index = nil
	}
	return d, alone, nil
}

// RaiseAllEpochs raises the epochs of both directions for all ports, because
// connections may have been made that no rule allows. Flows then tells what
// changes.
func (c *Compiler) RaiseAllEpochs() {
	c.epochs.raiseAll()
	c.index = nil
}

func (c *Compiler) check() error {
	for _, e := range c.endpoints {
		if err := checkOFPort(e); err != nil {
			return err
		}
	}
	return nil
}

// Flows returns all flows. Errors are those of Full.
func (c *Compiler) Flows() (*flows.Set, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.index = newFlowIndex(c.hash)
	for _, in := range c.members {
		for _, m := range in {
			m.sets = [2]*pooledID{}
		}
	}
	c.index.update(c, c.whole(), modelDiff{rules: ruleSets{after: c.groups}})
	if set, ok := c.index.all(); ok {
		return set, nil
	}
	c.index = nil
	return fullWith(c.Input(), c.hash)
}

// Wrapped reports whether the last change made the epochs begin anew, so that all
// connections have to be forgotten.
func (c *Compiler) Wrapped() bool { return c.epochs.wrapped }

// Epochs returns the epochs of a VM port; zero if the port is not in the model.
func (c *Compiler) Epochs(ofport uint16) flows.Epochs {
	if class := c.epochs.ofPort[ofport]; class != nil {
		return class.epochs
	}
	return flows.Epochs{}
}

// Input returns what Full needs for the same flows.
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
	return Input{Model: m, Host: c.host, Classes: c.epochs.byPort(), HighestEpoch: c.epochs.persisted}
}

// whole returns the change from the empty model to the Compiler's, in no order.
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

// modelDiff holds the state before a change of the model, as far as the index
// needs it.
type modelDiff struct {
	rules ruleSets
	left  map[groupInVPC]bool // groups of a VPC that some member has left
	gone  []*member           // members that differ or are gone, as they were
}

// take puts a change into the Compiler's copy of the model and returns the state
// before.
func (c *Compiler) take(ch policy.ModelChange) modelDiff {
	diff := modelDiff{rules: ruleSets{after: c.groups, before: map[string]*groupRules{}}, left: map[groupInVPC]bool{}}
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
		diff.rules.differ = true
		if g.Before != nil {
			diff.rules.before[g.Before.ID] = c.groups[g.Before.ID]
			delete(c.groups, g.Before.ID)
		}
		if g.After != nil {
			if _, known := diff.rules.before[g.After.ID]; !known {
				diff.rules.before[g.After.ID] = nil
			}
			now := *g.After
			c.groups[now.ID] = newGroupRules(&now)
		}
	}
	for _, m := range ch.Members {
		if m.Before != nil {
			if was := c.members.get(m.Before); was != nil {
				diff.gone = append(diff.gone, was)
				c.members.remove(m.Before)
			}
			for _, g := range m.Before.Groups {
				if m.After == nil || !slices.Contains(m.After.Groups, g) {
					diff.left[groupInVPC{m.Before.VPC, g}] = true
				}
			}
		}
		if m.After != nil && len(m.After.Groups) > 0 {
			c.members.put(&member{Member: m.After})
		}
	}
	return diff
}
