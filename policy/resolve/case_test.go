package resolve

import (
	"reflect"
	"testing"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/policytest"
)

// TestUpdateStep has short cases that random histories seldom reach.
func TestUpdateStep(t *testing.T) {
	r := New(policy.Options{})
	vifs := []policy.VIF{{Name: "tap", OFPort: 1, IfaceID: "local"}}
	inForce := map[string]*policy.Revision{}
	step := func(name, src string) policy.ModelChange {
		t.Helper()
		before := r.Model()
		kept := append([]policy.RuleGroup(nil), before.Groups...)
		after := &policy.Revision{Name: name, Objects: policytest.Load(t, policy.Options{}, src).Objects()}
		c := r.Update([]policy.RevisionChange{{Name: name, Before: inForce[name], After: after}}, vifs)
		inForce[name] = after
		var all []policy.Objects
		for _, v := range inForce {
			all = append(all, v.Objects)
		}
		p, _ := policy.New(all, policy.Options{})
		if got, want := r.Model(), once(p, vifs); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", linesOf(got), linesOf(want))
		}
		if !reflect.DeepEqual(kept, append([]policy.RuleGroup(nil), before.Groups...)) {
			t.Fatal("an earlier model has changed")
		}
		return c
	}
	step("g", policytest.Group("default", "g", "direction: Egress"))
	step("local", policytest.VM("default", "local", "10.0.0.1", "", "g"))

	// A remote VM takes the address of a local VM.
	if c := step("a", policytest.VM("default", "a", "10.0.0.1", "", "g")); len(c.Endpoints) != 1 || len(c.Endpoints[0].After.Addrs) != 0 {
		t.Errorf("got %+v", c)
	}
	if c := step("a", policytest.VM("default", "a", "10.0.0.2", "", "g")); len(c.Endpoints) != 1 || len(c.Members) != 2 {
		t.Errorf("got %+v", c)
	}
	// A change of rules changes no endpoint; a change of a VM changes no rules.
	if c := step("g", policytest.Group("default", "g", "direction: Ingress")); len(c.Groups) != 1 || len(c.Endpoints)+len(c.Members) > 0 {
		t.Errorf("got %+v", c)
	}
	if c := step("local", policytest.VM("default", "local", "10.0.0.3", "", "g")); len(c.Endpoints) != 1 || len(c.Groups) > 0 {
		t.Errorf("got %+v", c)
	}
}
