package ovsdb

import (
	"fmt"
	"reflect"
	"testing"
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
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("k"), reflect.ValueOf("v"))
	case reflect.Struct:
		change(t, v.Field(0))
	default:
		t.Fatalf("no other value of kind %v", v.Kind())
	}
}

// manyRows are the rows of a bridge with n VM interfaces.
func manyRows(n int) *rows {
	r := newRows()
	br := bridgeRow{name: bridge}
	for i := range n {
		id, tag := fmt.Sprint(i), i%4096
		br.ports = append(br.ports, id)
		r.ports[id] = portRow{name: "tap" + id, interfaces: []string{id}, tag: &tag}
		r.interfaces[id] = interfaceRow{
			name: "tap" + id, ofport: i + 1,
			externalIDs: map[string]string{keyIfaceID: "vm" + id, keyAttachedMAC: "02:00:00:00:00:01"},
		}
	}
	r.bridges["br"] = br
	return r
}

func BenchmarkSnapshot5000(b *testing.B) {
	r := manyRows(5000)
	last := r.snapshot(bridge, nil, nil)
	for b.Loop() {
		if !r.snapshot(bridge, nil, nil).Equal(last) {
			b.Fatal("not equal")
		}
	}
}

// The datapath's row is found by the bridge's type; "" means "system".
func TestDatapath(t *testing.T) {
	r := manyRows(1)
	r.root["root"] = rootRow{version: "3.1.0", curCfg: 4, nextCfg: 5, datapaths: map[string]string{"system": "dp"}}
	r.datapaths["dp"] = datapathRow{version: "6.1", capabilities: map[string]string{"ct_zone": "true"}}
	snap := r.snapshot(bridge, nil, nil)
	if snap.Datapath.Version != "6.1" || snap.Datapath.Capabilities["ct_zone"] != "true" ||
		snap.OVSVersion != "3.1.0" || snap.CurCfg != 4 || snap.NextCfg != 5 {
		t.Errorf("%+v", snap)
	}
	br := r.bridges["br"]
	br.datapathType = "netdev"
	r.bridges["br"] = br
	if dp := r.snapshot(bridge, nil, nil).Datapath; dp.Version != "" || dp.Capabilities != nil {
		t.Errorf("of another type: %+v", dp)
	}
}
