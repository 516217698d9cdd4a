package vswitch

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/ovs-sg/ovs-sg/ovsdb"
)

// Equal looks at every field, also at those that come later.
func TestEqualLooksAtEveryField(t *testing.T) {
	checkFields(t, func(p, q Port) bool { return p.Equal(q) })
	checkFields(t, func(s, u Snapshot) bool { return s.Equal(u) }, "Seq")
	a, b := Snapshot{Seq: 1}, Snapshot{Seq: 2}
	if !a.Equal(b) {
		t.Error("Seq counts")
	}
}

// checkFields changes one field after the other and demands to be told.
func checkFields[T any](t *testing.T, equal func(T, T) bool, ignored ...string) {
	t.Helper()
	typ := reflect.TypeFor[T]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		if len(ignored) > 0 && ignored[0] == name {
			continue
		}
		var zero, other T
		change(t, reflect.ValueOf(&other).Elem().Field(i))
		if equal(zero, other) || equal(other, zero) || !equal(other, other) {
			t.Errorf("%v.%s does not count", typ, name)
		}
	}
}

func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		change(t, v.Elem())
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		if k := v.Type().Elem().Kind(); k != reflect.Struct {
			change(t, v.Index(0))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		change(t, key)
		change(t, value)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		change(t, v.Field(0))
	default:
		t.Fatalf("no other value of kind %v", v.Kind())
	}
}

// manyRows are the rows of a bridge with n VM interfaces.
func manyRows(n int) ovsdb.Picture {
	version := "3.1.0"
	br := &bridgeRow{Name: bridge}
	ports, interfaces := map[string]ovsdb.Model{}, map[string]ovsdb.Model{}
	for i := range n {
		id, tag, ofport := fmt.Sprint(i), i%4096, i+1
		br.Ports = append(br.Ports, id)
		ports[id] = &portRow{Name: "tap" + id, Interfaces: []string{id}, Tag: &tag}
		interfaces[id] = &interfaceRow{
			Name: "tap" + id, OFPort: &ofport,
			ExternalIDs: map[string]string{keyIfaceID: "vm" + id, keyAttachedMAC: "02:00:00:00:00:01"},
		}
	}
	return ovsdb.Picture{
		rootTable:   {"root": &rootRow{OVSVersion: &version}},
		bridgeTable: {"br": br}, portTable: ports, interfaceTable: interfaces,
	}
}

func BenchmarkSnapshot5000(b *testing.B) {
	p := manyRows(5000)
	last := newSnapshot(p, Config{Bridge: bridge})
	for b.Loop() {
		if !newSnapshot(p, Config{Bridge: bridge}).Equal(last) {
			b.Fatal("not equal")
		}
	}
}

// A row is copied with all its columns, and the copy shares nothing with it.
func TestClone(t *testing.T) {
	for table, m := range tables() {
		row := reflect.ValueOf(m).Elem()
		for i := range row.NumField() {
			change(t, row.Field(i))
		}
		was := fmt.Sprintf("%#v", deref(row))
		twin := m.(interface{ CloneModel() ovsdb.Model }).CloneModel()
		if got := fmt.Sprintf("%#v", deref(reflect.ValueOf(twin).Elem())); got != was {
			t.Errorf("%s: %s is copied as %s", table, was, got)
		}
		for i := range row.NumField() {
			switch f := row.Field(i); f.Kind() {
			case reflect.Pointer:
				f.Elem().SetZero()
			case reflect.Slice:
				f.Index(0).SetZero()
			case reflect.Map:
				f.Clear()
			}
		}
		if got := fmt.Sprintf("%#v", deref(reflect.ValueOf(twin).Elem())); got != was {
			t.Errorf("%s: the copy %s becomes %s", table, was, got)
		}
	}
}

// deref lists the fields of a row with what pointers point at.
func deref(row reflect.Value) (out []any) {
	for i := range row.NumField() {
		out = append(out, reflect.Indirect(row.Field(i)).Interface())
	}
	return out
}
