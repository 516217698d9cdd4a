package policy

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// VersionWriter writes versions in a short form, which a VersionReader of the
// same build reads back many times faster than Decode reads manifests. What
// many of them have in common is written once. The zero value is ready to use.
type VersionWriter struct {
	texts  map[string]uint64 // what was written, and as which
	groups map[string]uint64
	spots  map[string]uint64

	b    []byte
	file string // the name of the version's file
	key  []byte
}

// remember gives s the next number. Numbers start again when there are many, as
// in add.
func remember(m map[string]uint64, s string) map[string]uint64 {
	if m == nil || len(m) >= manyNames {
		m = make(map[string]uint64)
	}
	m[s] = uint64(len(m))
	return m
}

// Append appends v to b.
func (w *VersionWriter) Append(b []byte, v *Version) []byte {
	w.b, w.file = b, v.Name
	w.string(v.Name)
	w.b = append(w.b, v.Sum[:]...)
	o := &v.Objects
	w.count(len(o.Groups), o.Groups == nil)
	for i := range o.Groups {
		w.group(&o.Groups[i])
	}
	w.count(len(o.Subnets), o.Subnets == nil)
	for i := range o.Subnets {
		w.subnet(&o.Subnets[i])
	}
	w.count(len(o.VirtualMachines), o.VirtualMachines == nil)
	for i := range o.VirtualMachines {
		w.vm(&o.VirtualMachines[i])
	}
	b = w.b
	w.b, w.file = nil, ""
	return b
}

func (w *VersionWriter) group(g *Group) {
	w.object(g.Key)
	w.pos(g.Pos)
	w.count(len(g.Rules), g.Rules == nil)
	for i := range g.Rules {
		w.rule(&g.Rules[i])
	}
}

func (w *VersionWriter) rule(r *Rule) {
	w.text(r.Name)
	w.b = append(w.b, byte(r.Direction), byte(r.Protocol), byte(r.Remote.Kind))
	w.b = binary.BigEndian.AppendUint16(w.b, r.Ports.First)
	w.b = binary.BigEndian.AppendUint16(w.b, r.Ports.Last)
	w.prefix(r.Remote.Prefix)
	w.ref(r.Remote.Ref)
	w.pos(r.Pos)
	w.spot(r.refAt)
}

func (w *VersionWriter) subnet(s *Subnet) {
	w.object(s.Key)
	w.pos(s.Pos)
	w.ref(s.VPC)
	w.count(len(s.Prefixes), s.Prefixes == nil)
	for _, p := range s.Prefixes {
		w.prefix(p)
	}
}

func (w *VersionWriter) vm(vm *VirtualMachine) {
	w.object(vm.Key)
	w.pos(vm.Pos)
	w.string(vm.UID)
	w.count(len(vm.Interfaces), vm.Interfaces == nil)
	for i := range vm.Interfaces {
		w.nic(&vm.Interfaces[i], vm.Key.Name)
	}
	w.memberships(vm.Groups)
	w.places(vm.groupsAt)
}

func (w *VersionWriter) nic(n *Interface, vm string) {
	if n.ID == vm {
		w.uint(0)
	} else {
		w.uint(1)
		w.string(n.ID)
	}
	w.b = append(w.b, n.MAC[:]...)
	w.ref(n.Subnet)
	w.spot(n.at)
	w.spot(n.subnetAt)
	w.count(len(n.Addrs), n.Addrs == nil)
	for _, a := range n.Addrs {
		w.addr(a)
	}
}

// memberships writes a list that other VMs have as well: 0 for none, 1 and the
// list if it is new.
func (w *VersionWriter) memberships(groups []Key) {
	if groups == nil {
		w.uint(0)
		return
	}
	w.key = w.key[:0]
	for _, k := range groups {
		w.key = appendString(appendString(w.key, k.Namespace), k.Name)
	}
	if n, ok := w.groups[string(w.key)]; ok {
		w.uint(n + 2)
		return
	}
	w.groups = remember(w.groups, string(w.key))
	w.uint(1)
	w.count(len(groups), false)
	for _, k := range groups {
		w.ref(k)
	}
}

// places is the same for where they are named.
func (w *VersionWriter) places(at *[]spot) {
	if at == nil {
		w.uint(0)
		return
	}
	b := w.b
	w.b = w.key[:0]
	w.count(len(*at), *at == nil)
	for _, s := range *at {
		w.spot(s)
	}
	w.b, w.key = b, w.b
	if n, ok := w.spots[string(w.key)]; ok {
		w.uint(n + 2)
		return
	}
	w.spots = remember(w.spots, string(w.key))
	w.uint(1)
	w.b = append(w.b, w.key...)
}

func (w *VersionWriter) uint(n uint64) { w.b = binary.AppendUvarint(w.b, n) }

// count tells no list from an empty one.
func (w *VersionWriter) count(n int, none bool) {
	if none {
		w.uint(0)
	} else {
		w.uint(uint64(n) + 1)
	}
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (w *VersionWriter) string(s string) { w.b = appendString(w.b, s) }

// text writes a string that others have as well.
func (w *VersionWriter) text(s string) {
	if n, ok := w.texts[s]; ok {
		w.uint(n + 1)
		return
	}
	w.texts = remember(w.texts, s)
	w.uint(0)
	w.string(s)
}

func (w *VersionWriter) ref(k Key) {
	w.text(k.Namespace)
	w.text(k.Name)
}

// object writes the key of what is defined. Most often the file is called like
// it.
func (w *VersionWriter) object(k Key) {
	w.text(k.Namespace)
	if strings.HasPrefix(w.file, k.Name) {
		w.uint(uint64(len(k.Name)) + 1)
		return
	}
	w.uint(0)
	w.string(k.Name)
}

func (w *VersionWriter) spot(s spot) {
	w.uint(uint64(uint32(s.line)))
	w.uint(uint64(uint32(s.column)))
}

func (w *VersionWriter) pos(p Position) {
	if p.File == w.file {
		w.uint(0)
	} else {
		w.uint(1)
		w.text(p.File)
	}
	w.spot(spot{p.Line, p.Column})
}

func (w *VersionWriter) addr(a netip.Addr) {
	n := a.BitLen()/8 + len(a.Zone())
	w.uint(uint64(n))
	w.b, _ = a.AppendBinary(w.b) // never fails
}

func (w *VersionWriter) prefix(p netip.Prefix) {
	w.addr(p.Addr())
	w.b = append(w.b, byte(p.Bits()+1))
}
