package controller

import (
	"context"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/policy"
)

// takeover is what has been done about the flows that an earlier run left.
type takeover uint8

const (
	// unread: the compiler does not know them.
	unread takeover = iota
	// adopted: the compiler goes on with their epochs.
	adopted
	// takenOver: members that have left, and ports and addresses that belong to
	// another VM now, which only these flows tell, have been dealt with too.
	takenOver
)

// enforcer makes the switch enforce what is desired. It knows what is installed
// from what the switch acknowledged; after any doubt it reads that back.
type enforcer struct {
	cfg Config
	log *zap.Logger

	conn      Switch          // nil: not connected
	release   string          // of the Open vSwitch that was connected last, in its own words
	noFlood   map[uint32]bool // as set over conn; nil: unknown
	infra     map[uint32]bool // the ports that NORMAL may have learned from; nil: unknown
	installed *flows.Set      // nil: unknown
	foreign   *flows.Set      // flows of others, as found with installed; nil: dealt with
	believed  *flows.Set      // installed as it was when the last connection ended; nil: unknown
	early     chan dialled    // the first connection, while it is being opened; else nil

	compiler *compile.Compiler
	takeover takeover
	prepared bool   // the bridge was set up in OVSDB at least once
	refused  bool   // OVSDB did not answer, or refused, the last time
	bridge   string // the UUID of the bridge then
	mine     bool   // the bridge has, or had, flows of an agent
	force    bool   // flows of others are removed although it is not mine
	watch    watch
	limits   limits
	// revalidated: the datapath has followed the last change of flows.
	revalidated bool
	flushes     flushes
	// fragments says why small fragments do not pass; empty if they do.
	fragments string

	activity *activity
}

func newEnforcer(cfg Config) enforcer {
	compiler := compile.New()
	if cfg.Salt > 0 {
		compiler.Salt(cfg.Salt)
	}
	return enforcer{cfg: cfg, log: cfg.Logger, compiler: compiler, flushes: flushes{}, activity: &activity{}}
}

// outcome is what an apply did.
type outcome struct {
	delta             flows.Delta
	compiled, applied time.Duration // since the beginning
	repaired          bool          // a difference that others had made is no more
}

// disconnect gives the connection up; what is installed is unknown from here
// on.
func (e *enforcer) disconnect() {
	if e.conn != nil {
		e.conn.Close()
		e.conn = nil
	}
	if e.installed != nil {
		e.believed = e.installed
	}
	e.installed, e.foreign, e.noFlood, e.infra, e.limits.set = nil, nil, nil, nil, nil
}

// close ends all connections.
func (e *enforcer) close() {
	e.takeEarly().close()
	if e.conn != nil {
		e.conn.Close()
	}
}

// apply makes the switch enforce what is desired for the ports of the host. The
// order of its steps is what makes it safe: no packet may reach a port that
// must not have it, at any moment between them.
func (e *enforcer) apply(begun context.Context, d *desired, ports *vswitch.Snapshot, h host) (outcome, error) {
	ctx, cancel := e.limit(begun)
	defer cancel()
	connected := e.conn != nil
	if err := e.check(ctx, ports); err != nil {
		return outcome{}, err
	}
	switch {
	case !connected:
		if err := e.connect(ctx, ports); err != nil {
			return outcome{}, err
		}
		if err := e.checkSwitch(ctx, ports); err != nil {
			return outcome{}, err
		}
	case e.watch.doubt != "", ports.Bridge.Unprepared != "", ports.Bridge.UUID != e.bridge:
		var err error
		if connected, err = e.look(ctx); err != nil {
			return outcome{}, err
		}
	}
	undone := e.refused && ports.Bridge.Unprepared != ""
	if undone {
		e.drifted([]string{ports.Bridge.Unprepared})
	}
	// First of all NORMAL must not flood to a port that is not trusted.
	if e.noFlood == nil || !maps.Equal(e.noFlood, h.noFlood) {
		if err := e.conn.NoFlood(ctx, h.noFlood); err != nil {
			return outcome{}, fmt.Errorf("set NO_FLOOD: %w", err)
		}
		e.noFlood = h.noFlood
	}

	started := time.Now()
	e.activity.begin("compiling")
	if e.cfg.compiling != nil {
		e.cfg.compiling()
	}
	change := d.update(h.vifs)
	local := d.resolver.Local()
	delta, err := e.compile(change, local, ports, h, connected)
	if err != nil {
		return outcome{}, err
	}
	out := outcome{delta: delta, compiled: time.Since(started)}
	ctx, cancel = e.limit(begun)
	defer cancel()
	targets := e.flushes.targets()
	if err := e.flush(ctx, local, targets); err != nil {
		return outcome{}, err
	}
	if !delta.Empty() {
		e.revalidated = false
		if err := e.conn.Apply(ctx, delta); err != nil {
			e.installed = nil // with or without the delta
			return outcome{}, fmt.Errorf("apply %d flow changes: %w", delta.Len(), err)
		}
	}
	out.applied = time.Since(started)
	if err := e.revalidate(ctx, ports, h); err != nil {
		return outcome{}, err
	}
	if err := e.flush(ctx, local, targets); err != nil {
		return outcome{}, err
	}
	clear(e.flushes)
	e.limitConnections(ctx, ports.Bridge.DatapathType, local)
	delta.ApplyTo(e.installed)
	e.foreign, e.force, e.mine = nil, false, true
	if !undone {
		out.repaired = e.watch.putRight(e.log)
	}
	return out, nil
}

// limit bounds what is asked of the switch next.
func (e *enforcer) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	e.activity.begin("waiting for the switch")
	return context.WithTimeout(ctx, e.cfg.ApplyTimeout)
}

// compile takes a change of the model in and returns the flows that change with
// it. connected says that the switch has what the compiler answered last, so
// that the difference to that is the difference to the switch.
func (e *enforcer) compile(change policy.ModelChange, local *policy.Model, ports *vswitch.Snapshot, h host, connected bool) (flows.Delta, error) {
	if e.takeover == unread {
		if flows.OtherLayout(e.installed) {
			e.flushes.everything()
		} else {
			e.compiler.Adopt(e.installed)
		}
		e.takeover = adopted
	} else {
		e.flushes.endpoints(change.Endpoints)
	}
	host := flows.Host{Infra: h.infra, Userspace: e.quirks(ports).HoldsFragments, DHCPServers: e.cfg.DHCPServers}
	delta, alone, err := e.compiler.Update(change, host)
	if e.compiler.Wrapped() {
		e.flushes.everything()
	}
	if err != nil {
		return flows.Delta{}, err
	}
	if connected && alone {
		return delta, nil
	}
	e.mine = e.mine || e.force || e.installed.Len() > 0
	alien := intruders(e.foreign)
	if e.mine && len(alien) > 0 {
		e.flowsDrifted(compareFlows(e.installed, e.installed, e.foreign))
	}
	all, err := e.compiler.Flows()
	if err != nil {
		return flows.Delta{}, err
	}
	if e.takeover == adopted {
		if all, err = e.takeOver(all); err != nil {
			return flows.Delta{}, err
		}
		e.takeover = takenOver
	}
	if !e.mine {
		if err := inTheWay(alien, all); err != nil {
			return flows.Delta{}, err
		}
	}
	for _, f := range alien {
		e.installed.Put(f)
	}
	return flows.Diff(all, e.installed), nil
}

// takeOver deals, after a restart, with what only the flows in force tell: that they
// were others, and ports and addresses that belong to another VM now. It returns
// the flows to install.
func (e *enforcer) takeOver(all *flows.Set) (*flows.Set, error) {
	if flows.OtherLayout(e.installed) {
		return all, nil
	}
	e.flushes.taken(e.installed, all)
	if compile.EpochsLost(e.installed) {
		// Nothing tells which epochs there were: connections may carry any.
		e.flushes.everything()
	}
	if !compile.Shrank(all, e.installed) {
		return all, nil
	}
	// The policy has changed, or somebody has changed the flows: nobody knows what
	// was allowed meanwhile.
	e.judgeAnew()
	return e.compiler.Flows()
}

// inTheWay returns an error that names the flows of others that would act on
// packets before or instead of the agent's, on a bridge that was not the agent's
// so far. A flow that has the key of one of all is not among them: it will be
// replaced.
func inTheWay(alien []flows.Flow, all *flows.Set) error {
	found := &flows.Set{}
	for _, f := range alien {
		if _, replaced := all.Get(f.Key); !replaced {
			found.Put(f)
		}
	}
	if found.Len() == 0 {
		return nil
	}
	return fmt.Errorf("flows of somebody else are in the way, in tables 0 to %d: %s; nothing is enforced until they are removed, by hand or by ovs-sg audit --repair",
		len(flows.Tables())-1, someFlows(found.Sorted()))
}

// revalidate makes the datapath drop megaflows and MAC addresses that the flows in
// force do not allow: after a change, and after a start, since the agent before may
// have ended between a change and its revalidation.
func (e *enforcer) revalidate(ctx context.Context, ports *vswitch.Snapshot, h host) error {
	infra := map[uint32]bool{}
	for _, p := range h.infra {
		infra[p.OFPort] = true
	}
	if e.cfg.Daemon != nil {
		// NORMAL learns from infrastructure ports alone, but it may have
		// learned more while the bridge was not the agent's or a port was
		// trusted. It goes on to learn as long as there are megaflows of then,
		// and those of now may go by what it has learned.
		untrusted := e.infra == nil
		for p := range e.infra {
			untrusted = untrusted || !infra[p]
		}
		stale := e.quirks(ports).StaleMegaflows
		if !e.revalidated || untrusted {
			if err := e.confirm(ctx, stale); err != nil {
				return err
			}
		}
		if untrusted {
			if err := e.cfg.Daemon.FlushFDB(ctx); err != nil {
				return err
			}
			if err := e.confirm(ctx, stale); err != nil {
				return err
			}
		}
	}
	e.infra, e.revalidated = infra, true
	return nil
}
