package resolve

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/multimap"
)

// index holds the objects in force, so that each can be found by what refers to
// it. It points into the revisions that Update was given.
type index struct {
	opts      policy.Options // with defaults
	groups    map[policy.Key]*policy.Group
	subnets   map[policy.Key]*policy.Subnet
	prefixes  map[string]*prefixTable // of the subnets, by namespace
	sets      map[string]*groupSet    // every VM is in one; by setKey
	setsOf    map[policy.Key]map[*groupSet]bool
	vmsByID   multimap.Map[string, *policy.VirtualMachine] // by interface id; the first has it
	vmsByUID  multimap.Map[string, *policy.VirtualMachine]
	addrs     map[string]*vpcAddrs            // by VPC
	misplaced map[*policy.VirtualMachine]bool // VMs for which locate warns
}

// groupSet is the VMs that list the same groups.
type groupSet struct {
	listed []policy.Key // as groupsOf
	groups []string     // as Member.Groups
	vms    map[*policy.VirtualMachine]bool
}

// vpcAddrs is the interfaces that claim each address of a VPC.
type vpcAddrs struct {
	multimap.Map[netip.Addr, ifaceRef]
	vpc string
}

// ifaceRef is the n-th interface of a VM.
type ifaceRef struct {
	vm *policy.VirtualMachine
	n  int
}

func (f ifaceRef) iface() *policy.Interface { return &f.vm.Interfaces[f.n] }

// compare orders interfaces by VM key, then by id. An address or id that several
// interfaces claim belongs to the first of them.
func (f ifaceRef) compare(o ifaceRef) int {
	if f == o {
		return 0
	}
	return cmp.Or(f.vm.Key.Compare(o.vm.Key), cmp.Compare(f.iface().ID, o.iface().ID), cmp.Compare(f.n, o.n))
}

func compareVMs(a, b *policy.VirtualMachine) int { return a.Key.Compare(b.Key) }

func newIndex(opts policy.Options) *index {
	return &index{
		opts: opts.WithDefaults(), groups: make(map[policy.Key]*policy.Group), subnets: make(map[policy.Key]*policy.Subnet),
		prefixes: make(map[string]*prefixTable), sets: make(map[string]*groupSet), setsOf: make(map[policy.Key]map[*groupSet]bool),
		vmsByID: multimap.New[string](compareVMs), vmsByUID: multimap.New[string](compareVMs),
		addrs: make(map[string]*vpcAddrs), misplaced: make(map[*policy.VirtualMachine]bool),
	}
}

// groupExists reports whether k is a group: one that a manifest defines, or the
// default group of a namespace.
func (x *index) groupExists(k policy.Key) bool {
	return x.groups[k] != nil || k.Name == x.opts.DefaultGroup
}

// groupsOf returns the groups that vm is in, existing or not: the groups that it
// lists, or the default group of its namespace if it lists none.
func (x *index) groupsOf(vm *policy.VirtualMachine) []policy.Key {
	if len(vm.Groups) > 0 {
		return vm.Groups
	}
	return []policy.Key{{Namespace: vm.Key.Namespace, Name: x.opts.DefaultGroup}}
}

// existing returns those of the groups that exist, as "ns/name", sorted.
func (x *index) existing(groups []policy.Key) []string {
	var ids []string
	for _, k := range groups {
		if x.groupExists(k) {
			ids = append(ids, k.String())
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// subnetsIn returns the subnets of a VPC, sorted by key.
func (x *index) subnetsIn(vpc string) []*policy.Subnet {
	var in []*policy.Subnet
	for _, s := range x.subnets {
		if s.VPC.String() == vpc {
			in = append(in, s)
		}
	}
	slices.SortFunc(in, func(a, b *policy.Subnet) int { return a.Key.Compare(b.Key) })
	return in
}

// prefixTable finds the subnets of a namespace that hold an address.
type prefixTable struct {
	subnets map[netip.Prefix][]*policy.Subnet // sorted by key
	bits    []int                             // lengths of the prefixes, longest first
}

// holders returns the subnets of the namespace with the longest prefix that
// holds the address, sorted by key.
func (x *index) holders(namespace string, a netip.Addr) []*policy.Subnet {
	t := x.prefixes[namespace]
	if t == nil {
		return nil
	}
	for _, bits := range t.bits {
		if p, err := a.Prefix(bits); err == nil {
			if held := t.subnets[p]; len(held) > 0 {
				return held
			}
		}
	}
	return nil
}

// indexPrefixes makes the prefix table of a namespace anew.
func (x *index) indexPrefixes(namespace string) {
	var subnets []*policy.Subnet
	for _, s := range x.subnets {
		if s.Key.Namespace == namespace {
			subnets = append(subnets, s)
		}
	}
	if len(subnets) == 0 {
		delete(x.prefixes, namespace)
		return
	}
	slices.SortFunc(subnets, func(a, b *policy.Subnet) int { return a.Key.Compare(b.Key) })
	t := &prefixTable{subnets: make(map[netip.Prefix][]*policy.Subnet)}
	for _, s := range subnets {
		for _, p := range s.Prefixes {
			t.subnets[p] = append(t.subnets[p], s)
			if !slices.Contains(t.bits, p.Bits()) {
				t.bits = append(t.bits, p.Bits())
			}
		}
	}
	slices.SortFunc(t.bits, func(a, b int) int { return cmp.Compare(b, a) })
	x.prefixes[namespace] = t
}

// member returns the member with the address, nil if there is none.
func (x *index) member(k memberKey) *policy.Member {
	in := x.addrs[k.vpc]
	if in == nil {
		return nil
	}
	f, ok := in.First(k.addr)
	if !ok {
		return nil
	}
	m := x.memberOf(in, k.addr, f)
	return &m
}

func (x *index) memberOf(in *vpcAddrs, a netip.Addr, f ifaceRef) policy.Member {
	return policy.Member{VPC: in.vpc, Addr: a, Groups: x.set(f.vm).groups, VM: f.vm.Key, Interface: f.iface().ID}
}

// members returns every member, sorted.
func (x *index) members() []policy.Member {
	n := 0
	for _, in := range x.addrs {
		n += in.Len()
	}
	all := make([]policy.Member, 0, n)
	for _, in := range x.addrs {
		for a, f := range in.Firsts() {
			all = append(all, x.memberOf(in, a, f))
		}
	}
	slices.SortFunc(all, func(a, b policy.Member) int { return a.Compare(&b) })
	return all
}

// setKey appends to b a text that identifies the list of vm's groups.
func (x *index) setKey(b []byte, vm *policy.VirtualMachine) []byte {
	if len(vm.Groups) == 0 {
		return append(policy.Key{Namespace: vm.Key.Namespace, Name: x.opts.DefaultGroup}.AppendTo(b), 0)
	}
	for _, k := range vm.Groups {
		b = append(k.AppendTo(b), 0)
	}
	return b
}

// set returns the set for the groups of vm, nil if there is none yet.
func (x *index) set(vm *policy.VirtualMachine) *groupSet {
	var buf [256]byte
	return x.sets[string(x.setKey(buf[:0], vm))]
}

// addToSet puts vm into its set.
func (x *index) addToSet(vm *policy.VirtualMachine) {
	s := x.set(vm)
	if s == nil {
		s = &groupSet{listed: x.groupsOf(vm), vms: make(map[*policy.VirtualMachine]bool)}
		s.groups = x.existing(s.listed)
		x.sets[string(x.setKey(nil, vm))] = s
		for _, k := range s.listed {
			if x.setsOf[k] == nil {
				x.setsOf[k] = make(map[*groupSet]bool)
			}
			x.setsOf[k][s] = true
		}
	}
	s.vms[vm] = true
}

// canonical returns the VM of the index that is vm or was decoded from the same
// bytes as vm; nil if the index has none.
func (x *index) canonical(vm *policy.VirtualMachine) *policy.VirtualMachine {
	s := x.set(vm)
	if s == nil {
		return nil
	}
	if s.vms[vm] {
		return vm
	}
	for o := range s.vms { // decoded from the same bytes another time
		if o.Key == vm.Key {
			return o
		}
	}
	return nil
}

// removeFromSet takes vm out of its set.
func (x *index) removeFromSet(vm *policy.VirtualMachine) {
	s := x.set(vm)
	if delete(s.vms, vm); len(s.vms) > 0 {
		return
	}
	delete(x.sets, string(x.setKey(nil, vm)))
	for _, k := range s.listed {
		if delete(x.setsOf[k], s); len(x.setsOf[k]) == 0 {
			delete(x.setsOf, k)
		}
	}
}
