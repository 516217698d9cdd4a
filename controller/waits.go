package controller

import (
	"context"
	"errors"

	"github.com/ovs-sg/ovs-sg/controller/control"
)

// progress is the Seq of an update of the source and of a snapshot of OVSDB.
type progress struct{ source, ports uint64 }

// wait is one caller of Wait.
type wait struct {
	ctx    context.Context
	at     progress
	result chan error // of capacity one
}

// waits has all callers of Wait and the progress of the switch.
type waits struct {
	done progress // in force, confirmed by the switch
	list []wait
}

// end answers all waits.
func (w *waits) end(err error) {
	for _, x := range w.list {
		x.result <- err
	}
	w.list = nil
}

// Wait returns when everything that happened to the policy and in OVSDB before
// the call is in force, confirmed by a barrier. The error says that this cannot
// be known, that the change is held, or is that of ctx.
func (c *Controller) Wait(ctx context.Context) error {
	var at progress
	var err error
	if at.source, err = c.cfg.Source.Sync(ctx); err != nil {
		return err
	}
	if at.ports, err = c.cfg.Database.Sync(ctx); err != nil {
		return err
	}
	w := wait{ctx, at, make(chan error, 1)}
	if err := c.do(ctx, func() {
		c.waits.list = append(c.waits.list, w)
		c.completeWaits()
	}); err != nil {
		return err
	}
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errFought is the answer to waits while the agent cannot promise anything.
var errFought = errors.New("somebody else changes the switch again and again")

// drifts says whether the switch has told of changes by others, ports included, or
// whether such a change is not put right yet. The switch has told of changes before
// a barrier by the time of the barrier's reply.
func (c *Controller) drifts() bool {
	select {
	case <-c.enforcer.conn.Foreign():
		c.toldForeign()
		c.look.Reset(max(c.enforcer.watch.pause(), 0))
		return true
	case <-c.enforcer.conn.PortStatus():
		c.portsMoved()
		c.look.Reset(0)
		return true
	default:
		return c.enforcer.watch.doubt != "" || c.enforcer.watch.found != nil
	}
}

// completeWaits answers the waits for what is in force now.
func (c *Controller) completeWaits() {
	var rest []wait
	for _, w := range c.waits.list {
		seen := c.phase != changed && c.waits.done.source >= w.at.source
		switch {
		case w.ctx.Err() != nil:
			w.result <- w.ctx.Err()
		case seen && c.held() != nil:
			w.result <- control.ErrHeld
		case seen && c.phase == settled && c.waits.done.ports >= w.at.ports:
			c.enforcer.activity.begin("waiting for the switch")
			err := c.enforcer.conn.Barrier(w.ctx)
			c.enforcer.activity.end()
			if err != nil && w.ctx.Err() == nil {
				c.disconnected(err)
				c.retry.Reset(firstBackoff)
				rest = append(rest, w)
				continue
			}
			if err == nil && c.drifts() {
				rest = append(rest, w)
				continue
			}
			if err == nil && c.enforcer.watch.fought() {
				err = errFought
			}
			w.result <- err
		default:
			rest = append(rest, w)
		}
	}
	c.waits.list = rest
}
