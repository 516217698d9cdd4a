package policy

import (
	"net/netip"
	"strconv"
)

// Group is a SecurityGroup manifest.
type Group struct {
	Key   Key
	Rules []Rule
	Pos   Position
}

// Subnet is a Subnet manifest.
type Subnet struct {
	Key      Key
	Prefixes []netip.Prefix // masked; IPv4 first; at least one
	VPC      Key            // of vpcRef; "ns/default" when absent
	Pos      Position
}

// VirtualMachine is a VirtualMachine manifest.
type VirtualMachine struct {
	Key        Key
	UID        string // metadata.uid; empty if absent
	Interfaces []Interface
	// Groups are the security groups the manifest lists, in its order without
	// repetitions, existing or not. Empty means the default group.
	Groups []Key
	Pos    Position

	groupsAt *[]spot // of the names in Groups; nil if unknown
}

// Interface is one network interface of a VirtualMachine.
type Interface struct {
	ID     string       // matched against external_ids:iface-id; default the VM's name; unique in the VM
	MAC    MAC          // zero if the manifest gives none
	Addrs  []netip.Addr // sorted, unique
	Subnet Key          // of subnetRef; zero if absent

	at       spot // of the interface in the VM's file
	subnetAt spot // of Subnet's name
}

// pos is where the interface is in the file of vm.
func (n *Interface) pos(vm *VirtualMachine) Position { return n.at.in(vm.Pos.File) }

// groupPos is where the i-th group is named in the file of vm.
func (vm *VirtualMachine) groupPos(i int) Position {
	if vm.groupsAt == nil || i >= len(*vm.groupsAt) {
		return vm.Pos
	}
	return (*vm.groupsAt)[i].in(vm.Pos.File)
}

// The paths of fields that refer to something.

func groupField(i int) string {
	return "spec.networking.securityGroups.securityGroupMemberships[" + strconv.Itoa(i) + "].name"
}

func subnetField(i int) string {
	return "spec.networking.interfaces[" + strconv.Itoa(i) + "].subnetRef.name"
}

func remoteField(i int, kind RemoteKind) string {
	field := "securityGroupRef"
	if kind == RemoteSubnet {
		field = "subnetRef"
	}
	return "spec.rules[" + strconv.Itoa(i) + "].remote." + field + ".name"
}

// Objects is what manifests define, in the order of the file.
type Objects struct {
	Groups          []Group
	Subnets         []Subnet
	VirtualMachines []VirtualMachine
}
