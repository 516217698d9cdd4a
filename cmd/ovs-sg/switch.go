package main

import (
	"context"
	"fmt"
	"strings"

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

// vswitchd is the ovs-vswitchd that runs a bridge.
type vswitchd struct {
	*unixctl.Vswitchd
	bridge string
}

// FlushFDB implements controller.Daemon.
func (v vswitchd) FlushFDB(ctx context.Context) error {
	_, err := v.Call(ctx, "fdb/flush", v.bridge)
	return err
}

// smallest is the least size of a fragment that connection tracking of the userspace
// datapath can be made to take, the last of a datagram aside.
const smallest = "400"

// SmallFragments implements controller.Daemon.
func (v vswitchd) SmallFragments(ctx context.Context, datapathType string) error {
	datapath := datapathType + "@ovs-" + datapathType
	for _, family := range []string{"v4", "v6"} {
		if _, err := v.Call(ctx, "dpctl/ipf-set-min-frag", datapath, family, smallest); err != nil {
			return err
		}
	}
	status, err := v.Call(ctx, "dpctl/ipf-get-status", datapath)
	if err != nil {
		return err
	}
	for _, family := range []string{"v4", "v6"} {
		if want := "min " + family + " frag size: " + smallest; !strings.Contains(status, want+"\n") {
			return fmt.Errorf("dpctl/ipf-get-status %s: no %q", datapath, want)
		}
	}
	return nil
}

// Settle implements controller.Daemon.
func (v vswitchd) Settle(ctx context.Context, purge bool) error {
	command := "revalidator/wait"
	if purge {
		command = "revalidator/purge"
	}
	_, err := v.Call(ctx, command)
	return err
}
