package policy

import "slices"

// Policy is everything that manifests define, as plain lists. A Policy does not
// change, and callers must not change what its methods return.
type Policy struct {
	opts    Options
	objects Objects // each kind sorted by key, each key once
}

// New joins the objects of all files. An object that is defined twice is an
// error that names both places; the first in the order of files stays. The
// errors are sorted. The Policy is never nil.
func New(files []Objects, opts Options) (*Policy, []Problem) {
	p := &Policy{opts: opts.WithDefaults()}
	var errs []Problem
	first := make(map[Definition]Definition)
	fresh := func(d Definition) bool {
		f, taken := first[d.ID()]
		if taken {
			errs = append(errs, DefinedTwice(d, f))
		} else {
			first[d.ID()] = d
		}
		return !taken
	}
	for _, f := range files {
		for _, g := range f.Groups {
			if fresh(g.definition()) {
				p.objects.Groups = append(p.objects.Groups, g)
			}
		}
		for _, s := range f.Subnets {
			if fresh(s.definition()) {
				p.objects.Subnets = append(p.objects.Subnets, s)
			}
		}
		for _, vm := range f.VirtualMachines {
			if fresh(vm.definition()) {
				p.objects.VirtualMachines = append(p.objects.VirtualMachines, vm)
			}
		}
	}
	slices.SortFunc(p.objects.Groups, func(a, b Group) int { return a.Key.Compare(b.Key) })
	slices.SortFunc(p.objects.Subnets, func(a, b Subnet) int { return a.Key.Compare(b.Key) })
	slices.SortFunc(p.objects.VirtualMachines, func(a, b VirtualMachine) int { return a.Key.Compare(b.Key) })
	return p, SortProblems(errs)
}

// Options returns the settings, with defaults filled in.
func (p *Policy) Options() Options { return p.opts }

// Objects returns the objects, each kind sorted by key.
func (p *Policy) Objects() Objects { return p.objects }
