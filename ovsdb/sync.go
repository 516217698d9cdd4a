package ovsdb

import (
	"context"
	"fmt"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// Sync returns the Seq of a snapshot that shows every transaction that was
// committed before the call. That snapshot, or a newer one, has been
// delivered on Snapshots when Sync returns, unless it is the picture that was
// delivered last. It waits for a session if there is none, and starts again
// on the next if one breaks. It fails when ctx ends, or with the server's
// refusal.
//
// It runs a transaction that reads one column. ovsdb-server puts the updates
// that are due on a session in front of every transaction's reply on it, and
// this client applies messages in order. An echo was never seen to be early
// either (5,000 tries), but the server answers it in a lower layer, which
// promises nothing about updates.
func (c *Client) Sync(ctx context.Context) (seq uint64, err error) {
	read := ovsdb.Operation{
		Op:      ovsdb.OperationSelect,
		Table:   "Open_vSwitch",
		Columns: []string{"cur_cfg"},
	}
	for {
		s, err := c.session(ctx)
		if err != nil {
			return 0, fmt.Errorf("sync: %w", err)
		}
		_, err = s.transact(ctx, read)
		if err == nil {
			if seq, ok := c.publish(s); ok {
				return seq, nil
			}
		} else if !s.over() {
			return 0, fmt.Errorf("sync: %w", err)
		}
		if err := c.waitReplaced(ctx, s); err != nil {
			return 0, fmt.Errorf("sync: %w", err)
		}
	}
}

// waitReplaced waits until s, which is over, is no longer the current
// session.
func (c *Client) waitReplaced(ctx context.Context, s *session) error {
	for {
		c.mu.Lock()
		current, changed := c.current, c.changed
		c.mu.Unlock()
		if current != s {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WaitApplied returns when ovs-vswitchd has applied the configuration as it
// was committed before the call: Open_vSwitch.cur_cfg is not less than the
// next_cfg of then. It fails only when ctx ends, for example because
// ovs-vswitchd does not run. Writers that do not raise next_cfg, as ovs-vsctl
// --no-wait, are not waited for.
func (c *Client) WaitApplied(ctx context.Context) error {
	if _, err := c.Sync(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	want := c.last.NextCfg
	c.mu.Unlock()
	for {
		c.mu.Lock()
		have, changed := c.last.CurCfg, c.changed
		c.mu.Unlock()
		if have >= want {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for ovs-vswitchd: cur_cfg is %d, want %d: %w", have, want, ctx.Err())
		}
	}
}
