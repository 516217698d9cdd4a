package controller

import (
	"context"
	"fmt"
	"maps"
	"strings"
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
	early     chan dialled    // the first connection, while it is being opened; else nil

	compiler *compile.Compiler
	takeover takeover
	prepared bool // the bridge was set up in OVSDB at least once
	// revalidated: the datapath has followed the last change of flows.
	revalidated bool
	flushes     flushes

	activity *activity
}

func newEnforcer(cfg Config) enforcer {
	return enforcer{cfg: cfg, log: cfg.Logger, compiler: compile.New(), flushes: flushes{}, activity: &activity{}}
}

// outcome is what an apply did.
type outcome struct {
	delta             flows.Delta
	compiled, applied time.Duration // since the beginning
}

// disconnect gives the connection up; what is installed is unknown from here
// on.
func (e *enforcer) disconnect() {
	if e.conn != nil {
		e.conn.Close()
		e.conn = nil
	}
	e.installed, e.noFlood, e.infra = nil, nil, nil
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
	var foreign *flows.Set
	connected := e.conn != nil
	if err := e.check(ctx, ports); err != nil {
		return outcome{}, err
	}
	if !connected {
		c, err := e.connect(ctx, ports.Bridge.DatapathType)
		if err != nil {
			return outcome{}, err
		}
		if err := e.checkSwitch(ctx, ports, c); err != nil {
			return outcome{}, err
		}
		e.conn, e.noFlood, e.installed, foreign = c.conn, nil, c.installed, c.foreign
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
	delta, err := e.compile(change, local, ports, h, foreign, connected)
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
	delta.ApplyTo(e.installed)
	return out, nil
}

// limit bounds what is asked of the switch next.
func (e *enforcer) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	e.activity.begin("waiting for the switch")
	return context.WithTimeout(ctx, e.cfg.ApplyTimeout)
}

// compile takes a change of the model in and returns the flows that change with
// it. connected says that the connection is as old as the compiler's last
// answer, so that the difference to that is the difference to the switch.
func (e *enforcer) compile(change policy.ModelChange, local *policy.Model, ports *vswitch.Snapshot, h host, foreign *flows.Set, connected bool) (flows.Delta, error) {
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
	host := flows.Host{Infra: h.infra, Userspace: e.quirks(ports).HoldsFragments}
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
	all, err := e.compiler.Flows()
	if err != nil {
		return flows.Delta{}, err
	}
	if e.takeover == adopted {
		if all, err = e.takeOver(all, local); err != nil {
			return flows.Delta{}, err
		}
		e.takeover = takenOver
	}
	if err := inTheWay(foreign, all); err != nil {
		return flows.Delta{}, err
	}
	return flows.Diff(all, e.installed), nil
}

// takeOver deals, after a restart, with what only the flows in force tell: members
// that have left since, and ports and addresses that belong to another VM now. It
// returns the flows to install.
func (e *enforcer) takeOver(all *flows.Set, local *policy.Model) (*flows.Set, error) {
	if flows.OtherLayout(e.installed) {
		return all, nil
	}
	e.flushes.taken(e.installed, all)
	if e.installed.Len() == 0 {
		// Nothing tells which epochs there were: connections may carry any.
		for _, x := range local.Endpoints {
			e.flushes[flushTarget{zone: flows.LocalZone(x.Tag)}] = true
		}
	}
	raise := func(d policy.Direction) {
		e.compiler.RaiseEpochs(d)
		if e.compiler.Wrapped() {
			e.flushes.everything()
		}
	}
	egress, ingress := compile.MembersShrank(all, e.installed)
	if egress {
		raise(policy.Egress)
	}
	if ingress {
		raise(policy.Ingress)
	}
	if !egress && !ingress {
		return all, nil
	}
	return e.compiler.Flows()
}

// inTheWay returns an error that names the flows of others that would act on
// packets before or instead of the agent's. A flow that has the key of one of
// these is not among them: it will be replaced.
func inTheWay(foreign, all *flows.Set) error {
	if foreign == nil {
		return nil
	}
	var found []string
	for _, f := range foreign.Sorted() {
		if _, replaced := all.Get(f.Key); !replaced && int(f.Table) < len(flows.Tables()) {
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
		// trusted.
		untrusted := e.infra == nil
		for p := range e.infra {
			untrusted = untrusted || !infra[p]
		}
		if untrusted {
			if err := e.cfg.Daemon.FlushFDB(ctx); err != nil {
				return err
			}
		}
		if !e.revalidated {
			if err := e.confirm(ctx, e.quirks(ports).StaleMegaflows); err != nil {
				return err
			}
		}
	}
	e.infra, e.revalidated = infra, true
	return nil
}
