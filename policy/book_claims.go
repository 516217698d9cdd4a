package policy

import (
	"cmp"
	"slices"
)

// claimant is the n-th interface of a VM, or the VM itself with n zero.
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

// claims says who claims what.
type claims[K comparable] struct {
	first map[K]claimant
	rest  map[K][]claimant // those behind the first, in order
}

func newClaims[K comparable]() claims[K] {
	return claims[K]{first: make(map[K]claimant), rest: make(map[K][]claimant)}
}

func (cs claims[K]) add(k K, c claimant) {
	first, taken := cs.first[k]
	if !taken {
		cs.first[k] = c
		return
	}
	if c.compare(first) < 0 {
		cs.first[k], c = c, first
	}
	i, _ := slices.BinarySearchFunc(cs.rest[k], c, claimant.compare)
	cs.rest[k] = slices.Insert(cs.rest[k], i, c)
}

func (cs claims[K]) remove(k K, c claimant) {
	rest := cs.rest[k]
	switch {
	case cs.first[k] != c:
		if i := slices.Index(rest, c); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		}
	case len(rest) > 0:
		cs.first[k], rest = rest[0], rest[1:]
	default:
		delete(cs.first, k)
		return
	}
	if len(rest) > 0 {
		cs.rest[k] = rest
	} else {
		delete(cs.rest, k)
	}
}
