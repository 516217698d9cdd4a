package compile_test

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
)

// TestContentKey checks that rules have the same content key exactly if they
// allow the same. A field that is added to a rule must be part of the key, or two
// rules that differ in it become one.
func TestContentKey(t *testing.T) {
	all := policy.PortRange{Last: 65535}
	members := policy.ResolvedRule{Group: "default/web", Name: "#0", Protocol: policy.TCP, Ports: all,
		Remote: policy.ResolvedRemote{Kind: policy.ResolvedMembers, Group: "default/app"}}
	prefixes := members
	prefixes.Remote = policy.ResolvedRemote{Kind: policy.ResolvedPrefixes, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	type change struct {
		of     policy.ResolvedRule
		change func(r *policy.ResolvedRule)
		same   bool // what the rule allows does not change
	}
	// Each field, by its path.
	changes := map[string]change{
		"Group":       {members, func(r *policy.ResolvedRule) { r.Group = "default/db" }, true},
		"Name":        {members, func(r *policy.ResolvedRule) { r.Name = "#1" }, true},
		"Direction":   {members, func(r *policy.ResolvedRule) { r.Direction = policy.Egress }, false},
		"Protocol":    {members, func(r *policy.ResolvedRule) { r.Protocol = policy.UDP }, false},
		"Ports.First": {members, func(r *policy.ResolvedRule) { r.Ports.First = 1 }, false},
		"Ports.Last":  {members, func(r *policy.ResolvedRule) { r.Ports.Last = 80 }, false},
		"Remote.Kind": {members, func(r *policy.ResolvedRule) { r.Remote.Kind = policy.ResolvedAnywhere }, false},
		"Remote.Prefixes": {prefixes, func(r *policy.ResolvedRule) {
			r.Remote.Prefixes = append(slices.Clone(r.Remote.Prefixes), netip.MustParsePrefix("fd00::/8"))
		}, false},
		"Remote.Group": {members, func(r *policy.ResolvedRule) { r.Remote.Group = "default/db" }, false},
	}
	fields := fieldsOf(reflect.TypeFor[policy.ResolvedRule](), "")
	if have := slices.Sorted(maps.Keys(changes)); !slices.Equal(have, fields) {
		t.Fatalf("a rule has the fields\n%q, this test changes\n%q:\nmake a new field part of contentKey (groups.go), unless it says nothing about "+
			"what the rule allows, have pipeline.Rule match it, and give this test a change of it", fields, have)
	}
	for name, ch := range changes {
		was, now := ch.of, ch.of
		ch.change(&now)
		if same := compile.ContentKey(was) == compile.ContentKey(now); same != ch.same {
			t.Errorf("with another %s the key stays the same: %v; %q and %q", name, same, compile.ContentKey(was), compile.ContentKey(now))
		}
	}
}

// TestClassKey checks that VM ports are in one class exactly if the same rules
// hold for them in the same VPC, whatever their other fields.
func TestClassKey(t *testing.T) {
	own := []string{"Addrs", "Known", "MAC", "OFPort", "Subnets", "Tag", "VIF", "VM.Name", "VM.Namespace"}
	shared := map[string]func(*policy.Endpoint){
		"VPC":    func(e *policy.Endpoint) { e.VPC = "default/v" },
		"Groups": func(e *policy.Endpoint) { e.Groups = []string{"default/web"} },
	}
	fields := fieldsOf(reflect.TypeFor[policy.Endpoint](), "")
	if have := slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(shared)), own...))); !slices.Equal(have, fields) {
		t.Fatalf("an endpoint has the fields\n%q, this test knows\n%q:\na new field that the flows of a class depend on must be part of classID (epochs.go)", fields, have)
	}
	for name, change := range shared {
		var e policy.Endpoint
		change(&e)
		if compile.SameClass(&e, &policy.Endpoint{}) {
			t.Errorf("ports with another %s are in the same class", name)
		}
	}
	if other := (&policy.Endpoint{VIF: "tap1", OFPort: 1, Tag: 1, MAC: policy.MAC{2}, Known: true}); !compile.SameClass(other, &policy.Endpoint{}) {
		t.Error("ports are in different classes without need")
	}
}

// fieldsOf lists the paths of the fields of a struct, sorted, with those of
// structs of package policy in it.
func fieldsOf(of reflect.Type, path string) (out []string) {
	for i := range of.NumField() {
		f := of.Field(i)
		if f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == of.PkgPath() {
			out = append(out, fieldsOf(f.Type, path+f.Name+".")...)
		} else {
			out = append(out, path+f.Name)
		}
	}
	slices.Sort(out)
	return out
}
