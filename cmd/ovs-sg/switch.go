package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/ovs-sg/ovs-sg/controller"
	"github.com/ovs-sg/ovs-sg/flows/openflow"
	"github.com/ovs-sg/ovs-sg/ovsdb/unixctl"
)

// dialer returns how the controller connects to the bridge with this management
// socket.
func dialer(path string) func(context.Context, string) (controller.Switch, error) {
	return func(ctx context.Context, datapathType string) (controller.Switch, error) {
		conn, err := openflow.Dial(ctx, path, openflow.Options{DatapathType: datapathType})
		if err != nil {
			return nil, err
		}
		return conn, nil
	}
}

// vswitchd is the control socket of the ovs-vswitchd that runs a bridge.
type vswitchd struct {
	rundir, socket, bridge string // socket: "" = found by the pid file in rundir

	mu   sync.Mutex
	conn *unixctl.Client
}

// FlushFDB implements controller.Daemon.
func (v *vswitchd) FlushFDB(ctx context.Context) error { return v.call(ctx, "fdb/flush", v.bridge) }

// Settle implements controller.Daemon.
func (v *vswitchd) Settle(ctx context.Context, purge bool) error {
	if purge {
		return v.call(ctx, "revalidator/purge")
	}
	return v.call(ctx, "revalidator/wait")
}

// call runs a command, over a connection that is kept as long as it is good.
func (v *vswitchd) call(ctx context.Context, command string, args ...string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	kept := v.conn != nil
	for {
		if v.conn == nil {
			path, err := v.path()
			if err == nil {
				v.conn, err = unixctl.Dial(ctx, path)
			}
			if err != nil {
				return fmt.Errorf("ovs-vswitchd's control socket: %w", err)
			}
		}
		_, err := v.conn.Call(ctx, command, args...)
		var refused *unixctl.Error
		if err == nil || errors.As(err, &refused) {
			return err
		}
		v.conn.Close()
		v.conn = nil
		if !kept || ctx.Err() != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		kept = false // the daemon may have restarted: once more
	}
}

func (v *vswitchd) path() (string, error) {
	if v.socket == "" {
		return unixctl.Find(v.rundir)
	}
	_, err := os.Stat(v.socket)
	return v.socket, err
}
