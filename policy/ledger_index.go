package policy

import (
	"hash/maphash"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// uses says which versions define an object. The objects are known by a hash
// only, which is small: that two share one joins components that are judged
// apart as well, and does no harm.
type uses struct {
	seed maphash.Seed
	of   several[uint64, *Revision]
}

func newUses() uses {
	return uses{seed: maphash.MakeSeed(), of: newSeveral[uint64, *Revision]()}
}

// each goes through the hashes of what v defines.
func (u *uses) each(v *Revision) iter.Seq[uint64] {
	type object struct {
		kind string
		key  Key
	}
	return func(yield func(uint64) bool) {
		o := &v.Objects
		for i := range o.Groups {
			if !yield(maphash.Comparable(u.seed, object{kindGroup, o.Groups[i].Key})) {
				return
			}
		}
		for i := range o.Subnets {
			if !yield(maphash.Comparable(u.seed, object{kindSubnet, o.Subnets[i].Key})) {
				return
			}
		}
		for i := range o.VirtualMachines {
			if !yield(maphash.Comparable(u.seed, object{kindVM, o.VirtualMachines[i].Key})) {
				return
			}
		}
	}
}

func (u *uses) add(v *Revision) {
	for h := range u.each(v) {
		u.of.add(h, v)
	}
}

func (u *uses) remove(v *Revision) {
	for h := range u.each(v) {
		u.of.remove(h, v)
	}
}

// with gives the name of every file with a version that defines what v does.
func (u *uses) with(v *Revision, file func(name string)) {
	for h := range u.each(v) {
		if o := u.of.first[h]; o != nil {
			file(o.Name)
		}
		for _, o := range u.of.rest[h] {
			file(o.Name)
		}
	}
}

// job is a file to decode.
type job struct {
	f              File
	r              reading
	newest, stored *filing // what the outcome is for: the file, its stored copy

	v    *Revision
	errs []Problem
}

// decode does all the jobs.
func (n *names) decode(jobs []job) {
	do := func(some []job) {
		files := make([]File, len(some))
		for i := range some {
			files[i] = some[i].f
		}
		for i, d := range decodeMany(files) {
			j := &some[i]
			if j.errs = d.problems; len(d.problems) == 0 {
				j.v = &Revision{Name: j.r.name, Sum: j.r.sum, Objects: d.objects}
				n.compact(&j.v.Objects, j.v.Name)
			}
		}
	}
	if len(jobs) < 2*batchFiles {
		do(jobs)
		return
	}
	var wait sync.WaitGroup
	chunks := slices.Collect(slices.Chunk(jobs, batchFiles))
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wait.Go(func() {
			for i := w; i < len(chunks); i += workers {
				do(chunks[i])
			}
		})
	}
	wait.Wait()
}

// names keeps one copy of each string and list that many manifests have in
// common.
type names struct {
	sync.Mutex
	texts  map[string]string
	groups map[string][]Key
	spots  map[string]*[]spot
}

// manyNames is how many of a kind are kept; then all are let go, and what is
// read later has copies of its own.
const manyNames = 1 << 16

// text returns the copy of s.
func (n *names) text(s string) string {
	if t, ok := n.texts[s]; ok {
		return t
	}
	if n.texts == nil || len(n.texts) >= manyNames {
		n.texts = make(map[string]string)
	}
	n.texts[s] = s
	return s
}

// compact makes o share what it has in common with others and, as most files of
// one VM are called like the VM, with the name of its file.
func (n *names) compact(o *Objects, file string) {
	n.Lock()
	defer n.Unlock()
	for i := range o.Groups {
		k := &o.Groups[i].Key
		k.Namespace = n.text(k.Namespace)
	}
	for i := range o.Subnets {
		s := &o.Subnets[i]
		s.Key.Namespace = n.text(s.Key.Namespace)
		s.VPC = Key{n.text(s.VPC.Namespace), n.text(s.VPC.Name)}
	}
	o.VirtualMachines = tight(o.VirtualMachines)
	var buf [256]byte
	for i := range o.VirtualMachines {
		vm := &o.VirtualMachines[i]
		vm.Interfaces = tight(vm.Interfaces)
		if strings.HasPrefix(file, vm.Key.Name) {
			vm.Key.Name = file[:len(vm.Key.Name)]
		}
		vm.Key.Namespace = n.text(vm.Key.Namespace)
		for j := range vm.Interfaces {
			f := &vm.Interfaces[j]
			f.Addrs = tight(f.Addrs)
			if f.ID == vm.Key.Name {
				f.ID = vm.Key.Name
			}
			if !f.Subnet.IsZero() {
				f.Subnet = Key{n.text(f.Subnet.Namespace), n.text(f.Subnet.Name)}
			}
		}
		if len(vm.Groups) > 0 {
			vm.Groups = n.group(appendKeys(buf[:0], vm.Groups), vm.Groups)
		}
		if vm.groupsAt != nil {
			key := buf[:0]
			for _, s := range *vm.groupsAt {
				key = append(key, byte(s.line), byte(s.line>>8), byte(s.line>>16), byte(s.line>>24))
				key = append(key, byte(s.column), byte(s.column>>8), byte(s.column>>16), byte(s.column>>24))
			}
			vm.groupsAt = n.spot(key, vm.groupsAt)
		}
	}
}

// tight returns s without room to grow.
func tight[T any](s []T) []T {
	if len(s) == cap(s) {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}

func (n *names) group(key []byte, groups []Key) []Key {
	if g, ok := n.groups[string(key)]; ok {
		return g
	}
	if n.groups == nil || len(n.groups) >= manyNames {
		n.groups = make(map[string][]Key)
	}
	for i, k := range groups {
		groups[i] = Key{n.text(k.Namespace), n.text(k.Name)}
	}
	n.groups[string(key)] = groups
	return groups
}

func (n *names) spot(key []byte, at *[]spot) *[]spot {
	if s, ok := n.spots[string(key)]; ok {
		return s
	}
	if n.spots == nil || len(n.spots) >= manyNames {
		n.spots = make(map[string]*[]spot)
	}
	n.spots[string(key)] = at
	return at
}

// appendKeys writes the keys so that different lists are different bytes.
func appendKeys(b []byte, keys []Key) []byte {
	for _, k := range keys {
		b = append(b, k.Namespace...)
		b = append(b, '/')
		b = append(b, k.Name...)
		b = append(b, 0)
	}
	return b
}
