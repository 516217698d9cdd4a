package flows_test

import (
	"reflect"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
)

// TestInfraPortEqual checks that Equal compares every field.
func TestInfraPortEqual(t *testing.T) {
	var zero flows.InfraPort
	if !zero.Equal(zero) {
		t.Error("a port differs from itself")
	}
	for i := range reflect.TypeFor[flows.InfraPort]().NumField() {
		var other flows.InfraPort
		field := reflect.ValueOf(&other).Elem().Field(i)
		switch field.Kind() {
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		default:
			field.SetUint(1)
		}
		if zero.Equal(other) {
			t.Errorf("InfraPort.Equal does not look at %s", reflect.TypeFor[flows.InfraPort]().Field(i).Name)
		}
	}
}

// TestKeyCompare checks that Compare is 0 for equal keys only.
func TestKeyCompare(t *testing.T) {
	keys := []flows.Key{{}, {Table: 1}, {Priority: 1}, {Match: flows.NewMatch(flows.InPort(1))}}
	if n := reflect.TypeFor[flows.Key]().NumField(); n != len(keys)-1 {
		t.Fatalf("Key has %d fields: give this test a key for each, and compare them in Key.Compare", n)
	}
	for i, a := range keys {
		for j, b := range keys {
			if (a.Compare(b) == 0) != (i == j) || a.Compare(b) != -b.Compare(a) {
				t.Errorf("%+v and %+v compare as %d and %d", a, b, a.Compare(b), b.Compare(a))
			}
		}
	}
}

// TestCauseStrings checks that every cause has a text of its own.
func TestCauseStrings(t *testing.T) {
	seen := map[string]bool{}
	for c := flows.CauseUnidentified; c <= flows.CauseIngress; c++ {
		if s := c.String(); seen[s] || len(s) < 15 {
			t.Errorf("cause %d is %q", uint32(c), s)
		} else {
			seen[s] = true
		}
	}
	for _, c := range []flows.Cause{0, flows.CauseIngress + 1} {
		if s := c.String(); len(s) > len("cause 00") {
			t.Errorf("cause %d is %q", uint32(c), s)
		}
	}
}
