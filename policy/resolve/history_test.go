package resolve

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovs-sg/ovs-sg/policy"
)

// history draws changes of files and ports. No two files define the same object.
type history struct {
	world
	files map[string]*policy.Revision
	vifs  []policy.VIF
	count byte
}

// step changes some files or the ports or both, at times one object only.
func (h *history) step() []policy.RevisionChange {
	single := len(h.files) > 0 && !h.odds("several", 3)
	if !single && h.odds("ports", 2) {
		h.vifs = h.world.vifs()
		h.vifs = h.vifs[:1+h.pick("fewer", len(h.vifs))]
	}
	next := make(map[string]policy.Objects)
	for name, v := range h.files {
		next[name] = policy.Objects{
			Groups: slices.Clone(v.Objects.Groups), Subnets: slices.Clone(v.Objects.Subnets),
			VirtualMachines: slices.Clone(v.Objects.VirtualMachines),
		}
	}
	changed := make(map[string]bool)
	drop := func(is func(kind string, k policy.Key) bool) {
		for name, o := range next {
			before := len(o.Groups) + len(o.Subnets) + len(o.VirtualMachines)
			o.Groups = slices.DeleteFunc(o.Groups, func(g policy.Group) bool { return is(policy.KindGroup, g.Key) })
			o.Subnets = slices.DeleteFunc(o.Subnets, func(s policy.Subnet) bool { return is(policy.KindSubnet, s.Key) })
			o.VirtualMachines = slices.DeleteFunc(o.VirtualMachines, func(vm policy.VirtualMachine) bool { return is(policy.KindVirtualMachine, vm.Key) })
			if len(o.Groups)+len(o.Subnets)+len(o.VirtualMachines) < before {
				next[name], changed[name] = o, true
			}
		}
	}
	kinds := []string{policy.KindGroup, policy.KindSubnet, policy.KindVirtualMachine, policy.KindVirtualMachine}
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
		drop(func(k string, o policy.Key) bool { return k == kind && o == key })
	}
	add := func(kind string, key policy.Key, into func(*policy.Objects, policy.Position)) {
		if left == 0 || !h.odds("take", few) {
			return
		}
		left--
		drop(func(k string, o policy.Key) bool { return k == kind && o == key })
		name := []string{"f", "g", "h"}[h.pick("file", 3)]
		o := next[name]
		into(&o, policy.Position{File: name, Line: int32(h.pick("line", 3))})
		next[name], changed[name] = o, true
	}
	drawn := h.world.objects()
	if single {
		switch h.pick("kind of one", 4) { // changes no other kinds
		case 0:
			drawn.Subnets, drawn.VirtualMachines = nil, nil
		case 1:
			drawn.Groups, drawn.VirtualMachines = nil, nil
		default:
			drawn.Groups, drawn.Subnets = nil, nil
		}
	}
	for _, g := range drawn.Groups {
		add(policy.KindGroup, g.Key, func(o *policy.Objects, pos policy.Position) { g.Pos = pos; o.Groups = append(o.Groups, g) })
	}
	for _, s := range drawn.Subnets {
		add(policy.KindSubnet, s.Key, func(o *policy.Objects, pos policy.Position) { s.Pos = pos; o.Subnets = append(o.Subnets, s) })
	}
	for _, vm := range drawn.VirtualMachines {
		add(policy.KindVirtualMachine, vm.Key, func(o *policy.Objects, pos policy.Position) {
			vm.Pos = pos
			o.VirtualMachines = append(o.VirtualMachines, vm)
		})
	}
	var changes []policy.RevisionChange
	for _, name := range []string{"f", "g", "h"} {
		if !changed[name] {
			continue
		}
		h.count++
		c := policy.RevisionChange{Name: name, Before: h.files[name], After: &policy.Revision{Name: name, Sum: [32]byte{h.count}, Objects: next[name]}}
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

// policy returns the policy of all files in force.
func (h *history) policy(t *rapid.T, opts policy.Options) *policy.Policy {
	var all []policy.Objects
	for _, name := range []string{"f", "g", "h"} {
		if v := h.files[name]; v != nil {
			all = append(all, v.Objects)
		}
	}
	p, errs := policy.New(all, opts)
	if len(errs) > 0 {
		t.Fatalf("the test is wrong: %v", errs)
	}
	return p
}

// TestHistory checks that a Resolver, after any history, has the model of a new
// Resolver, agrees with Evaluate, returns the right changes, and can go back.
func TestHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{world: world{t}, files: make(map[string]*policy.Revision)}
		opts := policy.Options{DefaultContent: policy.DefaultContent(h.pick("content", 4))}
		r, lazy := New(opts), New(opts) // lazy gets several steps at once
		var merged []policy.RevisionChange
		before := r.Model()
		for step := range 8 {
			was := h.vifs
			changes := h.step()
			if left := policy.Merge(changes, policy.Invert(changes)); len(left) > 0 {
				t.Fatalf("there and back is %v", left)
			}
			if merged = policy.Merge(merged, changes); h.odds("lazy", 2) {
				lazy.Update(merged, h.vifs)
				merged = nil
			}
			given := changes
			if h.odds("copies", 4) {
				given = copies(changes)
			}
			change := r.Update(given, h.vifs)
			after := r.Model()
			p := h.policy(t, opts)
			want, problems := Once(p, h.vifs)
			if !reflect.DeepEqual(after, want) {
				t.Fatalf("step %d:\ngot  %+v\nwant %+v", step, after, want)
			}
			if got := r.Problems(); !slices.Equal(got, problems) {
				t.Fatalf("step %d: problems\ngot  %v\nwant %v", step, got, problems)
			}
			if local := r.Local(); !reflect.DeepEqual(local, &policy.Model{Endpoints: want.Endpoints, Groups: want.Groups, Problems: want.Problems}) {
				t.Fatalf("step %d: local %+v", step, local)
			}
			applies(t, before, change, after)
			for range min(5, 5*len(after.Endpoints)) {
				agree(t, p, h.vifs, after, h.connection(after))
			}
			if h.odds("back", 3) {
				back := r.Update(policy.Invert(changes), was)
				applies(t, after, back, before)
				if got := r.Model(); !reflect.DeepEqual(got.Endpoints, before.Endpoints) || !reflect.DeepEqual(got.Members, before.Members) || !reflect.DeepEqual(got, before) {
					t.Fatalf("step %d: back\ngot  %+v\nwant %+v", step, got, before)
				}
				applies(t, before, r.Update(changes, h.vifs), after)
			}
			if c := r.Update(nil, slices.Clone(h.vifs)); !c.Empty() {
				t.Fatalf("step %d: nothing changes %+v", step, c)
			}
			before = after
		}
		lazy.Update(merged, h.vifs)
		if got := lazy.Model(); !reflect.DeepEqual(got, before) || !slices.Equal(lazy.Problems(), r.Problems()) {
			t.Fatalf("by merged changes: %+v, want %+v", got, before)
		}
		var all []policy.RevisionChange
		for _, name := range []string{"f", "g", "h"} {
			if v := h.files[name]; v != nil {
				all = append(all, policy.RevisionChange{Name: name, Before: v})
			}
		}
		r.Update(all, nil)
		if left := leftOver(r.index); len(left) > 0 {
			t.Fatalf("%v of %+v stay", left, r.index)
		}
	})
}

// leftOver returns the maps of an index that are not empty.
func leftOver(x *index) (names []string) {
	v := reflect.ValueOf(x).Elem()
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		switch f.Kind() {
		case reflect.Map:
			if f.Len() > 0 {
				names = append(names, name)
			}
		case reflect.Struct:
			for j := range f.NumField() {
				if m := f.Field(j); m.Kind() == reflect.Map && m.Len() > 0 {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// copies returns the changes with copies of the same content in Before.
func copies(changes []policy.RevisionChange) []policy.RevisionChange {
	changes = slices.Clone(changes)
	for i := range changes {
		if v := changes[i].Before; v != nil {
			changes[i].Before = &policy.Revision{Name: v.Name, Sum: v.Sum, Objects: policy.Objects{
				Groups: slices.Clone(v.Objects.Groups), Subnets: slices.Clone(v.Objects.Subnets),
				VirtualMachines: slices.Clone(v.Objects.VirtualMachines),
			}}
		}
	}
	return changes
}

// applies checks that c turns before into after and has nothing else.
func applies(t *rapid.T, before *policy.Model, c policy.ModelChange, after *policy.Model) {
	same := func(what string, got, want any) {
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s by changes: %+v, want %+v", what, got, want)
		}
	}
	same("endpoints", patch(t, before.Endpoints, c.Endpoints, func(e policy.Endpoint) string { return fmt.Sprintf("%05d", e.OFPort) }), byKey(after.Endpoints, func(e policy.Endpoint) string { return fmt.Sprintf("%05d", e.OFPort) }))
	same("groups", patch(t, before.Groups, c.Groups, func(g policy.RuleGroup) string { return g.ID }), byKey(after.Groups, func(g policy.RuleGroup) string { return g.ID }))
	member := func(m policy.Member) string { return fmt.Sprintf("%s %x", m.VPC, m.Addr.As16()) }
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
func patch[T any](t *rapid.T, list []T, changes []policy.Change[T], key func(T) string) map[string]T {
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
