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

// flushTarget is a zone whose connections are forgotten: all, or with an
// address those of it. The zero target is every zone.
type flushTarget struct {
	zone uint16
	addr compile.Place // Addr not valid: all
}

// flushes are the connections that have to be forgotten because a port or an
// address passes to somebody else, or to nobody.
type flushes map[flushTarget]bool

func (fs flushes) everything() { fs[flushTarget{}] = true }

// resident is who has a place.
type resident struct {
	port  uint16
	owner compile.Owner
}

// endpoints adds what a change of endpoints asks for.
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

// taken adds what differs between two sets of flows.
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

// differ calls f for each key under which two maps have not the same.
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

// targets lists what is to be forgotten, in order.
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

// zones are all in which there may be connections of VMs.
func (c *Controller) zones() []flushTarget {
	zones := flushes{}
	local := c.book.Local()
	for i := range local.Endpoints {
		e := &local.Endpoints[i]
		zones[flushTarget{zone: e.OFPort}], zones[flushTarget{zone: flows.LocalZone(e.Tag)}] = true, true
	}
	return zones.targets()
}

func (c *Controller) flush(ctx context.Context, targets []flushTarget) error {
	for _, t := range targets {
		var err error
		if t == (flushTarget{}) {
			if err := c.flush(ctx, c.zones()); err != nil {
				return err
			}
			continue
		}
		if t.addr.Addr.IsValid() {
			err = c.conn.FlushAddr(ctx, t.zone, t.addr.Addr)
			// A switch that cannot do it loses nothing in exactness: the labels
			// of the connections name another port, so that each is judged again.
			if errors.Is(err, errors.ErrUnsupported) {
				err = nil
			}
		} else {
			err = c.conn.FlushZone(ctx, t.zone)
		}
		if err != nil {
			return fmt.Errorf("flush connection tracking zone %d: %w", t.zone, err)
		}
	}
	return nil
}
