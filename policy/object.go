package policy

import "net/netip"

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

	groupPos []Position // of the names in Groups
}

// Interface is one network interface of a VirtualMachine.
type Interface struct {
	ID     string       // matched against external_ids:iface-id; default the VM's name
	MAC    MAC          // zero if the manifest gives none
	Addrs  []netip.Addr // sorted, unique
	Subnet Key          // of subnetRef; zero if absent
	Pos    Position

	subnetPos   Position
	subnetField string
}

// Objects is what manifests define, in the order of the file.
type Objects struct {
	Groups          []Group
	Subnets         []Subnet
	VirtualMachines []VirtualMachine
}
