package controller

import (
	"context"
	"errors"

	"github.com/ovs-sg/ovs-sg/controller/control"
)

// Audit reads the switch and the bridge's row in OVSDB and compares them with
// what the agent has installed. If there are differences and repair is true, it
// has them put right, flows of others that are in the way included, and compares
// again. A difference that is only reported is put right soon, as one that the
// agent finds by itself. The error says that the comparison was not possible, or
// is that of ctx.
func (c *Controller) Audit(ctx context.Context, repair bool) (a control.Audit, err error) {
	if a.Found, err = c.compare(ctx); err != nil && !repair {
		return a, err
	}
	a.Left = a.Found
	if err == nil && len(a.Found) == 0 || !repair {
		return a, nil
	}
	if err != nil { // nothing is installed yet, maybe because of flows in the way
		a.Found = []string{err.Error()}
	}
	if err := c.do(ctx, func() {
		c.enforcer.force = true
		c.enforcer.watch.suspect("ovs-sg audit --repair")
		c.history.note("audit --repair")
		c.change()
	}); err != nil {
		return a, err
	}
	if err := c.Wait(ctx); err != nil && !errors.Is(err, control.ErrHeld) {
		return a, err
	}
	a.Left, err = c.compare(ctx)
	return a, err
}

// compare has the loop compare the switch with what is believed.
func (c *Controller) compare(ctx context.Context) (found []string, err error) {
	if e := c.do(ctx, func() {
		if c.enforcer.conn == nil || c.enforcer.installed == nil {
			if err = errors.New("nothing is installed yet"); c.lastErr != "" {
				err = errors.New("not in force: " + c.lastErr)
			}
			return
		}
		limited, cancel := context.WithTimeout(ctx, c.cfg.ApplyTimeout)
		defer cancel()
		c.enforcer.activity.begin("waiting for the switch")
		found, err = c.enforcer.audit(limited, c.host.noFlood)
		found = append([]string{}, found...) // not null in JSON
		c.enforcer.activity.end()
		if missing := c.ports.Bridge.Unprepared; missing != "" {
			found = append(found, missing)
		}
		if len(found) > 0 {
			c.suspect("an audit has found a difference")
		}
	}); e != nil {
		return nil, e
	}
	return found, err
}

// audit says in words how the switch differs from what is believed.
func (e *enforcer) audit(ctx context.Context, noFlood map[uint32]bool) ([]string, error) {
	ours, foreign, err := e.conn.DumpAll(ctx)
	if err != nil {
		return nil, err
	}
	ports, err := e.conn.CheckNoFlood(ctx, noFlood)
	if err != nil {
		return nil, err
	}
	return append(compareFlows(e.installed, ours, foreign), ports...), nil
}
