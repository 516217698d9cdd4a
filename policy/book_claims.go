package policy

import (
	"cmp"
	"slices"
)

// claimant is the n-th interface of a VM, which claims an address.
type claimant struct {
	vm *VirtualMachine
	n  int
}

// compare orders claimants: the first of those that claim a thing gets it.
func (c claimant) compare(o claimant) int {
	if c == o {
		return 0
	}
	return cmp.Or(c.vm.Key.Compare(o.vm.Key), cmp.Compare(c.vm.Interfaces[c.n].ID, o.vm.Interfaces[o.n].ID), cmp.Compare(c.n, o.n))
}

// compare orders VMs in the same way.
func (vm *VirtualMachine) compare(o *VirtualMachine) int { return vm.Key.Compare(o.Key) }

// claims says who claims what; those behind the first are in order.
type claims[K comparable, C claiming[C]] struct{ several[K, C] }

type claiming[C any] interface {
	comparable
	compare(C) int
}

func newClaims[K comparable, C claiming[C]]() claims[K, C] { return claims[K, C]{newSeveral[K, C]()} }

func (cs claims[K, C]) add(k K, c C) {
	first, taken := cs.first[k]
	if !taken {
		cs.first[k] = c
		return
	}
	if c.compare(first) < 0 {
		cs.first[k], c = c, first
	}
	i, _ := slices.BinarySearchFunc(cs.rest[k], c, C.compare)
	cs.rest[k] = slices.Insert(cs.rest[k], i, c)
}
