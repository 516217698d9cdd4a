package policy

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// history draws files that change, none defining what another does, and ports.
type history struct {
	world
	files map[string]*Revision
	vifs  []VIF
	count byte
}

// step changes some files or the ports or both, at times one object only.
func (h *history) step() []RevisionChange {
	single := len(h.files) > 0 && !h.odds("several", 3)
	if !single && h.odds("ports", 2) {
		h.vifs = h.world.vifs()
		h.vifs = h.vifs[:1+h.pick("fewer", len(h.vifs))]
	}
	next := make(map[string]Objects)
	for name, v := range h.files {
		next[name] = Objects{
			Groups: slices.Clone(v.Objects.Groups), Subnets: slices.Clone(v.Objects.Subnets),
			VirtualMachines: slices.Clone(v.Objects.VirtualMachines),
		}
	}
	changed := make(map[string]bool)
	drop := func(is func(kind string, k Key) bool) {
		for name, o := range next {
			before := len(o.Groups) + len(o.Subnets) + len(o.VirtualMachines)
			o.Groups = slices.DeleteFunc(o.Groups, func(g Group) bool { return is(kindGroup, g.Key) })
			o.Subnets = slices.DeleteFunc(o.Subnets, func(s Subnet) bool { return is(kindSubnet, s.Key) })
			o.VirtualMachines = slices.DeleteFunc(o.VirtualMachines, func(vm VirtualMachine) bool { return is(kindVM, vm.Key) })
			if len(o.Groups)+len(o.Subnets)+len(o.VirtualMachines) < before {
				next[name], changed[name] = o, true
			}
		}
	}
	kinds := []string{kindGroup, kindSubnet, kindVM, kindVM}
	few, left := []int{2, 5}[h.pick("few", 2)], 100
	if single {
		few, left = 1, 1
		if h.odds("drop", 4) {
			left = 0
		}
	}
	drops := h.pick("drops", 6) / few
	if single {
		drops = 1 - left
	}
	for range drops {
		kind, key := kinds[h.pick("kind", 4)], h.key("drop")
		drop(func(k string, o Key) bool { return k == kind && o == key })
	}
	add := func(kind string, key Key, into func(*Objects, Position)) {
		if left == 0 || !h.odds("take", few) {
			return
		}
		left--
		drop(func(k string, o Key) bool { return k == kind && o == key })
		name := []string{"f", "g", "h"}[h.pick("file", 3)]
		o := next[name]
		into(&o, Position{File: name, Line: int32(h.pick("line", 3))})
		next[name], changed[name] = o, true
	}
	drawn := h.world.objects()
	if single {
		switch h.pick("kind of one", 4) { // the other kinds do not come
		case 0:
			drawn.Subnets, drawn.VirtualMachines = nil, nil
		case 1:
			drawn.Groups, drawn.VirtualMachines = nil, nil
		default:
			drawn.Groups, drawn.Subnets = nil, nil
		}
	}
	for _, g := range drawn.Groups {
		add(kindGroup, g.Key, func(o *Objects, pos Position) { g.Pos = pos; o.Groups = append(o.Groups, g) })
	}
	for _, s := range drawn.Subnets {
		add(kindSubnet, s.Key, func(o *Objects, pos Position) { s.Pos = pos; o.Subnets = append(o.Subnets, s) })
	}
	for _, vm := range drawn.VirtualMachines {
		add(kindVM, vm.Key, func(o *Objects, pos Position) { vm.Pos = pos; o.VirtualMachines = append(o.VirtualMachines, vm) })
	}
	var changes []RevisionChange
	for _, name := range []string{"f", "g", "h"} {
		if !changed[name] {
			continue
		}
		h.count++
		c := RevisionChange{Name: name, Before: h.files[name], After: &Revision{Name: name, Sum: [32]byte{h.count}, Objects: next[name]}}
		if c.Before != nil && h.odds("gone", 6) {
			c.After = nil
		}
		changes = append(changes, c)
		delete(h.files, name)
		if c.After != nil {
			h.files[name] = c.After
		}
	}
	return changes
}

// reference is the slow way.
func (h *history) reference(t *rapid.T, opts Options) (*Model, []Problem) {
	var all []Objects
	for _, name := range []string{"f", "g", "h"} {
		if v := h.files[name]; v != nil {
			all = append(all, v.Objects)
		}
	}
	p, errs := New(all, opts)
	if len(errs) > 0 {
		t.Fatalf("the test is wrong: %v", errs)
	}
	m := p.Resolve(h.vifs)
	return m, slices.Concat(p.Problems(), m.Problems)
}

// TestBookIsResolve: after any history a Book has what New and Resolve have,
// says what has changed, and can go back.
func TestBookIsResolve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{world: world{t}, files: make(map[string]*Revision)}
		opts := Options{DefaultContent: DefaultContent(h.pick("content", 4))}
		b, lazy := NewBook(opts), NewBook(opts) // lazy gets several steps at once
		var merged []RevisionChange
		before := b.Model()
		for step := range 8 {
			was := h.vifs
			changes := h.step()
			if left := Merge(changes, Invert(changes)); len(left) > 0 {
				t.Fatalf("there and back is %v", left)
			}
			if merged = Merge(merged, changes); h.odds("lazy", 2) {
				lazy.Update(merged, h.vifs)
				merged = nil
			}
			given := changes
			if h.odds("copies", 4) {
				given = copies(changes)
			}
			change := b.Update(given, h.vifs)
			after := b.Model()
			want, problems := h.reference(t, opts)
			if !reflect.DeepEqual(after, want) {
				t.Fatalf("step %d:\ngot  %+v\nwant %+v", step, after, want)
			}
			if got := b.Problems(); !slices.Equal(got, problems) {
				t.Fatalf("step %d: problems\ngot  %v\nwant %v", step, got, problems)
			}
			if local := b.Local(); !reflect.DeepEqual(local, &Model{Endpoints: want.Endpoints, Groups: want.Groups, Problems: want.Problems}) {
				t.Fatalf("step %d: local %+v", step, local)
			}
			applies(t, before, change, after)
			if h.odds("back", 3) {
				back := b.Update(Invert(changes), was)
				applies(t, after, back, before)
				if got := b.Model(); !reflect.DeepEqual(got.Endpoints, before.Endpoints) || !reflect.DeepEqual(got.Members, before.Members) || !reflect.DeepEqual(got, before) {
					t.Fatalf("step %d: back\ngot  %+v\nwant %+v", step, got, before)
				}
				applies(t, before, b.Update(changes, h.vifs), after)
			}
			if c := b.Update(nil, slices.Clone(h.vifs)); !c.Empty() {
				t.Fatalf("step %d: nothing changes %+v", step, c)
			}
			before = after
		}
		lazy.Update(merged, h.vifs)
		if got := lazy.Model(); !reflect.DeepEqual(got, before) || !slices.Equal(lazy.Problems(), b.Problems()) {
			t.Fatalf("by merged changes: %+v, want %+v", got, before)
		}
		var all []RevisionChange
		for _, name := range []string{"f", "g", "h"} {
			if v := h.files[name]; v != nil {
				all = append(all, RevisionChange{Name: name, Before: v})
			}
		}
		b.Update(all, nil)
		if !reflect.DeepEqual(b.x, newCatalog(opts)) {
			t.Fatalf("something stays: %+v", b.x)
		}
	})
}

// copies returns the changes with other versions of the same content in Before.
func copies(changes []RevisionChange) []RevisionChange {
	changes = slices.Clone(changes)
	for i := range changes {
		if v := changes[i].Before; v != nil {
			changes[i].Before = &Revision{Name: v.Name, Sum: v.Sum, Objects: Objects{
				Groups: slices.Clone(v.Objects.Groups), Subnets: slices.Clone(v.Objects.Subnets),
				VirtualMachines: slices.Clone(v.Objects.VirtualMachines),
			}}
		}
	}
	return changes
}

// applies checks that c turns before into after and says nothing else.
func applies(t *rapid.T, before *Model, c ModelChange, after *Model) {
	same := func(what string, got, want any) {
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s by changes: %+v, want %+v", what, got, want)
		}
	}
	same("endpoints", patch(t, before.Endpoints, c.Endpoints, func(e Endpoint) string { return fmt.Sprintf("%05d", e.OFPort) }), byKey(after.Endpoints, func(e Endpoint) string { return fmt.Sprintf("%05d", e.OFPort) }))
	same("groups", patch(t, before.Groups, c.Groups, func(g RuleGroup) string { return g.ID }), byKey(after.Groups, func(g RuleGroup) string { return g.ID }))
	member := func(m Member) string { return fmt.Sprintf("%s %x", m.VPC, m.Addr.As16()) }
	same("members", patch(t, before.Members, c.Members, member), byKey(after.Members, member))
	if c.Empty() != (reflect.DeepEqual(before.Endpoints, after.Endpoints) && reflect.DeepEqual(before.Groups, after.Groups) && reflect.DeepEqual(before.Members, after.Members)) {
		t.Fatalf("empty: %v", c.Empty())
	}
}

func byKey[T any](list []T, key func(T) string) map[string]T {
	out := make(map[string]T)
	for _, x := range list {
		out[key(x)] = x
	}
	return out
}

// patch applies changes to a list.
func patch[T any](t *rapid.T, list []T, changes []Change[T], key func(T) string) map[string]T {
	out := byKey(list, key)
	last := ""
	for _, c := range changes {
		some := c.After
		if some == nil {
			some = c.Before
		}
		k := key(*some)
		if k <= last {
			t.Fatalf("out of order: %v after %v", k, last)
		}
		last = k
		had, ok := out[k]
		switch {
		case ok != (c.Before != nil), ok && !reflect.DeepEqual(had, *c.Before):
			t.Fatalf("%v was not there before: %+v", c.Before, had)
		case c.Before != nil && c.After != nil && (key(*c.Before) != k || reflect.DeepEqual(*c.Before, *c.After)):
			t.Fatalf("no change: %+v", *c.Before)
		}
		if delete(out, k); c.After != nil {
			out[k] = *c.After
		}
	}
	return out
}

func TestVMSet(t *testing.T) {
	var s vmSet
	vms := make([]VirtualMachine, 3*fewVMs)
	for n := range vms {
		s.add(&vms[n])
		count := 0
		for vm := range s.all {
			if !s.has(vm) {
				t.Fatal("lost")
			}
			count++
		}
		if count != n+1 || n+1 < len(vms) && s.has(&vms[n+1]) {
			t.Fatalf("%d of %d", count, n+1)
		}
	}
	for n := range vms {
		if s.empty() {
			t.Fatal("empty")
		}
		s.remove(&vms[n])
	}
	for range s.all {
		t.Fatal("not empty")
	}
	if !s.empty() {
		t.Fatal("not empty")
	}
}
