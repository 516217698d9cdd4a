package flows

import (
	"math"
	"net/netip"
	"slices"
)

// Host is what the flows depend on besides the policy.
type Host struct {
	Infra []InfraPort
	// Userspace says that the datapath is Open vSwitch's own (datapath_type
	// netdev) and not the kernel's. The userspace datapath hands out fragments of
	// other packets together with any packet that is tracked or committed.
	Userspace bool
	// DHCPServers are addresses of servers of DHCP and DHCPv6 that a VM may ask
	// without a rule, besides asking all of them. They do not change.
	DHCPServers []netip.Addr
}

// InfraPort is a port whose traffic is trusted: the bridge's own, an uplink,
// a patch or tunnel port. The zero VLAN fields are a trunk of all VLANs.
type InfraPort struct {
	OFPort uint32
	// Access: the port carries one VLAN, Native, without tag.
	Access bool
	// Native is the VLAN of frames without tag; 0: none.
	Native uint16
	// Trunks are the VLANs the port carries; empty: all.
	Trunks []uint16
}

// Equal reports whether two ports are the same in every field.
func (p InfraPort) Equal(o InfraPort) bool {
	return p.OFPort == o.OFPort && p.Access == o.Access && p.Native == o.Native && slices.Equal(p.Trunks, o.Trunks)
}

// Epochs are the epochs of a class of ports, by policy.Direction. The epoch of a
// direction is raised when the rules of that direction allow less than before. A
// connection remembers the epochs at which it was judged.
type Epochs [2]uint32

// MaxEpoch is the highest epoch; a quarter of ct_label holds one.
const MaxEpoch = math.MaxUint32
