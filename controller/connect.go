package controller

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/flows"
)

// opened is a connection to a bridge and what was found there.
type opened struct {
	conn               Switch
	datapathType       string
	installed, foreign *flows.Set
	at                 time.Time // when that was
	err                error
}

// earlyLife is how long what was found there early is believed.
const earlyLife = 5 * time.Second

// prepareTimeout is how long OVSDB is waited for, which is local and quick.
const prepareTimeout = 2 * time.Second

// openEarly opens the first connection while the policy is still being read.
// It looks only, and only at a bridge whose flows stay when it is set up: as
// long as there is no policy to enforce, nothing is written.
func (c *Controller) openEarly(ctx context.Context) {
	if b := c.ports.Bridge; c.early != nil || c.conn != nil || c.files != nil || !b.Exists || b.FailMode != "secure" {
		return
	}
	early, datapathType := make(chan opened, 1), c.ports.Bridge.DatapathType
	c.early = early
	go func() {
		ctx, cancel := context.WithTimeout(ctx, c.cfg.ApplyTimeout)
		defer cancel()
		early <- c.open(ctx, datapathType)
	}()
}

// takeEarly waits for what openEarly has begun, if anything.
func (c *Controller) takeEarly() (o opened) {
	if c.early != nil {
		o = <-c.early
		c.early = nil
	}
	return o
}

// connect sets the bridge up and returns a connection to it: the one that was
// opened early, if it is good, or a new one.
func (c *Controller) connect(ctx context.Context) (opened, error) {
	early := c.takeEarly()
	prepare, cancel := context.WithTimeout(ctx, prepareTimeout)
	err := c.cfg.Prepare(prepare)
	cancel()
	switch {
	case err == nil:
		c.prepared = true
	case !c.prepared:
		early.close()
		return opened{}, fmt.Errorf("prepare bridge %s in OVSDB: %w", c.cfg.Bridge, err)
	default: // it has been before, and OVSDB may be away for long
		c.log.Warn("bridge not prepared anew", zap.Error(err))
	}
	if early.good(c.ports.Bridge.DatapathType) {
		return early, nil
	}
	early.close()
	o := c.open(ctx, c.ports.Bridge.DatapathType)
	return o, o.err
}

func (o opened) close() {
	if o.conn != nil {
		o.conn.Close()
	}
}

// good says whether what was opened early can be used.
func (o opened) good(datapathType string) bool {
	if o.conn == nil || o.datapathType != datapathType || time.Since(o.at) > earlyLife {
		return false
	}
	select {
	case <-o.conn.Done():
		return false
	default:
		return true
	}
}

// open opens an OpenFlow connection and looks at what is there.
func (c *Controller) open(ctx context.Context, datapathType string) (o opened) {
	conn, err := c.cfg.Dial(ctx, datapathType)
	if err != nil {
		return opened{err: err}
	}
	o = opened{conn: conn, datapathType: datapathType, at: time.Now()}
	if o.installed, o.foreign, o.err = conn.DumpAll(ctx); o.err != nil {
		o.close()
		o.conn = nil
	}
	return o
}
