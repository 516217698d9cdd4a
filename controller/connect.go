package controller

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/flows"
)

// opened is a connection to a bridge that is set up for us, and what was found
// there.
type opened struct {
	conn               Switch
	datapathType       string
	noFlood            map[uint32]bool // as set
	installed, foreign *flows.Set
	at                 time.Time // when that was
	err                error
}

// earlyLife is how long what was found there early is believed.
const earlyLife = 5 * time.Second

// prepareTimeout is how long OVSDB is waited for, which is local and quick.
const prepareTimeout = 2 * time.Second

// openEarly opens the first connection while the policy is still being read.
func (c *Controller) openEarly(ctx context.Context) {
	if c.early != nil || c.conn != nil || c.files != nil || !c.ports.Bridge.Exists {
		return
	}
	early, datapathType, noFlood := make(chan opened, 1), c.ports.Bridge.DatapathType, c.host.noFlood
	c.early = early
	go func() {
		ctx, cancel := context.WithTimeout(ctx, c.cfg.ApplyTimeout)
		defer cancel()
		early <- c.open(ctx, datapathType, noFlood, false)
	}()
}

// connect returns the connection that was opened early, if it is good, or a
// new one.
func (c *Controller) connect(ctx context.Context) (opened, error) {
	if early := c.takeEarly(); early.err == nil && early.conn != nil {
		select {
		case <-early.conn.Done():
			early.conn.Close()
		default:
			if early.datapathType == c.ports.Bridge.DatapathType && time.Since(early.at) < earlyLife {
				c.prepared = true
				return early, nil
			}
			early.conn.Close()
		}
	}
	o := c.open(ctx, c.ports.Bridge.DatapathType, c.host.noFlood, c.prepared)
	c.prepared = c.prepared || o.err == nil
	return o, o.err
}

// takeEarly waits for what openEarly has begun, if anything.
func (c *Controller) takeEarly() (o opened) {
	if c.early != nil {
		o = <-c.early
		c.early = nil
	}
	return o
}

// open opens an OpenFlow connection. prepared says that the bridge was set up
// before, so that it may be gone on without OVSDB.
func (c *Controller) open(ctx context.Context, datapathType string, noFlood map[uint32]bool, prepared bool) (o opened) {
	prepare, cancel := context.WithTimeout(ctx, prepareTimeout)
	err := c.cfg.Prepare(prepare)
	cancel()
	switch {
	case err == nil:
	case !prepared:
		return opened{err: fmt.Errorf("prepare bridge %s in OVSDB: %w", c.cfg.Bridge, err)}
	default: // OVSDB may be away for long
		c.log.Warn("bridge not prepared anew", zap.Error(err))
	}
	conn, err := c.cfg.Dial(ctx, datapathType)
	if err != nil {
		return opened{err: err}
	}
	o = opened{conn: conn, datapathType: datapathType, noFlood: noFlood}
	// Before any flow: NORMAL must not flood to a port that is not trusted.
	if err := conn.NoFlood(ctx, noFlood); err != nil {
		o.err = fmt.Errorf("set NO_FLOOD: %w", err)
	} else {
		o.at = time.Now()
		o.installed, o.foreign, o.err = conn.DumpAll(ctx)
	}
	if o.err != nil {
		conn.Close()
		o.conn = nil
	}
	return o
}
