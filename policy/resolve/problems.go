package resolve

import (
	"fmt"
	"net/netip"

	"github.com/ovs-sg/ovs-sg/policy"
)

// problems returns the warnings about the objects, sorted.
func (x *index) problems() []policy.Problem {
	var ps []policy.Problem
	warn := func(p policy.Problem) { ps = append(ps, p) }
	for _, g := range x.groups {
		x.missingRemotes(g, warn)
	}
	for _, s := range x.sets {
		if len(s.groups) == len(s.listed) {
			continue
		}
		for vm := range s.vms {
			x.missingGroups(vm, warn)
		}
	}
	for uid, vm := range x.vmsByUID.Others() {
		owner, _ := x.vmsByUID.First(uid)
		warn(vmWarning(vm, vm.Pos, "metadata.uid", "%q is already the uid of VM %s: not used to find ports", uid, owner.Key))
	}
	for id, vm := range x.vmsByID.Others() {
		owner, _ := x.vmsByID.First(id)
		f := ifaceRef{vm, interfaceNamed(vm, id)}
		warn(f.warning(interfacesField, "id %q is already used by VM %s: not used to find ports", id, owner.Key))
	}
	for vpc, in := range x.addrs {
		for a, f := range in.Others() {
			owner, _ := in.First(a)
			warn(f.warning(interfacesField, "address %s of interface %q is already used by VM %s in VPC %s: refused", a, f.iface().ID, owner.vm.Key, vpc))
		}
	}
	for vm := range x.misplaced {
		for i := range vm.Interfaces {
			x.locate(ifaceRef{vm, i}, warn)
		}
	}
	return policy.SortProblems(ps)
}

// missingRemotes warns of the rules of g that refer to what does not exist.
func (x *index) missingRemotes(g *policy.Group, warn func(policy.Problem)) {
	for i := range g.Rules {
		r := &g.Rules[i]
		what, field := "", ""
		switch {
		case r.Remote.Kind == policy.RemoteGroup && !x.groupExists(r.Remote.Ref):
			what, field = "security group", "securityGroupRef"
		case r.Remote.Kind == policy.RemoteSubnet && x.subnets[r.Remote.Ref] == nil:
			what, field = "subnet", "subnetRef"
		default:
			continue
		}
		warn(warning(r.RefAt.In(g.Pos.File), policy.KindGroup+" "+g.Key.String(), fmt.Sprintf("spec.rules[%d].remote.%s.name", i, field),
			"no %s %s: rule %s allows nothing", what, r.Remote.Ref, r.Name))
	}
}

// missingGroups warns of the groups that vm lists and that do not exist.
func (x *index) missingGroups(vm *policy.VirtualMachine, warn func(policy.Problem)) {
	for i, k := range vm.Groups {
		if x.groupExists(k) {
			continue
		}
		pos := vm.Pos
		if i < len(vm.GroupsAt) {
			pos = vm.GroupsAt[i].In(vm.Pos.File)
		}
		field := fmt.Sprintf("spec.networking.securityGroups.securityGroupMemberships[%d].name", i)
		warn(vmWarning(vm, pos, field, "no security group %s: it allows the VM nothing", k))
	}
}

func subnetMissing(f ifaceRef) policy.Problem {
	n := f.iface()
	return vmWarning(f.vm, n.SubnetAt.In(f.vm.Pos.File), f.subnetField(), "no subnet %s: interface %q is in no VPC", n.Subnet, n.ID)
}

func addrOutside(f ifaceRef, a netip.Addr) policy.Problem {
	return f.warning(f.subnetField(), "address %s of interface %q is outside its subnet %s", a, f.iface().ID, f.iface().Subnet)
}

func vpcAmbiguous(f ifaceRef, vpcs []string) policy.Problem {
	return f.warning(interfacesField,
		"the addresses of interface %q are in subnets of several VPCs (%s, %s): name the subnet with subnetRef; it is in no VPC until then",
		f.iface().ID, vpcs[0], vpcs[1])
}

const interfacesField = "spec.networking.interfaces"

func (f ifaceRef) subnetField() string {
	return fmt.Sprintf("%s[%d].subnetRef.name", interfacesField, f.n)
}

// warning returns a warning at the interface.
func (f ifaceRef) warning(field, format string, args ...any) policy.Problem {
	return vmWarning(f.vm, f.iface().At.In(f.vm.Pos.File), field, format, args...)
}

func vmWarning(vm *policy.VirtualMachine, pos policy.Position, field, format string, args ...any) policy.Problem {
	return warning(pos, policy.KindVirtualMachine+" "+vm.Key.String(), field, format, args...)
}

func warning(pos policy.Position, object, field, format string, args ...any) policy.Problem {
	return policy.Problem{Pos: pos, Object: object, Field: field, Reason: fmt.Sprintf(format, args...), Warning: true}
}
