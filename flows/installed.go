package flows

import (
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// installedClass is what the flows in force say about a class.
type installedClass struct {
	epochs Epochs
	prints [2]uint64
}

// installed is what the flows in force say about ports and their classes.
type installed struct {
	classes map[uint32]installedClass // by number
	ports   map[uint16]uint32         // the number of each port's class
	owners  map[uint16]Owner
	highest uint32 // of all epochs there ever were
	mark    uint32 // see Input.Mark
}

func readInstalled(s *Set) installed {
	in := installed{classes: map[uint32]installedClass{}, ports: map[uint16]uint32{}}
	in.owners, _ = Owners(s)
	for f := range s.All() {
		kind := f.Cookie.Kind()
		switch {
		case kind == KindPipeline:
			in.mark = max(in.mark, uint32(f.Cookie.Object()))
			in.highest = max(in.highest, in.mark)
		case kind == KindPort && f.Table == TableEgressEst && f.Priority == 110:
			class, ok := f.Actions.reg(RegLocal)
			if port, _, found := f.Match.Get(RegOrig); ok && found {
				in.ports[uint16(port)] = class
			}
		case kind == KindEpoch && f.Priority == 110:
			number, _, ok := f.Match.Get(RegLocal)
			label, _, found := f.Match.label()
			if !ok || !found {
				continue
			}
			c := in.classes[uint32(number)]
			switch f.Table {
			case TableEgressEpoch:
				c.epochs[policy.Egress], c.prints[policy.Egress] = label.OrigEpoch, f.Cookie.Object()
			case TableIngressEpoch:
				c.epochs[policy.Ingress], c.prints[policy.Ingress] = label.RespEpoch, f.Cookie.Object()
			}
			in.highest = max(in.highest, c.epochs[0], c.epochs[1])
			in.classes[uint32(number)] = c
		}
	}
	return in
}

// OtherLayout says whether some of our flows are those of another layout of
// the pipeline, whose epochs mean nothing here.
func OtherLayout(s *Set) bool {
	for f := range s.All() {
		if f.Cookie>>48&0xf != layout {
			return true
		}
	}
	return false
}

// Owner is whom a port belongs to.
type Owner struct {
	MAC policy.MAC
	Tag uint16
}

func ownerOf(e *policy.Endpoint) Owner { return Owner{e.MAC, e.Tag} }

// Place is an address in a network.
type Place struct {
	Tag  uint16
	Addr netip.Addr
}

// Places are the addresses that an endpoint may use, where it may use them.
func Places(e *policy.Endpoint) []Place {
	out := make([]Place, 0, len(e.Addrs)+1)
	v6 := false
	for _, a := range e.Addrs {
		out = append(out, Place{e.Tag, a})
		v6 = v6 || a.Is6()
	}
	if ll := linkLocal(e.MAC); v6 && !slices.Contains(e.Addrs, ll) {
		out = append(out, Place{e.Tag, ll})
	}
	return out
}

// Owners reads out of flows whose each VM port is, by ofport, and at which
// port each address lives.
func Owners(s *Set) (ports map[uint16]Owner, places map[Place]uint16) {
	ports, places = map[uint16]Owner{}, map[Place]uint16{}
	for f := range s.All() {
		if f.Cookie.Kind() != KindPort || f.Table != TableDispatch {
			continue
		}
		port := uint16(f.Cookie.Object())
		tag, _, _ := f.Match.Get(RegNetwork)
		mac, _, ok := f.Match.Get(FieldEthDst)
		if ok {
			ports[port] = Owner{macOf(mac), uint16(tag)}
		}
	}
	for f := range s.All() {
		if f.Cookie.Kind() != KindPort || f.Table != TableSpoofGuard {
			continue
		}
		port := uint16(f.Cookie.Object())
		ts, _ := f.Match.terms()
		for _, t := range ts {
			if a, ok := netip.AddrFromSlice(t.value); ok && !a.IsUnspecified() && t.mask == nil &&
				(t.field == FieldIPSrc || t.field == FieldIPv6Src) {
				places[Place{ports[port].Tag, a}] = port
			}
		}
	}
	return ports, places
}

func macOf(v uint64) (m policy.MAC) {
	for i := range m {
		m[i] = byte(v >> (8 * (5 - i)))
	}
	return m
}

// MembersShrank says, for each side, whether installed knows a member of some
// group that desired does not know as the same.
func MembersShrank(desired, installed *Set) (egress, ingress bool) {
	for f := range installed.All() {
		if f.Cookie.Kind() != KindMember {
			continue
		}
		if now, ok := desired.Get(f.Key); ok && now.Actions == f.Actions {
			continue
		}
		if f.Table == TableEgressRemote {
			egress = true
		} else {
			ingress = true
		}
	}
	return egress, ingress
}
