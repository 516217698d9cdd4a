package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
)

// flushTarget is a zone of which connections are forgotten: all of them, or
// those of an address. The zero target is every zone.
type flushTarget struct {
	zone uint16
	addr compile.Place // Addr not valid: all
}

// flushes are the targets to flush, because a port or an address passes to
// another VM or to none.
type flushes map[flushTarget]bool

func (fs flushes) everything() { fs[flushTarget{}] = true }

// resident is the port and the VM that have an address.
type resident struct {
	port  uint16
	owner compile.Owner
}

// endpoints adds the targets that a change of endpoints calls for.
func (fs flushes) endpoints(changes []policy.Change[policy.Endpoint]) {
	was, now := map[compile.Place]resident{}, map[compile.Place]resident{}
	ports := [2]map[uint16]compile.Owner{{}, {}}
	note := func(e *policy.Endpoint, places map[compile.Place]resident, ports map[uint16]compile.Owner) {
		if e == nil || e.MAC.IsZero() {
			return
		}
		owner := compile.Owner{MAC: e.MAC, Tag: e.Tag}
		ports[e.OFPort] = owner
		for _, place := range compile.Places(e) {
			places[place] = resident{e.OFPort, owner}
		}
	}
	for _, ch := range changes {
		note(ch.Before, was, ports[0])
		note(ch.After, now, ports[1])
	}
	fs.compare(ports[0], ports[1], was, now)
}

// taken adds the targets that the difference of two sets of flows calls for.
func (fs flushes) taken(installed, desired *flows.Set) {
	residents := func(s *flows.Set) (map[uint16]compile.Owner, map[compile.Place]resident) {
		ports, places := compile.Owners(s)
		out := map[compile.Place]resident{}
		for place, port := range places {
			out[place] = resident{port, ports[port]}
		}
		return ports, out
	}
	before, was := residents(installed)
	after, now := residents(desired)
	fs.compare(before, after, was, now)
}

func (fs flushes) compare(before, after map[uint16]compile.Owner, was, now map[compile.Place]resident) {
	differ(before, after, func(port uint16) { fs[flushTarget{zone: port}] = true })
	differ(was, now, func(p compile.Place) { fs[flushTarget{flows.LocalZone(p.Tag), p}] = true })
}

// differ calls f for each key under which two maps differ.
func differ[K, V comparable](a, b map[K]V, f func(K)) {
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			f(k)
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			f(k)
		}
	}
}

// targets lists the targets in order.
func (fs flushes) targets() []flushTarget {
	var out []flushTarget
	for t := range fs {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b flushTarget) int {
		return cmp.Or(cmp.Compare(a.zone, b.zone), a.addr.Addr.Compare(b.addr.Addr))
	})
	return out
}

// zones returns all zones in which there may be connections of local VMs.
func zones(local *policy.Model) []flushTarget {
	all := flushes{}
	for i := range local.Endpoints {
		e := &local.Endpoints[i]
		all[flushTarget{zone: e.OFPort}], all[flushTarget{zone: flows.LocalZone(e.Tag)}] = true, true
	}
	return all.targets()
}

// flush makes the switch forget the connections of the targets.
func (e *enforcer) flush(ctx context.Context, local *policy.Model, targets []flushTarget) error {
	for _, t := range targets {
		var err error
		switch {
		case t == (flushTarget{}):
			if err := e.flush(ctx, local, zones(local)); err != nil {
				return err
			}
			continue
		case t.addr.Addr.IsValid():
			err = e.conn.FlushAddr(ctx, t.zone, t.addr.Addr)
			// Exactness does not depend on this: the labels of the connections
			// name another port, so that each of them is judged again.
			if errors.Is(err, errors.ErrUnsupported) {
				err = nil
			}
		default:
			err = e.conn.FlushZone(ctx, t.zone)
		}
		if err != nil {
			return fmt.Errorf("flush connection tracking zone %d: %w", t.zone, err)
		}
	}
	return nil
}
