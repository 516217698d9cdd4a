package controller

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
)

// dialled is a new connection to a bridge, with the flows that the bridge had.
type dialled struct {
	conn               Switch
	datapathType       string
	installed, foreign *flows.Set
	at                 time.Time // when the dump began
	err                error
}

// earlyLife is how long the flows that were found early are believed.
const earlyLife = 5 * time.Second

// prepareTimeout is how long OVSDB and the control socket of ovs-vswitchd are waited
// for, which are local and quick.
const prepareTimeout = 2 * time.Second

// againTimeout is how long OVSDB is waited for while the flows have to be looked
// at too.
const againTimeout = 500 * time.Millisecond

// dialEarly opens the first connection while the policy is still being read. It
// reads only, and only from a bridge whose flows stay when the bridge is set
// up: as long as there is no policy to enforce, nothing is written.
func (e *enforcer) dialEarly(ctx context.Context, b vswitch.Bridge) {
	if e.early != nil || e.conn != nil || !b.Exists || b.FailMode != "secure" {
		return
	}
	early := make(chan dialled, 1)
	e.early = early
	go func() {
		ctx, cancel := context.WithTimeout(ctx, e.cfg.ApplyTimeout)
		defer cancel()
		early <- e.dial(ctx, b.DatapathType)
	}()
}

// takeEarly waits for the connection that dialEarly has begun to open, if there
// is one.
func (e *enforcer) takeEarly() (d dialled) {
	if e.early != nil {
		d = <-e.early
		e.early = nil
	}
	return d
}

// connect sets the bridge up and connects to it: with the connection that was
// opened early, if it is still good, or a new one. Then it knows what is
// installed.
func (e *enforcer) connect(ctx context.Context, ports *vswitch.Snapshot) error {
	early := e.takeEarly()
	missing, err := e.prepare(ctx, prepareTimeout)
	if err != nil {
		early.close()
		return err
	}
	if e.takeover == takenOver {
		e.drifted(missing)
	}
	e.watch.doubt = ""
	d := early
	if datapathType := ports.Bridge.DatapathType; !early.good(datapathType) {
		early.close()
		if d = e.dial(ctx, datapathType); d.err != nil {
			return d.err
		}
	}
	e.conn, e.noFlood, e.installed, e.foreign = d.conn, nil, d.installed, d.foreign
	e.watch.lookedAt, e.watch.took = time.Now(), time.Since(d.at)
	if e.believed != nil && e.installed.Len() > 0 {
		e.flowsDrifted(e.watch.compare(e.believed, e.installed, e.foreign))
	}
	e.believed, e.watch.told = nil, false
	e.smallFragments(ctx, ports)
	return nil
}

// smallFragments asks a switch that has just started for small fragments. If it does
// not take them, nothing is lost but these.
func (e *enforcer) smallFragments(ctx context.Context, ports *vswitch.Snapshot) {
	e.fragments = ""
	if e.cfg.Daemon == nil || !e.quirks(ports).HoldsFragments {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	if err := e.cfg.Daemon.SmallFragments(ctx, ports.Bridge.DatapathType); err != nil {
		e.fragments = fragmentsNote + ": " + err.Error()
		e.log.Warn(fragmentsNote, zap.Error(err))
	}
}

const fragmentsNote = "small fragments (before the last: less than 1,200 bytes of IPv4, 1,280 of IPv6) do not pass"

// prepare sets the bridge up in OVSDB. It says what was missing.
func (e *enforcer) prepare(ctx context.Context, patience time.Duration) (missing []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch p, err := e.cfg.Database.Prepare(ctx); {
	case err == nil:
		if e.bridge != "" && e.bridge != p.UUID {
			missing = append(missing, "the bridge was deleted and added again")
		}
		e.prepared, e.refused, e.bridge = true, false, p.UUID
		return append(missing, p.Missing...), nil
	case !e.prepared:
		return nil, fmt.Errorf("prepare bridge %s in OVSDB: %w", e.cfg.Bridge, err)
	default: // it has been set up before, and OVSDB may be away for long
		if !e.refused {
			e.log.Warn("bridge not prepared anew", zap.Error(err))
		}
		e.refused = true
		return nil, nil
	}
}

func (d dialled) close() {
	if d.conn != nil {
		d.conn.Close()
	}
}

// good says whether a connection that was opened early can be used.
func (d dialled) good(datapathType string) bool {
	if d.conn == nil || d.datapathType != datapathType || time.Since(d.at) > earlyLife {
		return false
	}
	select {
	case <-d.conn.Done():
		return false
	default:
		return true
	}
}

// dial opens an OpenFlow connection and reads the flows that are there.
func (e *enforcer) dial(ctx context.Context, datapathType string) (d dialled) {
	conn, err := e.cfg.Dial(ctx, datapathType)
	if err != nil {
		return dialled{err: err}
	}
	d = dialled{conn: conn, datapathType: datapathType, at: time.Now()}
	if d.installed, d.foreign, d.err = conn.DumpAll(ctx); d.err != nil {
		d.close()
		d.conn = nil
	}
	return d
}

// FlowTables are the names and prefixes that the tables get in the switch.
func FlowTables() []vswitch.Table {
	var out []vswitch.Table
	for _, t := range flows.Tables() {
		out = append(out, vswitch.Table{ID: uint8(t), Name: t.String(), Prefixes: t.Prefixes()})
	}
	return out
}
