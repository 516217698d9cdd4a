package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
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

// datapath is the name of the datapath of a type, as ovs-vswitchd knows it
// (ovs-vswitchd(8), "Datapath Commands").
func datapath(datapathType string) string {
	if datapathType == "" {
		datapathType = "system"
	}
	return datapathType + "@ovs-" + datapathType
}

// smallest is the least size of a fragment that connection tracking of the userspace
// datapath can be made to take, the last of a datagram aside.
const smallest = "400"

// SmallFragments implements controller.Daemon.
func (v vswitchd) SmallFragments(ctx context.Context, datapathType string) error {
	name := datapath(datapathType)
	for _, family := range []string{"v4", "v6"} {
		if _, err := v.Call(ctx, "dpctl/ipf-set-min-frag", name, family, smallest); err != nil {
			return err
		}
	}
	status, err := v.Call(ctx, "dpctl/ipf-get-status", name)
	if err != nil {
		return err
	}
	for _, family := range []string{"v4", "v6"} {
		if want := "min " + family + " frag size: " + smallest; !strings.Contains(status, want+"\n") {
			return fmt.Errorf("dpctl/ipf-get-status %s: no %q", name, want)
		}
	}
	return nil
}

// LimitConnections implements controller.Daemon.
func (v vswitchd) LimitConnections(ctx context.Context, datapathType string, limits map[uint16]uint32) error {
	set, del := []string{datapath(datapathType)}, []string{}
	for _, zone := range slices.Sorted(maps.Keys(limits)) {
		if n := limits[zone]; n > 0 {
			set = append(set, fmt.Sprintf("zone=%d,limit=%d", zone, n))
		} else {
			del = append(del, strconv.Itoa(int(zone)))
		}
	}
	if len(set) > 1 {
		if _, err := v.Call(ctx, "dpctl/ct-set-limits", set...); err != nil {
			return err
		}
	}
	if len(del) == 0 {
		return nil
	}
	_, err := v.Call(ctx, "dpctl/ct-del-limits", datapath(datapathType), "zone="+strings.Join(del, ","))
	return err
}

// FullZones implements controller.Daemon.
func (v vswitchd) FullZones(ctx context.Context, datapathType string) (full []uint16, err error) {
	out, err := v.Call(ctx, "dpctl/ct-get-limits", datapath(datapathType))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		var zone uint16
		var limit, count uint32
		if n, _ := fmt.Sscanf(line, "zone=%d,limit=%d,count=%d", &zone, &limit, &count); n == 3 && limit > 0 && count >= limit {
			full = append(full, zone)
		}
	}
	slices.Sort(full)
	return full, nil
}
