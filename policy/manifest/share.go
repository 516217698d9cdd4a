package manifest

import (
	"sync"
	"unique"

	"github.com/ovs-sg/ovs-sg/policy"
)

// sharedLists keeps one copy of each list that many virtual machines of a
// directory have in common. It may be used by several goroutines at once.
type sharedLists struct {
	mu    sync.Mutex
	known map[string]groupList // by namespaces, names and positions of the groups
}

// groupList is the groups of a virtual machine and where they are named.
type groupList struct {
	groups []policy.Key
	at     []policy.Spot
}

// compact makes o share names and lists with other objects and removes the
// unused capacity of its slices.
func (s *sharedLists) compact(o *policy.Objects) {
	for i := range o.Groups {
		k := &o.Groups[i].Key
		k.Namespace = share(k.Namespace)
	}
	for i := range o.Subnets {
		n := &o.Subnets[i]
		n.Key.Namespace = share(n.Key.Namespace)
		n.VPC = shareKey(n.VPC)
	}
	o.VirtualMachines = clip(o.VirtualMachines)
	for i := range o.VirtualMachines {
		vm := &o.VirtualMachines[i]
		vm.Key.Namespace = share(vm.Key.Namespace)
		vm.Interfaces = clip(vm.Interfaces)
		for j := range vm.Interfaces {
			n := &vm.Interfaces[j]
			n.Addrs = clip(n.Addrs)
			if n.ID == vm.Key.Name {
				n.ID = vm.Key.Name
			}
			if !n.Subnet.IsZero() {
				n.Subnet = shareKey(n.Subnet)
			}
		}
		if len(vm.Groups) > 0 {
			s.lists(vm)
		}
	}
}

// lists makes vm share its list of groups and the list of their positions.
func (s *sharedLists) lists(vm *policy.VirtualMachine) {
	var buf [256]byte
	key := buf[:0]
	for i, k := range vm.Groups {
		at := vm.GroupsAt[i]
		key = append(k.AppendTo(key), 0, byte(at.Line), byte(at.Line>>8), byte(at.Line>>16), byte(at.Line>>24),
			byte(at.Column), byte(at.Column>>8), byte(at.Column>>16), byte(at.Column>>24))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.known[string(key)]
	if !ok {
		l = groupList{make([]policy.Key, len(vm.Groups)), clip(vm.GroupsAt)}
		for i, k := range vm.Groups {
			l.groups[i] = shareKey(k)
		}
		s.known[string(key)] = l
	}
	vm.Groups, vm.GroupsAt = l.groups, l.at
}

// share returns the copy of text that all objects share.
func share(text string) string { return unique.Make(text).Value() }

func shareKey(k policy.Key) policy.Key {
	return policy.Key{Namespace: share(k.Namespace), Name: share(k.Name)}
}

// clip returns s in an array without unused capacity.
func clip[T any](s []T) []T {
	if len(s) == cap(s) {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}
