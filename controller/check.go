package controller

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
)

// version is that of Open vSwitch. The database has it from ovs-ctl; where nobody
// has written it there, the running ovs-vswitchd is asked.
func (e *enforcer) version(ports *vswitch.Snapshot) string {
	return cmp.Or(ports.OVSVersion, e.release)
}

// quirks are those of the bridge's datapath.
func (e *enforcer) quirks(ports *vswitch.Snapshot) vswitch.Quirks {
	return vswitch.QuirksOf(e.version(ports), ports.Bridge.DatapathType)
}

// check says why nothing can be enforced on the bridge. It comes before anything is
// changed there. Without a connection ovs-vswitchd is asked too; if it does not
// answer, that is for connect to say.
func (e *enforcer) check(ctx context.Context, ports *vswitch.Snapshot) error {
	if err := usable("Open_vSwitch.ovs_version is", ports.OVSVersion); err != nil {
		return err
	}
	if e.conn != nil {
		return nil
	}
	return e.checkDaemon(ctx, ports)
}

// checkDaemon asks ovs-vswitchd.
func (e *enforcer) checkDaemon(ctx context.Context, ports *vswitch.Snapshot) error {
	if e.cfg.Daemon == nil {
		return nil
	}
	version, features, err := e.cfg.Daemon.Describe(ctx)
	if err != nil {
		return nil
	}
	if err := usable("ovs-vswitchd is", version); err != nil {
		return err
	}
	if missing := vswitch.Missing(features); len(missing) > 0 {
		return fmt.Errorf("the datapath of bridge %s lacks what the flows need: %s (ovs-appctl dpif/set-dp-features %s); nothing new is enforced",
			ports.Bridge.Name, strings.Join(missing, ", "), ports.Bridge.Name)
	}
	return nil
}

// checkSwitch is check after connect: ovs-vswitchd may have answered for the first
// time.
func (e *enforcer) checkSwitch(ctx context.Context, ports *vswitch.Snapshot) error {
	e.release = e.conn.Version()
	if err := usable("ovs-vswitchd is", e.release); err != nil {
		return err
	}
	return e.checkDaemon(ctx, ports)
}

func usable(whose, version string) error {
	if reason := vswitch.Unusable(version); reason != "" {
		return fmt.Errorf("%s %s: %s; nothing new is enforced until it is upgraded", whose, version, reason)
	}
	return nil
}
