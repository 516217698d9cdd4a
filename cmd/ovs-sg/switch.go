package main

import (
	"context"
	"errors"
	"net/netip"

	"github.com/ovs-sg/ovs-sg/controller"
	"github.com/ovs-sg/ovs-sg/flows/openflow"
	"github.com/ovs-sg/ovs-sg/ovsdb/unixctl"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
)

// bridge is an OpenFlow connection as the controller wants it.
type bridge struct{ *openflow.Conn }

func dialer(path string) func(context.Context, string) (controller.Switch, error) {
	return func(ctx context.Context, datapathType string) (controller.Switch, error) {
		conn, err := openflow.Dial(ctx, path, openflow.Options{
			FlushAddr: func(version string) bool { return !vswitch.QuirksOf(version, datapathType).FlushAddr },
		})
		if err != nil {
			return nil, err
		}
		return bridge{conn}, nil
	}
}

// NoFlood implements controller.Switch.
func (b bridge) NoFlood(ctx context.Context, want map[uint32]bool) error {
	ports, err := b.Ports(ctx)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if on, ok := want[p.OFPort]; ok {
			if err := b.SetNoFlood(ctx, p, on); err != nil {
				return err
			}
		}
	}
	return nil
}

// FlushAddr implements controller.Switch.
func (b bridge) FlushAddr(ctx context.Context, zone uint16, addr netip.Addr) error {
	err := b.Conn.FlushAddr(ctx, zone, addr)
	if errors.Is(err, openflow.ErrUnsupported) {
		return errors.ErrUnsupported
	}
	return err
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

// Settle implements controller.Daemon.
func (v vswitchd) Settle(ctx context.Context, purge bool) error {
	command := "revalidator/wait"
	if purge {
		command = "revalidator/purge"
	}
	_, err := v.Call(ctx, command)
	return err
}
