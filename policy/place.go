package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// placed is an interface of a manifest with everything looked up that does not
// depend on the host.
type placed struct {
	vm      int // into Policy.vms
	iface   Interface
	id      string       // the iface-id it is found by; "" if another has it
	uid     string       // the vm-id it is found by; "" if another VM has it
	vpc     string       // "" = none
	subnets []Key        // sorted
	addrs   []netip.Addr // without those that another interface has
	groups  []string     // existing groups, sorted
}

// claim is an address within a VPC.
type claim struct {
	vpc  string
	addr netip.Addr
}

// place looks up every interface, in the order of VM and interface id. What
// two of them claim, the first gets.
func (p *Policy) place() {
	ids := make(map[string]Key, len(p.vms))  // who has an interface id
	uids := make(map[string]Key, len(p.vms)) // who has a uid
	addrs := make(map[claim]Key, len(p.vms))
	p.placed = make([]placed, 0, len(p.vms))
	p.members = make([]Member, 0, len(p.vms))
	bySubnet := make(map[string][]Subnet) // by namespace, sorted by key
	for _, s := range p.subnets {
		bySubnet[s.Key.Namespace] = append(bySubnet[s.Key.Namespace], s)
	}
	for i, vm := range p.vms {
		object := kindVM + " " + vm.Key.String()
		uid := vm.UID
		if other, taken := uids[uid]; uid != "" && taken {
			p.warn(vm.Pos, object, "metadata.uid", "%q is already the uid of VM %s: not used to find ports", uid, other)
			uid = ""
		} else if uid != "" {
			uids[uid] = vm.Key
		}
		var groups []string
		for _, k := range p.GroupsOf(vm) {
			if p.GroupExists(k) {
				groups = append(groups, k.String())
			}
		}
		slices.Sort(groups)
		groups = slices.Compact(groups)

		ifaces := slices.Clone(vm.Interfaces)
		slices.SortStableFunc(ifaces, func(a, b Interface) int { return cmp.Compare(a.ID, b.ID) })
		for _, n := range ifaces {
			x := placed{vm: i, iface: n, id: n.ID, uid: uid, groups: groups}
			if other, taken := ids[n.ID]; taken {
				p.warn(n.Pos, object, "spec.networking.interfaces", "id %q is already used by VM %s: not used to find ports", n.ID, other)
				x.id = ""
			} else {
				ids[n.ID] = vm.Key
			}
			x.vpc, x.subnets = p.locate(object, vm.Key.Namespace, n, bySubnet[vm.Key.Namespace])
			for _, a := range n.Addrs {
				c := claim{x.vpc, a}
				if other, taken := addrs[c]; taken && x.vpc != "" {
					p.warn(n.Pos, object, "spec.networking.interfaces",
						"address %s of interface %q is already used by VM %s in VPC %s: refused", a, n.ID, other, x.vpc)
					continue
				}
				addrs[c] = vm.Key
				x.addrs = append(x.addrs, a)
			}
			p.placed = append(p.placed, x)
			if x.vpc == "" {
				continue
			}
			for _, a := range x.addrs {
				p.members = append(p.members, Member{VPC: x.vpc, Addr: a, Groups: groups, VM: vm.Key, Interface: n.ID})
			}
		}
	}
	slices.SortFunc(p.members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.VPC, b.VPC), a.Addr.Compare(b.Addr))
	})
}

// locate finds the VPC and the subnets of interface n, given the subnets of
// its namespace.
func (p *Policy) locate(object, namespace string, n Interface, subnets []Subnet) (vpc string, in []Key) {
	if !n.Subnet.IsZero() {
		s, ok := p.Subnet(n.Subnet)
		if !ok {
			p.warn(n.subnetPos, object, n.subnetField, "no subnet %s: interface %q is in no VPC", n.Subnet, n.ID)
			return "", nil
		}
		for _, a := range n.Addrs {
			if !slices.ContainsFunc(s.Prefixes, func(b netip.Prefix) bool { return b.Contains(a) }) {
				p.warn(n.Pos, object, n.subnetField, "address %s of interface %q is outside its subnet %s", a, n.ID, n.Subnet)
			}
		}
		return s.VPC.String(), []Key{n.Subnet}
	}
	var vpcs []string
	for _, a := range n.Addrs {
		held := holders(subnets, a)
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
		return Key{namespace, DefaultVPC}.String(), nil
	case 1:
		slices.SortFunc(in, Key.Compare)
		return vpcs[0], slices.Compact(in)
	}
	p.warn(n.Pos, object, "spec.networking.interfaces",
		"the addresses of interface %q are in subnets of several VPCs (%s, %s): name the subnet with subnetRef; it is in no VPC until then",
		n.ID, vpcs[0], vpcs[1])
	return "", nil
}

// holders returns the subnets whose prefix holds a, only those with the
// longest such prefix, in their order.
func holders(subnets []Subnet, a netip.Addr) []Subnet {
	var held []Subnet
	longest := -1
	for _, s := range subnets {
		for _, prefix := range s.Prefixes {
			switch {
			case !prefix.Contains(a) || prefix.Bits() < longest:
			case prefix.Bits() > longest:
				longest, held = prefix.Bits(), []Subnet{s}
			default:
				held = append(held, s)
			}
		}
	}
	return held
}
