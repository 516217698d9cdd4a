package compile

import (
	"net/netip"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/pipeline"
	"github.com/ovs-sg/ovs-sg/policy"
)

// installed is what the flows in force say about ports and their classes.
type installed struct {
	classes   map[uint32]installedClass // by number
	ports     map[uint16]uint32         // the number of each port's class
	owners    map[uint16]Owner
	highest   uint32 // of all epochs that were ever given out
	persisted uint32 // see Input.HighestEpoch
}

// installedClass is what the flows in force say about a class.
type installedClass struct {
	epochs flows.Epochs
	prints [2]uint64
}

func readInstalled(s *flows.Set) installed {
	in := installed{classes: map[uint32]installedClass{}, ports: map[uint16]uint32{}}
	in.owners, _ = Owners(s)
	for f := range s.All() {
		kind := f.Cookie.Kind()
		switch {
		case kind == flows.KindPipeline:
			in.persisted = max(in.persisted, uint32(f.Cookie.Object()))
			in.highest = max(in.highest, in.persisted)
		case kind == flows.KindPort && f.Table == flows.TableEgressEst && f.Priority == pipeline.EstOwn:
			class, ok := f.Actions.Reg(flows.RegLocal)
			if port, _, found := f.Match.Get(flows.RegOrig); ok && found {
				in.ports[uint16(port)] = class
			}
		case kind == flows.KindEpoch && f.Priority == pipeline.EpochCurrent:
			number, _, ok := f.Match.Get(flows.RegLocal)
			label, _, found := f.Match.Label()
			if !ok || !found {
				continue
			}
			c := in.classes[uint32(number)]
			switch f.Table {
			case flows.TableEgressEpoch:
				c.epochs[policy.Egress], c.prints[policy.Egress] = label.OrigEpoch, f.Cookie.Object()
			case flows.TableIngressEpoch:
				c.epochs[policy.Ingress], c.prints[policy.Ingress] = label.RespEpoch, f.Cookie.Object()
			}
			in.highest = max(in.highest, c.epochs[0], c.epochs[1])
			in.classes[uint32(number)] = c
		}
	}
	return in
}

// Owner is the VM that a port belongs to.
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

// Places returns the addresses that an endpoint may use, in its network.
func Places(e *policy.Endpoint) []Place {
	addrs := pipeline.OwnAddrs(e)
	out := make([]Place, len(addrs))
	for i, a := range addrs {
		out[i] = Place{e.Tag, a}
	}
	return out
}

// Owners reads from flows which VM each port belongs to, by ofport, and at which
// port each address lives.
func Owners(s *flows.Set) (ports map[uint16]Owner, places map[Place]uint16) {
	ports, places = map[uint16]Owner{}, map[Place]uint16{}
	for f := range s.All() {
		if f.Cookie.Kind() != flows.KindPort || f.Table != flows.TableDispatch {
			continue
		}
		port := uint16(f.Cookie.Object())
		tag, _, _ := f.Match.Get(flows.RegNetwork)
		mac, _, ok := f.Match.Get(flows.FieldEthDst)
		if ok {
			ports[port] = Owner{macOf(mac), uint16(tag)}
		}
	}
	for f := range s.All() {
		if f.Cookie.Kind() != flows.KindPort || f.Table != flows.TableSpoofGuard {
			continue
		}
		port := uint16(f.Cookie.Object())
		for _, field := range []flows.Field{flows.FieldIPSrc, flows.FieldIPv6Src} {
			if a, ok := f.Match.Addr(field); ok && !a.IsUnspecified() {
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

// EpochsLost reports whether flows in force do not tell all epochs of the classes
// that ports are in: there are none, or somebody has deleted some.
func EpochsLost(s *flows.Set) bool {
	in := readInstalled(s)
	for _, number := range in.ports {
		if e := in.classes[number].epochs; e[policy.Egress] == 0 || e[policy.Ingress] == 0 {
			return true
		}
	}
	return in.highest == 0
}

// Shrank reports whether flows in force, which an earlier run has left, may have
// allowed more than the desired ones: some of them have to be changed or deleted.
func Shrank(desired, installed *flows.Set) bool {
	d := flows.Diff(desired, installed)
	return installed.Len() > 0 && len(d.Modify)+len(d.Delete) > 0
}
