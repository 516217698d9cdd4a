package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// placed is an interface of a manifest with everything looked up that does not
// depend on the host.
type placed struct {
	vm      *VirtualMachine
	n       *Interface
	id      string       // the iface-id it is found by; "" if another has it
	uid     string       // the vm-id it is found by; "" if another VM has it
	vpc     string       // "" = none
	subnets []Key        // sorted
	addrs   []netip.Addr // without those that another interface has
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
	for i := range p.vms {
		vm := &p.vms[i]
		uid := vm.UID
		if other, taken := uids[uid]; uid != "" && taken {
			p.warn(uidTaken(vm, other))
			uid = ""
		} else if uid != "" {
			uids[uid] = vm.Key
		}
		groups := existing(p, p.GroupsOf(*vm))
		for _, i := range interfaceOrder(vm) {
			n := &vm.Interfaces[i]
			x := placed{vm: vm, n: n, id: n.ID, uid: uid}
			if other, taken := ids[n.ID]; taken {
				p.warn(idTaken(vm, n, other))
				x.id = ""
			} else {
				ids[n.ID] = vm.Key
			}
			x.vpc, x.subnets = locate(p, vm, i, p.warn)
			for _, a := range n.Addrs {
				c := claim{x.vpc, a}
				if other, taken := addrs[c]; taken && x.vpc != "" {
					p.warn(addrTaken(vm, n, a, x.vpc, other))
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
	slices.SortFunc(p.members, compareMembers)
	p.idOf = make(map[string]int, len(p.placed))
	p.uidOf = make(map[string][]int, len(p.placed))
	for i, x := range p.placed {
		if x.id != "" {
			p.idOf[x.id] = i
		}
		if x.uid != "" {
			p.uidOf[x.uid] = append(p.uidOf[x.uid], i)
		}
	}
}

func (p *Policy) warn(w Problem) { p.problems = append(p.problems, w) }

func (p *Policy) byID(id string) (placed, bool) {
	i, ok := p.idOf[id]
	if !ok {
		return placed{}, false
	}
	return p.placed[i], true
}

func (p *Policy) byUID(uid string) []placed {
	var xs []placed
	for _, i := range p.uidOf[uid] {
		xs = append(xs, p.placed[i])
	}
	return xs
}

func (p *Policy) inVPC(vpc string) []Subnet {
	var in []Subnet
	for _, s := range p.subnets {
		if s.VPC.String() == vpc {
			in = append(in, s)
		}
	}
	return in
}

func (p *Policy) holders(namespace string, a netip.Addr) []Subnet {
	var held []Subnet
	longest := -1
	for _, s := range p.subnets {
		if s.Key.Namespace != namespace {
			continue
		}
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

// existing returns those of the groups that exist, as "ns/name", sorted.
func existing(l lookup, groups []Key) []string {
	var ids []string
	for _, k := range groups {
		if l.GroupExists(k) {
			ids = append(ids, k.String())
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// interfaceOrder returns the indexes of the interfaces of vm by interface id.
func interfaceOrder(vm *VirtualMachine) []int {
	if len(vm.Interfaces) == 1 {
		return only[:]
	}
	order := make([]int, len(vm.Interfaces))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(vm.Interfaces[a].ID, vm.Interfaces[b].ID) })
	return order
}

var only = [1]int{0} // never changed

func compareMembers(a, b Member) int {
	return cmp.Or(cmp.Compare(a.VPC, b.VPC), a.Addr.Compare(b.Addr))
}

// locate finds the VPC and the subnets of the i-th interface of vm. What is
// wrong with it is given to warn, unless that is nil.
func locate(l lookup, vm *VirtualMachine, i int, warn func(Problem)) (vpc string, in []Key) {
	n := &vm.Interfaces[i]
	if !n.Subnet.IsZero() {
		s, ok := l.Subnet(n.Subnet)
		if !ok {
			if warn != nil {
				warn(warning(n.subnetAt.in(vm.Pos.File), vm.object(), subnetField(i), "no subnet %s: interface %q is in no VPC", n.Subnet, n.ID))
			}
			return "", nil
		}
		for _, a := range n.Addrs {
			if warn != nil && !slices.ContainsFunc(s.Prefixes, func(b netip.Prefix) bool { return b.Contains(a) }) {
				warn(warning(n.pos(vm), vm.object(), subnetField(i), "address %s of interface %q is outside its subnet %s", a, n.ID, n.Subnet))
			}
		}
		return s.VPC.String(), []Key{n.Subnet}
	}
	var vpcs []string
	for _, a := range n.Addrs {
		held := l.holders(vm.Key.Namespace, a)
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
		return Key{vm.Key.Namespace, DefaultVPC}.String(), nil
	case 1:
		slices.SortFunc(in, Key.Compare)
		return vpcs[0], slices.Compact(in)
	}
	if warn != nil {
		warn(warning(n.pos(vm), vm.object(), "spec.networking.interfaces",
			"the addresses of interface %q are in subnets of several VPCs (%s, %s): name the subnet with subnetRef; it is in no VPC until then",
			n.ID, vpcs[0], vpcs[1]))
	}
	return "", nil
}
