package policy

import (
	"net/netip"
	"reflect"
	"testing"
)

// TestEqual changes every field of each type with a hand-written Equal, one at a
// time. A change of a field that Equal forgets would never reach the switch.
func TestEqual(t *testing.T) {
	notices(t, (*Endpoint).Equal)
	notices(t, (*RuleGroup).Equal)
	notices(t, func(a, b *ResolvedRule) bool { return a.Equal(*b) })
	notices(t, func(a, b *ResolvedRemote) bool { return a.Equal(*b) })
	notices(t, (*Member).Equal)
}

// notices checks that equal returns false for every single difference of two
// values.
func notices[T any](t *testing.T, equal func(a, b *T) bool) {
	t.Helper()
	var a, b T
	fill(t, reflect.ValueOf(&a).Elem())
	fill(t, reflect.ValueOf(&b).Elem())
	if !equal(&a, &b) {
		t.Fatalf("%T is not equal to itself", a)
	}
	vary(t, reflect.ValueOf(&b).Elem(), reflect.TypeFor[T]().Name(), func(path string) {
		if equal(&a, &b) || equal(&b, &a) {
			t.Errorf("%s is not compared", path)
		}
	})
	if !equal(&a, &b) {
		t.Fatal("the test is wrong")
	}
}

var (
	twoAddrs    = [2]reflect.Value{reflect.ValueOf(netip.MustParseAddr("10.0.0.1")), reflect.ValueOf(netip.MustParseAddr("10.0.0.2"))}
	twoPrefixes = [2]reflect.Value{reflect.ValueOf(netip.MustParsePrefix("10.0.0.0/8")), reflect.ValueOf(netip.MustParsePrefix("10.0.0.0/9"))}
)

// fill sets every field to a value; a slice gets one element.
func fill(t *testing.T, v reflect.Value) {
	switch v.Type() {
	case twoAddrs[0].Type():
		v.Set(twoAddrs[0])
		return
	case twoPrefixes[0].Type():
		v.Set(twoPrefixes[0])
		return
	}
	if v.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	} else if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	}
}

// vary gives each part of v another value, calls try and puts the part back.
func vary(t *testing.T, v reflect.Value, path string, try func(path string)) {
	was := reflect.New(v.Type()).Elem()
	was.Set(v)
	with := func(path string, other reflect.Value) {
		v.Set(other)
		try(path)
		v.Set(was)
	}
	switch v.Type() {
	case twoAddrs[0].Type():
		with(path, twoAddrs[1])
		return
	case twoPrefixes[0].Type():
		with(path, twoPrefixes[1])
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			vary(t, v.Field(i), path+"."+v.Type().Field(i).Name, try)
		}
	case reflect.Slice:
		with("length of "+path, reflect.Zero(v.Type()))
		vary(t, v.Index(0), path+"[0]", try)
	case reflect.Array:
		for i := range v.Len() {
			vary(t, v.Index(i), path+"[]", try)
		}
	case reflect.String:
		with(path, reflect.ValueOf("other").Convert(v.Type()))
	case reflect.Bool:
		with(path, reflect.ValueOf(!v.Bool()))
	case reflect.Uint8, reflect.Uint16:
		with(path, reflect.ValueOf(v.Uint()+1).Convert(v.Type()))
	default:
		t.Fatalf("%s: the test does not know how to change a %s", path, v.Type())
	}
}
