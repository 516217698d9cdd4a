package policy

import "slices"

// vmSet is a set of VMs that takes little where it is small.
type vmSet struct {
	few  []*VirtualMachine
	many map[*VirtualMachine]bool // instead of few once these were too many
}

const fewVMs = 8

func (s *vmSet) add(vm *VirtualMachine) {
	if s.many == nil && len(s.few) < fewVMs {
		s.few = append(s.few, vm)
		return
	}
	if s.many == nil {
		s.many = make(map[*VirtualMachine]bool)
		for _, o := range s.few {
			s.many[o] = true
		}
		s.few = nil
	}
	s.many[vm] = true
}

func (s *vmSet) has(vm *VirtualMachine) bool { return s.many[vm] || slices.Contains(s.few, vm) }

func (s *vmSet) remove(vm *VirtualMachine) {
	delete(s.many, vm)
	if i := slices.Index(s.few, vm); i >= 0 {
		s.few = slices.Delete(s.few, i, i+1)
	}
}

func (s *vmSet) empty() bool { return len(s.many) == 0 && len(s.few) == 0 }

// all goes through the set in any order.
func (s *vmSet) all(yield func(*VirtualMachine) bool) {
	for _, vm := range s.few {
		if !yield(vm) {
			return
		}
	}
	for vm := range s.many {
		if !yield(vm) {
			return
		}
	}
}
