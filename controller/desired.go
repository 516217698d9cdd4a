package controller

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/resolve"
)

// guard is what stands between a change of policy and the switch.
type guard uint8

const (
	// unguarded: nothing is in force that a change could take away.
	unguarded guard = iota
	// guarding: a change that takes too much away is held.
	guarding
	// released: the operator has confirmed the changes that are pending.
	released
)

// desired is what the switch is to enforce: the policy resolved for the ports
// of this host, and the changes of policy that are not yet part of it.
type desired struct {
	log       *zap.Logger
	maxRevoke float64 // as in Config
	guard     guard
	pending   []policy.RevisionChange // delivered, not yet in resolver
	held      *control.Held           // why pending is not; nil if it is only new

	resolver *resolve.Resolver
	// untold is the change of the resolver's model that update has not returned
	// yet.
	untold policy.ModelChange
}

func newDesired(cfg Config) desired {
	return desired{log: cfg.Logger, maxRevoke: cfg.MaxRevoke, resolver: resolve.New(cfg.Policy)}
}

// restore takes in what was in force in an earlier run: the next changes are
// weighed against it.
func (d *desired) restore(changes []policy.RevisionChange) {
	d.untold = d.untold.Compose(d.resolver.Update(changes, nil))
	d.guard = guarding
}

// add takes in changes of policy. They take back a release, which was of the
// changes before them.
func (d *desired) add(changes []policy.RevisionChange) {
	d.pending = policy.Merge(d.pending, changes)
	if d.guard == released {
		d.guard = guarding
	}
}

// release lets the pending changes pass the guard.
func (d *desired) release() error {
	if d.held == nil {
		return errors.New("nothing is held")
	}
	d.guard = released
	return nil
}

// update resolves the pending changes for the ports, unless they take away more
// than the operator wants to see go without being asked. Such changes are held,
// and the policy that was in force stays. update returns what differs in the
// model.
func (d *desired) update(vifs []policy.VIF) policy.ModelChange {
	if d.guard == guarding && d.maxRevoke > 0 && len(d.pending) > 0 {
		// The ports first: the guard does not count what a change of ports removes.
		d.untold = d.untold.Compose(d.resolver.Update(nil, vifs))
		before := compile.NewGrants(d.resolver.Local())
		change := d.resolver.Update(d.pending, vifs)
		held := d.weigh(compile.NewGrants(d.resolver.Local()).Revokes(before))
		d.hold(held)
		if held != nil {
			d.resolver.Update(policy.Invert(d.pending), vifs)
			return d.told()
		}
		d.untold = d.untold.Compose(change)
	} else {
		d.untold = d.untold.Compose(d.resolver.Update(d.pending, vifs))
		d.hold(nil)
	}
	d.pending, d.guard = nil, guarding
	return d.told()
}

// told returns untold and empties it.
func (d *desired) told() policy.ModelChange {
	change := d.untold
	d.untold = policy.ModelChange{}
	return change
}

// weigh says why a change is to be held, or nil.
func (d *desired) weigh(r compile.Revocation) *control.Held {
	held := &control.Held{Rules: r.Before, Removed: r.Removed, VMs: r.Ports, Cut: r.Cut, Displaced: r.Displaced}
	switch {
	case r.Ports > 0 && r.Cut == r.Ports:
		held.Reason = fmt.Sprintf("it would leave none of the %d VMs on this host with any rule", r.Ports)
	case float64(r.Removed) > d.maxRevoke*float64(r.Before):
		held.Reason = fmt.Sprintf("it would remove %d of %d rules in force on this host, more than %g %%",
			r.Removed, r.Before, 100*d.maxRevoke)
	default:
		return nil
	}
	if r.Displaced > 0 {
		held.Reason += fmt.Sprintf("; %d of the %d VMs would lose an address or have another MAC address or VPC, and with it all rules",
			r.Displaced, r.Ports)
	}
	return held
}

// hold notes whether the pending changes are held, and logs each reason once.
func (d *desired) hold(h *control.Held) {
	if h != nil && (d.held == nil || *d.held != *h) {
		d.log.Warn("change of policy held until ovs-sg release", zap.String("reason", h.Reason))
	}
	d.held = h
}
