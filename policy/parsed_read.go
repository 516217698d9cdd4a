package policy

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
)

// VersionReader reads what a VersionWriter has written, all versions in the
// order they were written. They share what they have in common, as those of a
// Ledger do. After an error it is of no use any more. The zero value is ready.
type VersionReader struct {
	texts  []string
	groups [][]Key
	spots  []*[]spot

	b    []byte
	bad  bool
	file string // the name of the version's file
	vm   string // the name of the VM that is read
}

var errVersion = errors.New("not a version in parsed form")

// add gives x the next number. Numbers start again when there are many, as in
// remember.
func add[T any](list []T, x T) []T {
	if len(list) >= manyNames {
		clear(list)
		list = list[:0]
	}
	return append(list, x)
}

// Read reads the version at the beginning of b and returns what follows it. No
// input makes it panic, or allocate more than a small multiple of its length.
// The version keeps no part of b.
func (r *VersionReader) Read(b []byte) (v *Version, rest []byte, err error) {
	r.b = b
	v = &Version{Name: r.string()}
	r.file = v.Name
	copy(v.Sum[:], r.bytes(uint64(len(v.Sum))))
	v.Objects.Groups = many(r, 6, (*VersionReader).group)
	v.Objects.Subnets = many(r, 8, (*VersionReader).subnet)
	v.Objects.VirtualMachines = many(r, 9, (*VersionReader).virtualMachine)
	rest, r.b = r.b, nil
	if r.bad {
		return nil, nil, errVersion
	}
	return v, rest, nil
}

// many reads a list of things that take at least so many bytes each.
func many[T any](r *VersionReader, least uint64, read func(*VersionReader, *T)) []T {
	n := r.uint()
	if n == 0 {
		return nil
	}
	if n--; n > uint64(len(r.b))/least {
		r.fail()
		return nil
	}
	list := make([]T, n)
	for i := range list {
		if r.bad {
			return nil
		}
		read(r, &list[i])
	}
	return list
}

func (r *VersionReader) group(g *Group) {
	g.Key = r.object()
	g.Pos = r.pos()
	g.Rules = many(r, 17, (*VersionReader).rule)
}

func (r *VersionReader) rule(rule *Rule) {
	rule.Name = r.text()
	if b := r.bytes(7); b != nil {
		rule.Direction, rule.Protocol, rule.Remote.Kind = Direction(b[0]), Protocol(b[1]), RemoteKind(b[2])
		rule.Ports = PortRange{binary.BigEndian.Uint16(b[3:]), binary.BigEndian.Uint16(b[5:])}
	}
	r.prefix(&rule.Remote.Prefix)
	r.ref(&rule.Remote.Ref)
	rule.Pos = r.pos()
	r.spot(&rule.refAt)
}

func (r *VersionReader) subnet(s *Subnet) {
	s.Key = r.object()
	s.Pos = r.pos()
	r.ref(&s.VPC)
	s.Prefixes = many(r, 2, (*VersionReader).prefix)
}

func (r *VersionReader) virtualMachine(vm *VirtualMachine) {
	vm.Key = r.object()
	r.vm = vm.Key.Name
	vm.Pos = r.pos()
	vm.UID = r.string()
	vm.Interfaces = many(r, 14, (*VersionReader).nic)
	vm.Groups = r.memberships()
	vm.groupsAt = r.places()
}

func (r *VersionReader) nic(n *Interface) {
	if r.flag() {
		n.ID = r.string()
	} else {
		n.ID = r.vm
	}
	copy(n.MAC[:], r.bytes(uint64(len(n.MAC))))
	r.ref(&n.Subnet)
	r.spot(&n.at)
	r.spot(&n.subnetAt)
	n.Addrs = many(r, 1, (*VersionReader).addr)
}

func (r *VersionReader) memberships() []Key {
	switch n := r.uint(); {
	case n == 0:
		return nil
	case n == 1:
		groups := many(r, 2, (*VersionReader).ref)
		r.groups = add(r.groups, groups)
		return groups
	case n-2 < uint64(len(r.groups)):
		return r.groups[n-2]
	}
	r.fail()
	return nil
}

func (r *VersionReader) places() *[]spot {
	switch n := r.uint(); {
	case n == 0:
		return nil
	case n == 1:
		at := many(r, 2, (*VersionReader).spot)
		r.spots = add(r.spots, &at)
		return &at
	case n-2 < uint64(len(r.spots)):
		return r.spots[n-2]
	}
	r.fail()
	return nil
}

func (r *VersionReader) fail() { r.b, r.bad = nil, true }

func (r *VersionReader) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		n := r.b[0]
		r.b = r.b[1:]
		return uint64(n)
	}
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *VersionReader) flag() bool {
	n := r.uint()
	if n > 1 {
		r.fail()
	}
	return n == 1
}

// bytes returns n bytes, or nil if there are not so many.
func (r *VersionReader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *VersionReader) string() string { return string(r.bytes(r.uint())) }

func (r *VersionReader) text() string {
	n := r.uint()
	switch {
	case n == 0:
		s := r.string()
		r.texts = add(r.texts, s)
		return s
	case n-1 < uint64(len(r.texts)):
		return r.texts[n-1]
	}
	r.fail()
	return ""
}

func (r *VersionReader) ref(k *Key) {
	k.Namespace = r.text()
	k.Name = r.text()
}

func (r *VersionReader) object() Key {
	k := Key{Namespace: r.text()}
	switch n := r.uint(); {
	case n == 0:
		k.Name = r.string()
	case n-1 <= uint64(len(r.file)):
		k.Name = r.file[:n-1]
	default:
		r.fail()
	}
	return k
}

func (r *VersionReader) int32() int32 {
	n := r.uint()
	if n > math.MaxUint32 {
		r.fail()
	}
	return int32(uint32(n))
}

func (r *VersionReader) spot(s *spot) {
	s.line = r.int32()
	s.column = r.int32()
}

func (r *VersionReader) pos() Position {
	file := r.file
	if r.flag() {
		file = r.text()
	}
	var s spot
	r.spot(&s)
	return s.in(file)
}

func (r *VersionReader) addr(a *netip.Addr) {
	b := r.bytes(r.uint())
	switch len(b) {
	case 4:
		*a = netip.AddrFrom4([4]byte(b))
	case 16:
		*a = netip.AddrFrom16([16]byte(b))
	default:
		if a.UnmarshalBinary(b) != nil {
			r.fail()
		}
	}
}

func (r *VersionReader) prefix(p *netip.Prefix) {
	var a netip.Addr
	r.addr(&a)
	if b := r.bytes(1); b != nil {
		*p = netip.PrefixFrom(a, int(b[0])-1)
	}
}
