package policy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// fill gives v and all in it, exported or not, what choose says: a number below
// its argument.
func fill(t interface{ Fatalf(string, ...any) }, v reflect.Value, choose func(int) int) {
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	addrs := []netip.Addr{
		{}, netip.MustParseAddr("::ffff:1.2.3.4"), netip.MustParseAddr("fe80::1%eth0"),
		netip.MustParseAddr("fd00::1"), netip.MustParseAddr("10.0.0.1"),
	}
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(addrs[choose(len(addrs))]))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.PrefixFrom(addrs[choose(len(addrs))], choose(33))))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), choose)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), choose)
		}
	case reflect.Slice:
		if n := choose(4); n > 0 { // or nil
			v.Set(reflect.MakeSlice(v.Type(), n-1, n-1))
		}
		for i := range v.Len() {
			fill(t, v.Index(i), choose)
		}
	case reflect.Pointer:
		if choose(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), choose)
		}
	case reflect.String:
		words := []string{"", "/", "\x00", "a", "a.yaml", "\xff", "long enough not to be a byte or two", "b"}
		v.SetString(words[choose(len(words))])
	case reflect.Int32:
		v.SetInt([]int64{0, 1, -1, 1 << 20, 1<<31 - 1, 130}[choose(6)])
	case reflect.Uint8:
		v.SetUint([]uint64{0, 1, 255}[choose(3)])
	case reflect.Uint16:
		v.SetUint([]uint64{0, 1, 0xffff, 443}[choose(4)])
	default:
		t.Fatalf("the parsed form does not know %s: teach it, and fill", v.Type())
	}
}

// parsed writes and reads versions.
func parsed(t interface{ Fatalf(string, ...any) }, versions []*Version) (read []*Version, size int) {
	var w VersionWriter
	var r VersionReader
	var b []byte
	for _, v := range versions {
		b = w.Append(b, v)
	}
	size = len(b)
	for range versions {
		v, rest, err := r.Read(b)
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		read, b = append(read, v), rest
	}
	if len(b) > 0 {
		t.Fatalf("%d bytes are left", len(b))
	}
	return read, size
}

// TestParsedForm: what is read back is what was written.
func TestParsedForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Drawing each number by rapid is slow for so many.
		seed := rapid.Uint64().Draw(t, "seed")
		choose := func(n int) int {
			seed = seed*6364136223846793005 + 1442695040888963407
			return int((seed >> 33) % uint64(n))
		}
		var versions []*Version
		for range rapid.IntRange(0, 6).Draw(t, "versions") {
			v := new(Version)
			fill(t, reflect.ValueOf(v).Elem(), choose)
			versions = append(versions, v)
		}
		w := world{t}
		versions = append(versions, &Version{Name: "a", Objects: w.objects()}, &Version{Name: "b", Objects: w.objects()})
		if got, _ := parsed(t, versions); !reflect.DeepEqual(got, versions) {
			t.Fatalf("got  %+v\nwant %+v", got, versions)
		}
	})
}

// TestParsedFormIsComplete fails for a field that was added and forgotten: all
// are filled with something that is not their zero.
func TestParsedFormIsComplete(t *testing.T) {
	for k := 1; k <= 2; k++ { // another one each time, as far as there are two
		v := new(Version)
		fill(t, reflect.ValueOf(v).Elem(), func(n int) int { return max(1, n-k) })
		if got, _ := parsed(t, []*Version{v, v}); !reflect.DeepEqual(got, []*Version{v, v}) {
			t.Errorf("got  %+v\nwant %+v", got, v)
		}
	}
}

func TestParsedFormOfManifests(t *testing.T) {
	files, err := filepath.Glob("../docs/example/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	list := []File{{Name: "worked.yaml", Data: []byte(worked)}, vmFile(1, 0), vmFile(2, 0), vmFile(202, 0)}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, File{Name: filepath.Base(name), Data: data})
	}
	var versions []*Version
	for _, f := range list {
		v, errs := readingOf(f).decode(f)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		versions = append(versions, v)
	}
	if got, _ := parsed(t, versions); !reflect.DeepEqual(got, versions) {
		t.Errorf("got  %+v\nwant %+v", got, versions)
	}
}

// TestParsedFormShares: versions share what they have in common, as in a
// Ledger.
func TestParsedFormShares(t *testing.T) {
	var l Ledger
	l.Update([]FileChange{{File: vmFile(1, 0)}, {File: vmFile(201, 0)}})
	read, _ := parsed(t, l.Versions())
	a, b := &read[0].Objects.VirtualMachines[0], &read[1].Objects.VirtualMachines[0]
	if &a.Groups[0] != &b.Groups[0] || a.groupsAt != b.groupsAt || unsafe.StringData(a.Key.Namespace) != unsafe.StringData(b.Key.Namespace) {
		t.Error("two VMs have copies of their own")
	}
	name := unsafe.StringData(read[0].Name)
	if unsafe.StringData(a.Key.Name) != name || unsafe.StringData(a.Interfaces[0].ID) != name || unsafe.StringData(a.Pos.File) != name {
		t.Error("the name is there several times")
	}
}

// TestParsedFormOfMany: more of a kind than are kept.
func TestParsedFormOfMany(t *testing.T) {
	var versions []*Version
	for i := range manyNames + 10 {
		o := Objects{VirtualMachines: []VirtualMachine{{Groups: []Key{{"n", fmt.Sprint(i)}}, groupsAt: &[]spot{{int32(i), 1}}}}}
		versions = append(versions, &Version{Name: "v", Objects: o})
	}
	versions = append(versions, versions...)
	if got, _ := parsed(t, versions); !reflect.DeepEqual(got, versions) {
		t.Error("not what was written")
	}
}

// FuzzReadVersion: what is no version is an error, and what is one stays it.
func FuzzReadVersion(f *testing.F) {
	var w VersionWriter
	var all []byte
	for _, file := range []File{{Name: "worked.yaml", Data: []byte(worked)}, vmFile(1, 0), vmFile(201, 0)} {
		o, errs := Decode(file)
		if len(errs) > 0 {
			f.Fatal(errs)
		}
		all = w.Append(all, &Version{Name: file.Name, Objects: o})
	}
	f.Add(all)
	f.Add([]byte{1, 'a'})
	f.Fuzz(func(t *testing.T, data []byte) {
		var r VersionReader
		var versions []*Version
		for len(data) > 0 {
			v, rest, err := r.Read(data)
			if err != nil {
				if v != nil || rest != nil {
					t.Error("a version in spite of the error")
				}
				break
			}
			if len(rest) >= len(data) {
				t.Fatal("nothing was read")
			}
			versions, data = append(versions, v), rest
		}
		if got, _ := parsed(t, versions); !reflect.DeepEqual(got, versions) {
			t.Errorf("got  %+v\nwant %+v", got, versions)
		}
	})
}

// TestReadVersionAllocatesLittle: a length that cannot be is not believed.
func TestReadVersionAllocatesLittle(t *testing.T) {
	data := make([]byte, 1<<20)
	for _, at := range []int{0, 33, 34, 35} { // the name and the three lists
		clear(data)
		binary.PutUvarint(data[at:], 1<<22)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := new(VersionReader).Read(data)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; err == nil || grown > 1<<20 {
			t.Errorf("at %d: %d bytes allocated: %v", at, grown, err)
		}
	}
}
