package vswitch

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Quirks are what a datapath of a version of Open vSwitch does otherwise than
// documented, or otherwise than the other datapath.
type Quirks struct {
	// HoldsFragments says that connection tracking holds each fragment back
	// until its packet is complete, hands the fragments out together with
	// whatever packet is tracked at that moment, before 3.6 also those that wait in
	// vain, with what that packet's flows have loaded, takes small fragments
	// only if it is told to, and before 3.1.7 does not show the ports of the connection with a later fragment. The kernel's
	// datapath puts packets together before anything looks at them.
	HoldsFragments bool
	// StaleMegaflows says that the datapath may modify the wrong megaflow
	// after a change of flows, so that all of them must be thrown away.
	StaleMegaflows bool
	// FlushAddr says that flushing the connections of an address aborts
	// ovs-vswitchd when one of them is of ICMPv6, and leaves some of them.
	FlushAddr bool
}

// quirks is the table of what is known. A quirk holds for the userspace
// datapath, of versions from since on and before the version that fixed it on
// the same branch (major.minor). A branch without a fix has the quirk if it is
// older than the last one.
var quirks = []struct {
	holds  func(*Quirks) *bool
	since  version
	fixed  []version // nil: not yet
	source string
}{
	{
		holds:  func(q *Quirks) *bool { return &q.HoldsFragments },
		source: `measured on 3.1.0 (netdev)`,
	},
	{
		holds:  func(q *Quirks) *bool { return &q.StaleMegaflows },
		fixed:  []version{{3, 1, 3}},
		source: `"dpif-netdev: Fix dpif_netdev_flow_put"`,
	},
	{
		// Measured on 3.1.0: one ICMPv6 connection of the address was enough
		// for the abort, and of 500 UDP connections 126 were left; a flush of
		// the whole zone left none. Before 3.1.0 there is no flush by address.
		holds: func(q *Quirks) *bool { return &q.FlushAddr },
		since: version{3, 1, 0},
		fixed: []version{{3, 1, 5}, {3, 2, 3}, {3, 3, 1}, {3, 4, 0}},
		source: `"conntrack: Do not use icmp reverse helper for icmpv6",
			"conntrack: Fix flush not flushing all elements"`,
	},
}

// QuirksOf returns the quirks of a datapath: ovsVersion is that of Open
// vSwitch, such as "3.1.0", and datapathType is Bridge.datapath_type. A
// version that cannot be read has every quirk of its datapath.
func QuirksOf(ovsVersion, datapathType string) Quirks {
	var out Quirks
	if datapathType == "" || datapathType == "system" {
		return out // the kernel's has none
	}
	v, ok := parseVersion(ovsVersion)
	for _, q := range quirks {
		*q.holds(&out) = !ok || v.compare(q.since) >= 0 && !v.has(q.fixed)
	}
	return out
}

// noCrash are the releases from which on a packet of the pipeline does not end
// ovs-vswitchd: one that came from the controller or from nowhere, such as an
// answer of Open vSwitch itself, that passes ct() and then NORMAL. Measured on
// 2.15.0 with netdev; the code is the same for all datapaths
// ("ofproto-dpif-xlate: Fix NULL pointer dereference in xlate_normal()").
var noCrash = []version{{2, 13, 7}, {2, 14, 5}, {2, 15, 4}, {2, 16, 3}, {2, 17, 1}, {3, 0, 0}}

// Unusable says why nothing can be enforced with a version of Open vSwitch;
// empty if that is not known.
func Unusable(ovsVersion string) string {
	v, ok := parseVersion(ovsVersion)
	if !ok || v.has(noCrash) {
		return ""
	}
	var fixed []string
	for _, f := range noCrash {
		fixed = append(fixed, fmt.Sprintf("%d.%d.%d", f[0], f[1], f[2]))
	}
	return "a packet can crash this release (NULL pointer in xlate_normal); it is mended in " + strings.Join(fixed, ", ")
}

// needed are the features of a datapath that the pipeline needs, as
// dpif/show-dp-features calls them.
var needed = []string{
	"Recirc", "CT state", "CT zone", "CT label", "CT orig tuple", "CT orig tuple for IPv6", "Conntrack clear",
}

// Missing returns the features that the pipeline needs and the datapath does not
// have; features is the output of dpif/show-dp-features, with lines like "CT zone:
// Yes", or of dpif/set-dp-features, with lines like "ct_zone (CT zone) : [run
// time]:true, [boot time]:true". What the output does not mention is not missing.
func Missing(features string) (out []string) {
	lacks := map[string]bool{}
	for line := range strings.Lines(features) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), ": No"); ok {
			lacks[name] = true
		}
		if name, _, ok := strings.Cut(line, ") : [run time]:false"); ok {
			_, name, _ = strings.Cut(name, " (")
			lacks[name] = true
		}
	}
	for _, name := range needed {
		if lacks[name] {
			out = append(out, name)
		}
	}
	return out
}

// version is major, minor and patch.
type version [3]int

// parseVersion reads up to three numbers with dots between. What follows a
// number, as in 4.0.0-rc1, does not count.
func parseVersion(text string) (v version, ok bool) {
	for i, part := range strings.SplitN(text, ".", len(v)) {
		if end := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			part = part[:end]
		}
		n, err := strconv.Atoi(part)
		if err != nil {
			return version{}, false
		}
		v[i] = n
	}
	return v, true
}

func (v version) compare(w version) int {
	return cmp.Or(cmp.Compare(v[0], w[0]), cmp.Compare(v[1], w[1]), cmp.Compare(v[2], w[2]))
}

// has tells whether v has a fix that was made in the given versions, which
// ascend, one to a branch.
func (v version) has(fixed []version) bool {
	for _, f := range fixed {
		if v[0] == f[0] && v[1] == f[1] {
			return v[2] >= f[2]
		}
	}
	return len(fixed) > 0 && v.compare(fixed[len(fixed)-1]) >= 0
}
