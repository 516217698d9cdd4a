package main

import (
	"context"

	"github.com/ovs-sg/ovs-sg/controller"
	"github.com/ovs-sg/ovs-sg/flows/openflow"
	"github.com/ovs-sg/ovs-sg/ovsdb/unixctl"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
)

// dialer returns how the controller connects to the bridge with this management
// socket.
func dialer(path string) func(context.Context, string) (controller.Switch, error) {
	return func(ctx context.Context, datapathType string) (controller.Switch, error) {
		conn, err := openflow.Dial(ctx, path, openflow.Options{
			FlushAddr: func(version string) bool { return !vswitch.QuirksOf(version, datapathType).FlushAddr },
		})
		if err != nil {
			return nil, err
		}
		return conn, nil
	}
}

// vswitchd is the ovs-vswitchd that runs a bridge: a controller.Daemon.
type vswitchd struct {
	*unixctl.Vswitchd
	bridge string
}

// Describe implements controller.Daemon.
func (v vswitchd) Describe(ctx context.Context) (version, features string, err error) {
	return v.Vswitchd.Describe(ctx, v.bridge)
}

// FlushFDB implements controller.Daemon.
func (v vswitchd) FlushFDB(ctx context.Context) error {
	_, err := v.Call(ctx, "fdb/flush", v.bridge)
	return err
}
