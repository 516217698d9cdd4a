package policy

import "net/netip"

// The kinds of object, as manifests and errors name them.
const (
	KindGroup          = "SecurityGroup"
	KindSubnet         = "Subnet"
	KindVirtualMachine = "VirtualMachine"
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
	Groups   []Key
	GroupsAt []Spot // of each name in Groups, in the file of Pos; nil if unknown
	Pos      Position
}

// Interface is one network interface of a VirtualMachine.
type Interface struct {
	ID       string       // matched against external_ids:iface-id; default the VM's name; unique in the VM
	MAC      MAC          // zero if the manifest gives none
	Addrs    []netip.Addr // sorted, unique
	Subnet   Key          // of subnetRef; zero if absent
	At       Spot         // of the interface in the VM's file
	SubnetAt Spot         // of the name in Subnet
}

// Objects is what manifests define, in the order of the file.
type Objects struct {
	Groups          []Group
	Subnets         []Subnet
	VirtualMachines []VirtualMachine
}

// Definitions returns the places where the objects are defined: the groups, the
// subnets and the virtual machines, each kind in its order.
func (o *Objects) Definitions() []Definition {
	all := make([]Definition, 0, len(o.Groups)+len(o.Subnets)+len(o.VirtualMachines))
	for i := range o.Groups {
		all = append(all, o.Groups[i].definition())
	}
	for i := range o.Subnets {
		all = append(all, o.Subnets[i].definition())
	}
	for i := range o.VirtualMachines {
		all = append(all, o.VirtualMachines[i].definition())
	}
	return all
}

func (g *Group) definition() Definition  { return Definition{KindGroup, g.Key, g.Pos} }
func (s *Subnet) definition() Definition { return Definition{KindSubnet, s.Key, s.Pos} }
func (vm *VirtualMachine) definition() Definition {
	return Definition{KindVirtualMachine, vm.Key, vm.Pos}
}

// Definition is the place where an object of any kind is defined.
type Definition struct {
	Kind string // KindGroup, KindSubnet or KindVirtualMachine
	Key  Key
	Pos  Position
}

// String returns "kind namespace/name".
func (d Definition) String() string { return d.Kind + " " + d.Key.String() }

// ID returns d without its position. Two definitions are of one object if and
// only if their IDs are equal.
func (d Definition) ID() Definition { return Definition{Kind: d.Kind, Key: d.Key} }

// DefinedTwice returns the error that second is refused, because first defines
// the same object.
func DefinedTwice(second, first Definition) Problem {
	return Problem{
		Pos: second.Pos, Object: second.String(), Field: "metadata.name",
		Reason: second.String() + " is already defined at " + first.Pos.String(),
	}
}
