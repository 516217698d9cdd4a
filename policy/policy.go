package policy

import (
	"fmt"
	"slices"
	"strconv"
)

// DefaultGroupName is the default group's name where Options gives none.
const DefaultGroupName = "default-sto-1"

// DefaultVPC is the name of the VPC of a subnet without vpcRef, in its namespace.
const DefaultVPC = "default"

// DefaultContent is what the built-in default group allows.
type DefaultContent uint8

// The built-in contents.
const (
	// OwnSubnet is all egress, and all ingress from the interface's subnets.
	OwnSubnet DefaultContent = iota
	// WholeVPC is all egress, and all ingress from every subnet of the VPC.
	WholeVPC
	// EgressOnly is all egress.
	EgressOnly
	// Nothing allows nothing.
	Nothing
)

// String returns the word for c that settings use.
func (c DefaultContent) String() string {
	switch c {
	case OwnSubnet:
		return "own-subnet"
	case WholeVPC:
		return "whole-vpc"
	case EgressOnly:
		return "egress-only"
	case Nothing:
		return "nothing"
	}
	return "DefaultContent(" + strconv.Itoa(int(c)) + ")"
}

// ParseDefaultContent reads what String returns.
func ParseDefaultContent(s string) (DefaultContent, error) {
	for c := OwnSubnet; c <= Nothing; c++ {
		if s == c.String() {
			return c, nil
		}
	}
	return 0, fmt.Errorf("default group content %q must be own-subnet, whole-vpc, egress-only or nothing", s)
}

// Options are the settings of a policy. The zero value is usable.
type Options struct {
	DefaultGroup   string // name of the default group; DefaultGroupName if empty
	DefaultContent DefaultContent
}

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	if o.DefaultGroup == "" {
		o.DefaultGroup = DefaultGroupName
	}
	return o
}

// groupsOf returns the groups that vm is in, existing or not.
func (o Options) groupsOf(vm *VirtualMachine) []Key {
	if len(vm.Groups) == 0 {
		return []Key{{vm.Key.Namespace, o.DefaultGroup}}
	}
	return vm.Groups
}

// Policy is everything the manifests define, indexed. It does not change, and
// what its methods return must not be changed either.
type Policy struct {
	opts     Options
	groups   []Group // sorted by key, as the others
	subnets  []Subnet
	vms      []VirtualMachine
	groupOf  map[Key]int // into groups
	subnetOf map[Key]int // into subnets
	vmOf     map[Key]int // into vms
	placed   []placed
	idOf     map[string]int   // into placed, by placed.id
	uidOf    map[string][]int // into placed, by placed.uid
	members  []Member
	problems []Problem
}

// New joins the objects of all files. An object that is defined twice is an
// error that names both places; the first in the order of files stays. A
// reference to something that does not exist is no error but a warning, see
// Problems: that is how a policy looks while it is being written, and what is
// missing allows nothing. The Policy is never nil.
func New(files []Objects, opts Options) (*Policy, []Problem) {
	p := &Policy{opts: opts.withDefaults()}
	var errs []Problem
	first := make(map[defined]defined)
	fresh := func(o defined) bool {
		f, dup := first[o.id()]
		if dup {
			errs = append(errs, duplicateOf(o, f))
		} else {
			first[o.id()] = o
		}
		return !dup
	}
	for _, f := range files {
		for _, g := range f.Groups {
			if fresh(defined{kindGroup, g.Key, g.Pos}) {
				p.groups = append(p.groups, g)
			}
		}
		for _, s := range f.Subnets {
			if fresh(defined{kindSubnet, s.Key, s.Pos}) {
				p.subnets = append(p.subnets, s)
			}
		}
		for _, vm := range f.VirtualMachines {
			if fresh(defined{kindVM, vm.Key, vm.Pos}) {
				p.vms = append(p.vms, vm)
			}
		}
	}
	slices.SortFunc(p.groups, func(a, b Group) int { return a.Key.Compare(b.Key) })
	slices.SortFunc(p.subnets, func(a, b Subnet) int { return a.Key.Compare(b.Key) })
	slices.SortFunc(p.vms, func(a, b VirtualMachine) int { return a.Key.Compare(b.Key) })
	p.groupOf = make(map[Key]int, len(p.groups))
	for i := range p.groups {
		p.groupOf[p.groups[i].Key] = i
	}
	p.subnetOf = make(map[Key]int, len(p.subnets))
	for i := range p.subnets {
		p.subnetOf[p.subnets[i].Key] = i
	}
	p.vmOf = make(map[Key]int, len(p.vms))
	for i := range p.vms {
		p.vmOf[p.vms[i].Key] = i
	}
	p.checkReferences()
	p.place()
	p.problems = sortProblems(p.problems)
	return p, sortProblems(errs)
}

// Options returns the settings, with defaults filled in.
func (p *Policy) Options() Options { return p.opts }

// Groups returns the groups that manifests define, sorted by key.
func (p *Policy) Groups() []Group { return p.groups }

// Subnets returns the subnets, sorted by key.
func (p *Policy) Subnets() []Subnet { return p.subnets }

// VirtualMachines returns the virtual machines, sorted by key.
func (p *Policy) VirtualMachines() []VirtualMachine { return p.vms }

// Problems returns the warnings about the manifests as a whole, sorted by
// position: references to nothing and things that are claimed twice.
func (p *Policy) Problems() []Problem { return p.problems }

// Group returns the group that a manifest defines under k.
func (p *Policy) Group(k Key) (Group, bool) {
	i, ok := p.groupOf[k]
	if !ok {
		return Group{}, false
	}
	return p.groups[i], true
}

// Subnet returns the subnet k.
func (p *Policy) Subnet(k Key) (Subnet, bool) {
	i, ok := p.subnetOf[k]
	if !ok {
		return Subnet{}, false
	}
	return p.subnets[i], true
}

// VirtualMachine returns the virtual machine k.
func (p *Policy) VirtualMachine(k Key) (VirtualMachine, bool) {
	i, ok := p.vmOf[k]
	if !ok {
		return VirtualMachine{}, false
	}
	return p.vms[i], true
}

// GroupExists reports whether k is a group: one that a manifest defines, or a
// namespace's default group, which is built in.
func (p *Policy) GroupExists(k Key) bool {
	_, ok := p.groupOf[k]
	return ok || k.Name == p.opts.DefaultGroup
}

// GroupsOf returns the groups that vm is in, existing or not: those it lists,
// or the default group of its namespace if it lists none.
func (p *Policy) GroupsOf(vm VirtualMachine) []Key { return p.opts.groupsOf(&vm) }

// checkReferences warns of references to what does not exist.
func (p *Policy) checkReferences() {
	for i := range p.groups {
		p.problems = append(p.problems, lostRemotes(p, &p.groups[i])...)
	}
	for i := range p.vms {
		p.problems = append(p.problems, lostMemberships(p, &p.vms[i])...)
	}
}
