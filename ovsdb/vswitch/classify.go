package vswitch

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Kind says what an interface of the bridge is. The zero value is
// [Unidentified]: what is not known to be trusted is not.
type Kind uint8

const (
	// Unidentified is an interface about which nothing is known. It gets and
	// sends nothing.
	Unidentified Kind = iota
	// VM is the interface of a virtual machine, which policy governs.
	VM
	// Infrastructure is a trusted interface: the bridge itself, a patch or
	// tunnel port, a physical NIC, a bond, or a declared uplink.
	Infrastructure
)

// String is "unidentified", "vm" or "infrastructure".
func (k Kind) String() string {
	return [...]string{Unidentified: "unidentified", VM: "vm", Infrastructure: "infrastructure"}[k]
}

// RoleUplink is the value of external_ids:ovs-sg-role that makes an
// interface trusted infrastructure.
const RoleUplink = "uplink"

// tunnelTypes are the values of Interface.type that carry the traffic of
// other hosts (ovs-vswitchd.conf.db(5), "Tunnel Options").
var tunnelTypes = []string{
	"bareudp", "erspan", "geneve", "gre", "gtpu", "ip6erspan", "ip6gre",
	"lisp", "srv6", "stt", "vxlan",
}

// Classify tells what p is and why, as one readable phrase. It looks at p's
// name, port name, type, bond, role and identifiers. The first that applies
// decides:
//
//  1. an uplink, by external_ids:ovs-sg-role=uplink or because uplinks has the
//     name of the interface or of its port: infrastructure;
//  2. external_ids iface-id, vm-id, vm-uuid or attached-mac: VM;
//  3. the bridge's own (LOCAL) interface, a patch or tunnel port, a member of a
//     bond, or a system interface of which physical(name) is true:
//     infrastructure;
//  4. unidentified.
//
// An identifier comes before a type so that a doubtful interface is rather
// restricted than trusted. physical may be nil: then nothing is physical.
func Classify(p Port, bridge string, uplinks []string, physical func(name string) bool) (Kind, string) {
	switch {
	case p.Role == RoleUplink:
		return Infrastructure, "uplink: external_ids:" + keyRole + "=" + RoleUplink
	case slices.Contains(uplinks, p.Name):
		return Infrastructure, "uplink: the agent's settings name interface " + p.Name
	case slices.Contains(uplinks, p.PortName):
		return Infrastructure, "uplink: the agent's settings name port " + p.PortName

	case p.IfaceID != "":
		return VM, "VM interface: external_ids:" + keyIfaceID + "=" + p.IfaceID
	case p.VMID != "":
		return VM, "VM interface: external_ids:" + keyVMID + "=" + p.VMID
	case p.AttachedMAC != "":
		return VM, "VM interface: external_ids:" + keyAttachedMAC + "=" + p.AttachedMAC

	case p.Name == bridge:
		// Whatever the type column says: an interface with the bridge's name
		// is its local port.
		return Infrastructure, "the bridge's own interface (LOCAL)"
	case p.Type == "patch":
		return Infrastructure, "patch port"
	case slices.Contains(tunnelTypes, p.Type):
		return Infrastructure, p.Type + " tunnel"
	case p.Bond:
		return Infrastructure, "member of bond " + p.PortName
	case (p.Type == "" || p.Type == "system") && physical != nil && physical(p.Name):
		return Infrastructure, "physical network device"
	}
	what := "no external_ids:" + strings.Join([]string{keyIfaceID, keyVMID, "or " + keyAttachedMAC}, ", ")
	switch p.Type {
	case "", "system":
		return Unidentified, what + ", and not a physical device"
	default:
		return Unidentified, what + ", and type " + p.Type + " is not infrastructure by itself"
	}
}

// representor is the phys_port_name of the host's end of an SR-IOV virtual
// function or subfunction (devlink(7): pf0vf3, c1pf0sf88; pf0vfr3 of the ice driver). It is behind a
// device like a NIC, but a VM is at its other end.
var representor = regexp.MustCompile(`^(c\d+)?pf\d+(vfr?|sf)\d+$`)

// Physical tells whether the network device of that name in this network
// namespace is the host's way out: backed by a hardware device, or a kernel
// bond. The representor of a virtual function is not. Names with a slash or
// without a device are not.
func Physical(name string) bool { return physicalIn("/sys/class/net", name) }

func physicalIn(class, name string) bool {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/') {
		return false
	}
	dir := filepath.Join(class, name)
	if _, err := os.Stat(filepath.Join(dir, "bonding")); err == nil {
		return true
	}
	if _, err := os.Stat(filepath.Join(dir, "device")); err != nil {
		return false
	}
	port, err := os.ReadFile(filepath.Join(dir, "phys_port_name"))
	return err != nil || !representor.MatchString(strings.TrimSpace(string(port)))
}
