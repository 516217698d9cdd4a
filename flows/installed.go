package flows

import (
	"net/netip"

	"github.com/ovs-sg/ovs-sg/policy"
)

// InstalledEpoch is what the flows in force say about a port's rules.
type InstalledEpoch struct {
	Epoch       uint32
	Fingerprint uint64
}

// InstalledEpochs reads the epochs out of flows, by ofport.
func InstalledEpochs(s *Set) map[uint16]InstalledEpoch {
	out := map[uint16]InstalledEpoch{}
	for f := range s.All() {
		if f.Table != TableEgressEst || f.Cookie.Kind() != KindEpoch {
			continue
		}
		if label, mask, ok := f.Match.label(); ok && mask.OrigEpoch == MaxEpoch {
			out[uint16(label.Orig)] = InstalledEpoch{label.OrigEpoch, f.Cookie.Object()}
		}
	}
	return out
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

// Place is an address in a network.
type Place struct {
	Tag  uint16
	Addr netip.Addr
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
