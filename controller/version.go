package controller

import (
	"cmp"
	"fmt"
)

// NeedsPurge says whether the datapath may modify the wrong megaflow after a
// change of flows, so that all of them must be thrown away: the userspace
// datapath before Open vSwitch 3.1.3 ("dpif-netdev: Fix
// dpif_netdev_flow_put").
func NeedsPurge(datapathType, ovsVersion string) bool {
	return userspace(datapathType) && compareVersions(ovsVersion, 3, 1, 3) < 0
}

// userspace says whether the datapath is Open vSwitch's own.
func userspace(datapathType string) bool { return datapathType == "netdev" || datapathType == "dummy" }

func compareVersions(v string, major, minor, patch int) int {
	var a, b, c int
	// What cannot be read counts as old.
	_, _ = fmt.Sscanf(v, "%d.%d.%d", &a, &b, &c)
	return cmp.Or(cmp.Compare(a, major), cmp.Compare(b, minor), cmp.Compare(c, patch))
}
