package policy

import (
	"fmt"
	"net/netip"
)

// lookup is where references are looked up: in a Policy, or in a Book.
type lookup interface {
	Options() Options
	Group(Key) (Group, bool)
	GroupExists(Key) bool
	Subnet(Key) (Subnet, bool)
	// holders returns the subnets of the namespace whose prefix holds the
	// address, only those with the longest such prefix, sorted by key.
	holders(namespace string, a netip.Addr) []Subnet
	// inVPC returns the subnets of a VPC, sorted by key.
	inVPC(vpc string) []Subnet
	// byID and byUID return the interfaces that ports are found by.
	byID(id string) (placed, bool)
	byUID(uid string) []placed
}

func (vm *VirtualMachine) object() string { return kindVM + " " + vm.Key.String() }

// warning is a warning of a policy.
func warning(pos Position, object, field, format string, args ...any) Problem {
	return Problem{Pos: pos, Object: object, Field: field, Reason: fmt.Sprintf(format, args...), Warning: true}
}

// lostRemotes warns of the rules of g that refer to what does not exist.
func lostRemotes(l lookup, g *Group) []Problem {
	var ps []Problem
	for i := range g.Rules {
		r := &g.Rules[i]
		what := ""
		switch r.Remote.Kind {
		case RemoteGroup:
			if !l.GroupExists(r.Remote.Ref) {
				what = "security group"
			}
		case RemoteSubnet:
			if _, ok := l.Subnet(r.Remote.Ref); !ok {
				what = "subnet"
			}
		}
		if what != "" {
			ps = append(ps, warning(r.refAt.in(g.Pos.File), kindGroup+" "+g.Key.String(), remoteField(i, r.Remote.Kind),
				"no %s %s: rule %s allows nothing", what, r.Remote.Ref, r.Name))
		}
	}
	return ps
}

// lostMemberships warns of the groups that vm lists and that do not exist.
func lostMemberships(l lookup, vm *VirtualMachine) []Problem {
	var ps []Problem
	for i, k := range vm.Groups {
		if !l.GroupExists(k) {
			ps = append(ps, warning(vm.groupPos(i), vm.object(), groupField(i), "no security group %s: it allows the VM nothing", k))
		}
	}
	return ps
}

// What is claimed twice: other has it.

func uidTaken(vm *VirtualMachine, other Key) Problem {
	return warning(vm.Pos, vm.object(), "metadata.uid", "%q is already the uid of VM %s: not used to find ports", vm.UID, other)
}

func idTaken(vm *VirtualMachine, n *Interface, other Key) Problem {
	return warning(n.pos(vm), vm.object(), "spec.networking.interfaces", "id %q is already used by VM %s: not used to find ports", n.ID, other)
}

func addrTaken(vm *VirtualMachine, n *Interface, a netip.Addr, vpc string, other Key) Problem {
	return warning(n.pos(vm), vm.object(), "spec.networking.interfaces",
		"address %s of interface %q is already used by VM %s in VPC %s: refused", a, n.ID, other, vpc)
}
