package resolve

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// placed is an interface and what the objects say about it. It does not depend on
// the host.
type placed struct {
	ifaceRef
	vpc     string       // "" = none
	subnets []policy.Key // sorted
	addrs   []netip.Addr // without the addresses that belong to another interface
}

// byID returns the interface that a port with the iface-id belongs to.
func (x *index) byID(id string) (placed, bool) {
	vm, ok := x.vmsByID.First(id)
	if !ok || id == "" {
		return placed{}, false
	}
	return x.place(ifaceRef{vm, interfaceNamed(vm, id)}), true
}

// byUID returns the interfaces, by id, of the VM that a port with the vm-id
// belongs to.
func (x *index) byUID(uid string) []placed {
	vm, ok := x.vmsByUID.First(uid)
	if !ok {
		return nil
	}
	all := make([]placed, len(vm.Interfaces))
	for i := range all {
		all[i] = x.place(ifaceRef{vm, i})
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.iface().ID, b.iface().ID) })
	return all
}

// interfaceNamed returns the index of the interface of vm with the id.
func interfaceNamed(vm *policy.VirtualMachine, id string) int {
	return slices.IndexFunc(vm.Interfaces, func(n policy.Interface) bool { return n.ID == id })
}

func (x *index) place(f ifaceRef) placed {
	p := placed{ifaceRef: f}
	p.vpc, p.subnets = x.locate(f, nil)
	for _, a := range f.iface().Addrs {
		if p.vpc != "" {
			if owner, _ := x.addrs[p.vpc].First(a); owner != f {
				continue
			}
		}
		p.addrs = append(p.addrs, a)
	}
	return p
}

// locate returns the VPC and the subnets of an interface. It calls warn, unless
// warn is nil, with what is wrong with them.
func (x *index) locate(f ifaceRef, warn func(policy.Problem)) (vpc string, in []policy.Key) {
	if warn == nil {
		warn = func(policy.Problem) {}
	}
	n := f.iface()
	if !n.Subnet.IsZero() {
		s := x.subnets[n.Subnet]
		if s == nil {
			warn(subnetMissing(f))
			return "", nil
		}
		for _, a := range n.Addrs {
			if !slices.ContainsFunc(s.Prefixes, func(b netip.Prefix) bool { return b.Contains(a) }) {
				warn(addrOutside(f, a))
			}
		}
		return s.VPC.String(), []policy.Key{n.Subnet}
	}
	var vpcs []string
	for _, a := range n.Addrs {
		held := x.holders(f.vm.Key.Namespace, a)
		for _, s := range held {
			vpcs = append(vpcs, s.VPC.String())
		}
		if len(held) > 0 {
			in = append(in, held[0].Key)
		}
	}
	slices.Sort(vpcs)
	vpcs = slices.Compact(vpcs)
	switch len(vpcs) {
	case 0:
		return policy.Key{Namespace: f.vm.Key.Namespace, Name: policy.DefaultVPC}.String(), nil
	case 1:
		slices.SortFunc(in, policy.Key.Compare)
		return vpcs[0], slices.Compact(in)
	}
	warn(vpcAmbiguous(f, vpcs))
	return "", nil
}
