package controller

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Held is a change of policy that waits for somebody to confirm it.
type Held struct {
	Reason  string `json:"reason"`
	Rules   int    `json:"rules"`   // that VMs of this host have, counted for each VM
	Removed int    `json:"removed"` // of these, those that the change removes
	VMs     int    `json:"vms"`     // ports that have rules
	Cut     int    `json:"cut"`     // of these, those that would have none
}

// errHeld is the answer to those who wait for a change that is held.
var errHeld = errors.New("the change of policy is held: it waits for ovs-sg release")

// advance brings the book up to date with what was accepted, unless that takes
// away more than the operator wants to see go unasked. Such a change is held,
// and what was in force stays.
func (c *Controller) advance() policy.ModelChange {
	accepted, vifs := c.accepted, c.host.vifs
	var change policy.ModelChange
	if c.guarded && c.cfg.MaxRevoke > 0 && !c.released && len(accepted) > 0 {
		change = c.book.Update(nil, vifs)
		before := compile.NewGrants(c.book.Local())
		next := c.book.Update(accepted, vifs)
		if held := c.weigh(compile.NewGrants(c.book.Local()).Revokes(before)); held != nil {
			c.hold(held)
			c.book.Update(policy.Invert(accepted), vifs)
			return change
		}
		change = change.Then(next)
	} else {
		change = c.book.Update(accepted, vifs)
	}
	c.hold(nil)
	c.accepted, c.guarded, c.released = nil, true, false
	return change
}

// weigh says why a change is to be held, or nil.
func (c *Controller) weigh(r compile.Revocation) *Held {
	held := &Held{Rules: r.Before, Removed: r.Removed, VMs: r.Ports, Cut: r.Cut}
	switch {
	case r.Ports > 0 && r.Cut == r.Ports:
		held.Reason = fmt.Sprintf("it would leave none of the %d VMs on this host with any rule", r.Ports)
	case float64(r.Removed) > c.cfg.MaxRevoke*float64(r.Before):
		held.Reason = fmt.Sprintf("it would remove %d of %d rules in force on this host, more than %g %%",
			r.Removed, r.Before, 100*c.cfg.MaxRevoke)
	default:
		return nil
	}
	return held
}

// hold notes whether a change is held, and says so once.
func (c *Controller) hold(h *Held) {
	if h != nil && (c.held == nil || *c.held != *h) {
		c.log.Warn("change of policy held until ovs-sg release", zap.String("reason", h.Reason))
	}
	c.held = h
}

// release lets the newest policy pass the guard.
func (c *Controller) release() error {
	if c.held == nil {
		return errors.New("nothing is held")
	}
	c.log.Info("change of policy released")
	c.released, c.dirty = true, true
	c.what("release")
	c.change.begin(time.Now())
	return nil
}
