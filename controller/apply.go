package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// memory is what a round needs to know of the rounds before.
type memory struct {
	// epochs are those given out last, by ofport; generation is the highest.
	epochs     map[uint16]uint32
	generation uint32
	// grants are all that may be in force: what was confirmed last, and what
	// was sent since without an answer. Nil: unknown, after a restart.
	grants []*flows.Grants
	// owners and places are whose ports and addresses were, nil: unknown.
	owners map[uint16]flows.Owner
	places map[flows.Place]uint16
}

// apply makes the switch enforce the newest snapshots.
func (c *Controller) apply(ctx context.Context) error {
	if c.conn == nil {
		if err := c.connect(ctx); err != nil {
			return err
		}
	}
	// First of all NORMAL must not flood to a port that is not trusted.
	if c.noFlood == nil || !maps.Equal(c.noFlood, c.host.noFlood) {
		if err := c.conn.NoFlood(ctx, c.host.noFlood); err != nil {
			return fmt.Errorf("set NO_FLOOD: %w", err)
		}
		c.noFlood = c.host.noFlood
	}
	var foreign *flows.Set
	if c.installed == nil {
		var err error
		if c.installed, foreign, err = c.conn.DumpAll(ctx); err != nil {
			return err
		}
		if c.memory.owners == nil {
			c.memory.owners, c.memory.places = flows.Owners(c.adoptable())
		}
	}

	started := time.Now()
	enforce := c.guard()
	model := enforce.Resolve(c.host.vifs)
	desired, next, err := c.compile(model)
	if err != nil {
		return err
	}
	if err := inTheWay(foreign, desired); err != nil {
		return err
	}
	delta := flows.Diff(desired, c.installed)
	compiled := time.Since(started)

	owners, places := flows.Owners(desired)
	flushes := c.memory.flushes(owners, places)
	if next.wrapped || c.memory.grants == nil && flows.OtherLayout(c.installed) {
		flushes = append(flushes, allZones(owners)...)
	}
	if err := c.flush(ctx, flushes); err != nil {
		return err
	}
	if !delta.Empty() {
		c.memory.sent(next.grants)
		c.memory.epochs, c.memory.generation = next.epochs, next.generation
		c.settled = false
		if err := c.conn.Apply(ctx, delta); err != nil {
			return fmt.Errorf("apply %d flow changes: %w", delta.Len(), err)
		}
	}
	confirmed := time.Since(started)
	if err := c.settle(ctx); err != nil {
		return err
	}
	if err := c.flush(ctx, flushes); err != nil {
		return err
	}
	delta.ApplyTo(c.installed)
	c.model, c.enforced = model, enforce
	c.memory = memory{next.epochs, next.generation, []*flows.Grants{next.grants}, owners, places}
	c.report(delta, compiled, confirmed)
	return nil
}

// adoptable returns the installed flows, if they mean what ours mean.
func (c *Controller) adoptable() *flows.Set {
	if flows.OtherLayout(c.installed) {
		return &flows.Set{}
	}
	return c.installed
}

// inTheWay says which flows of others would act on packets before or instead
// of ours. One that has the key of a flow of ours is none of them: it will be
// replaced.
func inTheWay(foreign, desired *flows.Set) error {
	if foreign == nil {
		return nil
	}
	var found []string
	for _, f := range foreign.Sorted() {
		if _, replaced := desired.Get(f.Key); !replaced && int(f.Table) < len(flows.Tables()) {
			found = append(found, f.String())
		}
	}
	if len(found) == 0 {
		return nil
	}
	more := ""
	if n := len(found) - 3; n > 0 {
		found, more = found[:3], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("flows of somebody else are in the way, in tables 0 to %d: %s%s; nothing is enforced until they are removed",
		len(flows.Tables())-1, strings.Join(found, " | "), more)
}

// prepareTimeout is how long OVSDB is waited for, which is local and quick.
const prepareTimeout = 2 * time.Second

// connect opens the OpenFlow connection to a bridge that is set up for us.
func (c *Controller) connect(ctx context.Context) error {
	prepare, cancel := context.WithTimeout(ctx, prepareTimeout)
	err := c.cfg.Prepare(prepare)
	cancel()
	switch {
	case err == nil:
		c.prepared = true
	case !c.prepared:
		return fmt.Errorf("prepare bridge %s in OVSDB: %w", c.cfg.Bridge, err)
	default: // it has been before, and OVSDB may be away for long
		c.log.Warn("bridge not prepared anew", zap.Error(err))
	}
	conn, err := c.cfg.Dial(ctx, c.ports.Bridge.DatapathType)
	if err != nil {
		return err
	}
	c.conn, c.installed = conn, nil
	return nil
}

// settle sees to it that the datapath, too, has forgotten what is not in force
// any more: after a change, and after a start, for the agent before may have
// ended in between.
func (c *Controller) settle(ctx context.Context) error {
	infra := map[uint32]bool{}
	for _, p := range c.host.infra {
		infra[p.OFPort] = true
	}
	if c.cfg.Daemon != nil {
		// NORMAL learns from infrastructure ports alone, but it may have
		// learned more while the bridge was not ours or a port was trusted.
		untrusted := c.infra == nil
		for p := range c.infra {
			untrusted = untrusted || !infra[p]
		}
		if untrusted {
			if err := c.cfg.Daemon.FlushFDB(ctx); err != nil {
				return err
			}
		}
		if !c.settled {
			if err := c.cfg.Daemon.Settle(ctx, NeedsPurge(c.ports.Bridge.DatapathType, c.ports.OVSVersion)); err != nil {
				return err
			}
		}
	}
	c.infra, c.settled = infra, true
	return nil
}

// plan is what comes with the flows of a round.
type plan struct {
	epochs     map[uint16]uint32
	generation uint32
	wrapped    bool
	grants     *flows.Grants
}

// compile compiles a model with the epochs that its ports need.
func (c *Controller) compile(model *policy.Model) (*flows.Set, plan, error) {
	next := plan{grants: flows.NewGrants(model), epochs: map[uint16]uint32{}}
	var keep map[uint16]uint32
	if c.memory.grants != nil {
		keep = c.memory.keep(next.grants)
		next.generation = c.memory.generation
	} else {
		keep, next.generation = adopt(c.adoptable(), model)
	}
	in := flows.Input{Model: model, Infra: c.host.infra, Userspace: userspace(c.ports.Bridge.DatapathType)}
	next.assign(model, keep, c.memory.epochs)
	in.Epochs = next.epochs
	desired, err := flows.Compile(in)
	if err != nil || c.memory.grants != nil {
		return desired, next, err
	}
	// After a restart the flows in force are all that tells of members who
	// have left since.
	egress, ingress := flows.MembersShrank(desired, c.adoptable())
	if !egress && !ingress {
		return desired, next, nil
	}
	for i := range model.Endpoints {
		e := &model.Endpoints[i]
		if egress && flows.RefersTo(model, e, policy.Egress) || ingress && flows.RefersTo(model, e, policy.Ingress) {
			delete(keep, e.OFPort)
		}
	}
	_, generation := adopt(c.adoptable(), model)
	next = plan{grants: next.grants, generation: generation}
	next.assign(model, keep, nil)
	in.Epochs = next.epochs
	desired, err = flows.Compile(in)
	return desired, next, err
}

// sent notes what may be in force from now on. A bundle that is tried again
// adds nothing.
func (m *memory) sent(g *flows.Grants) {
	if n := len(m.grants); n == 0 || !m.grants[n-1].Equal(g) {
		m.grants = append(m.grants, g)
	}
}

// keep returns the epochs that can stay: those of ports that may do now all
// that they may have been allowed to do before.
func (m *memory) keep(now *flows.Grants) map[uint16]uint32 {
	keep := maps.Clone(m.epochs)
	for _, old := range m.grants {
		for port := range now.Shrank(old) {
			delete(keep, port)
		}
	}
	return keep
}

// adopt returns the epochs, among those installed, of ports whose owner and
// rules are still the same, and the highest epoch of all.
func adopt(installed *flows.Set, model *policy.Model) (keep map[uint16]uint32, generation uint32) {
	epochs := flows.InstalledEpochs(installed)
	owners, _ := flows.Owners(installed)
	keep = map[uint16]uint32{}
	for _, e := range epochs {
		generation = max(generation, e.Epoch)
	}
	for i := range model.Endpoints {
		e := &model.Endpoints[i]
		was, ok := epochs[e.OFPort]
		if ok && was.Fingerprint == flows.Fingerprint(model, e) && owners[e.OFPort] == (flows.Owner{MAC: e.MAC, Tag: e.Tag}) {
			keep[e.OFPort] = was.Epoch
		}
	}
	return keep, generation
}

// assign gives every endpoint an epoch: the one it may keep, or one that is
// higher than all before. After the highest possible it begins anew; the
// connections that could still carry those epochs must then be forgotten.
func (p *plan) assign(model *policy.Model, keep, last map[uint16]uint32) {
	p.epochs = map[uint16]uint32{}
	fresh := false
	for _, e := range model.Endpoints {
		if _, ok := keep[e.OFPort]; !ok {
			fresh = true
		}
	}
	if !fresh {
		for _, e := range model.Endpoints {
			p.epochs[e.OFPort] = keep[e.OFPort]
		}
		return
	}
	if p.generation >= flows.MaxEpoch {
		p.wrapped = true
		for _, e := range model.Endpoints {
			p.epochs[e.OFPort] = 1
			if last[e.OFPort] == 1 {
				p.epochs[e.OFPort] = 2
			}
		}
		p.generation = 2
		return
	}
	p.generation++
	for _, e := range model.Endpoints {
		epoch, ok := keep[e.OFPort]
		if !ok {
			epoch = p.generation
		}
		p.epochs[e.OFPort] = epoch
	}
}

// report says what changed.
func (c *Controller) report(d flows.Delta, compiled, confirmed time.Duration) {
	c.applied++
	took := c.change.end()
	what := c.lastWhat
	c.lastWhat = nil
	if d.Empty() && (len(what) == 0 || c.held != nil) {
		return // nothing happened, or nothing yet
	}
	c.change.last = LastChange{
		Time: time.Now(), What: what, Added: len(d.Add), Modified: len(d.Modify), Deleted: len(d.Delete),
		Took: took, Compile: compiled, Switch: confirmed - compiled,
	}
	if d.Empty() {
		c.log.Info("no flow changes", zap.Strings("change", what), zap.Duration("took", took))
		return
	}
	c.log.Info("enforced",
		zap.Strings("change", what),
		zap.Int("added", len(d.Add)), zap.Int("modified", len(d.Modify)), zap.Int("deleted", len(d.Delete)),
		zap.Int("flows", c.installed.Len()),
		zap.Duration("took", took), zap.Duration("compile", compiled), zap.Duration("switch", confirmed-compiled))
}

// flushTarget is a zone whose connections are forgotten: all, or with addr
// those of an address.
type flushTarget struct {
	zone uint16
	addr flows.Place // Addr not valid: all
}

// flushes returns what must be forgotten because a port or an address passes
// to somebody else, or to nobody.
func (m *memory) flushes(owners map[uint16]flows.Owner, places map[flows.Place]uint16) []flushTarget {
	var out []flushTarget
	for _, port := range sortedKeys(m.owners, owners) {
		if m.owners[port] != owners[port] {
			out = append(out, flushTarget{zone: port})
		}
	}
	var moved []flows.Place
	for place, port := range m.places {
		if now, ok := places[place]; !ok || now != port || m.owners[port] != owners[port] {
			moved = append(moved, place)
		}
	}
	for place := range places {
		if _, ok := m.places[place]; !ok {
			moved = append(moved, place)
		}
	}
	slices.SortFunc(moved, func(a, b flows.Place) int { return a.Addr.Compare(b.Addr) })
	for _, place := range moved {
		out = append(out, flushTarget{flows.LocalZone(place.Tag), place})
	}
	return out
}

func allZones(owners map[uint16]flows.Owner) []flushTarget {
	zones := map[uint16]bool{}
	for port, o := range owners {
		zones[port], zones[flows.LocalZone(o.Tag)] = true, true
	}
	var out []flushTarget
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		out = append(out, flushTarget{zone: zone})
	}
	return out
}

func sortedKeys[V any](ms ...map[uint16]V) []uint16 {
	all := map[uint16]bool{}
	for _, m := range ms {
		for k := range m {
			all[k] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (c *Controller) flush(ctx context.Context, targets []flushTarget) error {
	for _, t := range targets {
		var err error
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
