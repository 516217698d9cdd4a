package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// catalog is what the manifests say, kept up to date. It is to a Book what a
// Policy is to New: a lookup. It points into the versions it was given.
type catalog struct {
	opts    Options
	groups  map[Key]*Group
	subnets map[Key]*Subnet
	blocks  map[string]*blocks // of the subnets, by namespace
	sets    map[string]*groupSet
	setsOf  map[Key]map[*groupSet]bool      // that list a group
	ids     claims[string, *VirtualMachine] // of interfaces, one in a VM
	uids    claims[string, *VirtualMachine]
	addrs   map[string]*vpcAddrs     // by VPC
	flawed  map[*VirtualMachine]bool // those about whose place there are warnings
}

// groupSet is the VMs that are in the same groups.
type groupSet struct {
	listed []Key    // as Options.groupsOf
	groups []string // Member.Groups
	vms    vmSet
}

type vpcAddrs struct {
	claims[netip.Addr, claimant]
	vpc string
}

func newCatalog(opts Options) *catalog {
	return &catalog{
		opts: opts.withDefaults(), groups: make(map[Key]*Group), subnets: make(map[Key]*Subnet),
		blocks: make(map[string]*blocks), sets: make(map[string]*groupSet), setsOf: make(map[Key]map[*groupSet]bool),
		ids: newClaims[string, *VirtualMachine](), uids: newClaims[string, *VirtualMachine](), addrs: make(map[string]*vpcAddrs),
		flawed: make(map[*VirtualMachine]bool),
	}
}

func (x *catalog) Options() Options { return x.opts }

func (x *catalog) Group(k Key) (Group, bool) {
	g, ok := x.groups[k]
	if !ok {
		return Group{}, false
	}
	return *g, true
}

func (x *catalog) GroupExists(k Key) bool { return x.groups[k] != nil || k.Name == x.opts.DefaultGroup }

func (x *catalog) Subnet(k Key) (Subnet, bool) {
	s, ok := x.subnets[k]
	if !ok {
		return Subnet{}, false
	}
	return *s, true
}

func (x *catalog) inVPC(vpc string) []Subnet {
	var in []Subnet
	for _, s := range x.subnets {
		if s.VPC.String() == vpc {
			in = append(in, *s)
		}
	}
	slices.SortFunc(in, func(a, b Subnet) int { return a.Key.Compare(b.Key) })
	return in
}

// blocks finds the subnets of a namespace that hold an address.
type blocks struct {
	at   map[netip.Prefix][]Subnet // sorted by key
	bits []int                     // lengths of the prefixes, longest first
}

func (x *catalog) holders(namespace string, a netip.Addr) []Subnet {
	b := x.blocks[namespace]
	if b == nil {
		return nil
	}
	for _, bits := range b.bits {
		if p, err := a.Prefix(bits); err == nil {
			if held := b.at[p]; len(held) > 0 {
				return held
			}
		}
	}
	return nil
}

// block indexes the prefixes of the namespace anew.
func (x *catalog) block(namespace string) {
	var subnets []*Subnet
	for _, s := range x.subnets {
		if s.Key.Namespace == namespace {
			subnets = append(subnets, s)
		}
	}
	if len(subnets) == 0 {
		delete(x.blocks, namespace)
		return
	}
	slices.SortFunc(subnets, func(a, b *Subnet) int { return a.Key.Compare(b.Key) })
	b := &blocks{at: make(map[netip.Prefix][]Subnet)}
	for _, s := range subnets {
		for _, p := range s.Prefixes {
			b.at[p] = append(b.at[p], *s)
			if !slices.Contains(b.bits, p.Bits()) {
				b.bits = append(b.bits, p.Bits())
			}
		}
	}
	slices.SortFunc(b.bits, func(a, b int) int { return cmp.Compare(b, a) })
	x.blocks[namespace] = b
}

func (x *catalog) byID(id string) (placed, bool) {
	vm, ok := x.ids.first[id]
	if !ok || id == "" {
		return placed{}, false
	}
	return x.place(claimant{vm, vm.named(id)}), true
}

func (x *catalog) byUID(uid string) []placed {
	vm, ok := x.uids.first[uid]
	if !ok {
		return nil
	}
	var xs []placed
	for _, i := range interfaceOrder(vm) {
		xs = append(xs, x.place(claimant{vm, i}))
	}
	return xs
}

// named returns the index of the interface with the id, which vm has.
func (vm *VirtualMachine) named(id string) int {
	return slices.IndexFunc(vm.Interfaces, func(n Interface) bool { return n.ID == id })
}

// place looks up what a port of the interface needs.
func (x *catalog) place(c claimant) placed {
	p := placed{vm: c.vm, n: &c.vm.Interfaces[c.n]}
	p.vpc, p.subnets = locate(x, c.vm, c.n, nil)
	for _, a := range p.n.Addrs {
		if p.vpc == "" || x.addrs[p.vpc].first[a] == c {
			p.addrs = append(p.addrs, a)
		}
	}
	return p
}

// member returns the member with the address, nil if there is none.
func (x *catalog) member(vpc string, a netip.Addr) *Member {
	in := x.addrs[vpc]
	if in == nil {
		return nil
	}
	c, ok := in.first[a]
	if !ok {
		return nil
	}
	m := x.memberOf(in, a, c)
	return &m
}

func (x *catalog) memberOf(in *vpcAddrs, a netip.Addr, c claimant) Member {
	return Member{VPC: in.vpc, Addr: a, Groups: x.set(c.vm).groups, VM: c.vm.Key, Interface: c.vm.Interfaces[c.n].ID}
}

func (x *catalog) members() []Member {
	n := 0
	for _, in := range x.addrs {
		n += len(in.first)
	}
	all := make([]Member, 0, n)
	for _, in := range x.addrs {
		for a, c := range in.first {
			all = append(all, x.memberOf(in, a, c))
		}
	}
	slices.SortFunc(all, compareMembers)
	return all
}

// set returns the set that vm belongs in, nil if there is none yet.
func (x *catalog) set(vm *VirtualMachine) *groupSet {
	var buf [256]byte
	return x.sets[string(x.setKey(buf[:0], vm))]
}

func (x *catalog) setKey(b []byte, vm *VirtualMachine) []byte {
	if len(vm.Groups) > 0 {
		return appendKeys(b, vm.Groups)
	}
	one := [1]Key{{vm.Key.Namespace, x.opts.DefaultGroup}}
	return appendKeys(b, one[:])
}

// join puts vm into its set.
func (x *catalog) join(vm *VirtualMachine) {
	s := x.set(vm)
	if s == nil {
		s = &groupSet{listed: x.opts.groupsOf(vm)}
		s.groups = existing(x, s.listed)
		x.sets[string(x.setKey(nil, vm))] = s
		for _, k := range s.listed {
			if x.setsOf[k] == nil {
				x.setsOf[k] = make(map[*groupSet]bool)
			}
			x.setsOf[k][s] = true
		}
	}
	s.vms.add(vm)
}

// own returns the copy of vm that the catalog has, nil if it has none.
func (x *catalog) own(vm *VirtualMachine) *VirtualMachine {
	s := x.set(vm)
	if s == nil {
		return nil
	}
	if s.vms.has(vm) {
		return vm
	}
	for o := range s.vms.all { // decoded from the same bytes another time
		if o.Key == vm.Key {
			return o
		}
	}
	return nil
}

// leave takes vm out of its set.
func (x *catalog) leave(vm *VirtualMachine) {
	s := x.set(vm)
	if s.vms.remove(vm); !s.vms.empty() {
		return
	}
	delete(x.sets, string(x.setKey(nil, vm)))
	for _, k := range s.listed {
		if delete(x.setsOf[k], s); len(x.setsOf[k]) == 0 {
			delete(x.setsOf, k)
		}
	}
}

// problems returns the warnings that Policy.Problems gives.
func (x *catalog) problems() []Problem {
	var ps []Problem
	for _, g := range x.groups {
		ps = append(ps, lostRemotes(x, g)...)
	}
	for _, s := range x.sets {
		if len(s.groups) == len(s.listed) {
			continue
		}
		for vm := range s.vms.all {
			ps = append(ps, lostMemberships(x, vm)...)
		}
	}
	for uid, vms := range x.uids.rest {
		for _, vm := range vms {
			ps = append(ps, uidTaken(vm, x.uids.first[uid].Key))
		}
	}
	for id, vms := range x.ids.rest {
		for _, vm := range vms {
			ps = append(ps, idTaken(vm, &vm.Interfaces[vm.named(id)], x.ids.first[id].Key))
		}
	}
	for vpc, in := range x.addrs {
		for a, cs := range in.rest {
			for _, c := range cs {
				ps = append(ps, addrTaken(c.vm, &c.vm.Interfaces[c.n], a, vpc, in.first[a].vm.Key))
			}
		}
	}
	for vm := range x.flawed {
		for i := range vm.Interfaces {
			locate(x, vm, i, func(p Problem) { ps = append(ps, p) })
		}
	}
	return sortProblems(ps)
}
