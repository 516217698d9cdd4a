package controller

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Switch is an OpenFlow connection to the bridge.
type Switch interface {
	// DumpAll returns the agent's flows and those of others.
	DumpAll(context.Context) (ours, foreign *flows.Set, err error)
	// Apply makes a change as one atomic bundle; after an error nothing or
	// all of the change is in force.
	Apply(context.Context, flows.Delta) error
	// Barrier returns when the switch has done everything that was requested
	// before.
	Barrier(context.Context) error
	// NoFlood sets for each ofport whether NORMAL is kept from flooding to it.
	NoFlood(ctx context.Context, ports map[uint32]bool) error
	// CheckNoFlood says in words for which ports that is not set so.
	CheckNoFlood(ctx context.Context, ports map[uint32]bool) ([]string, error)
	// FlushZone forgets the connections of a conntrack zone.
	FlushZone(ctx context.Context, zone uint16) error
	// FlushAddr forgets the connections of a zone from or to an address. The
	// error wraps errors.ErrUnsupported where the switch cannot do it.
	FlushAddr(ctx context.Context, zone uint16, addr netip.Addr) error
	// Version is that of Open vSwitch, such as 3.1.0, in its own words.
	Version() string
	// Nudge makes the switch translate all megaflows anew.
	Nudge(context.Context) error
	// Watched reports whether Foreign tells of changes by others.
	Watched() bool
	// Foreign receives after somebody else has changed flows in the tables of
	// the pipeline.
	Foreign() <-chan struct{}
	// Counts returns the number of flows, anybody's, in each table of the
	// pipeline.
	Counts(context.Context) ([]int, error)
	// PortStatus receives after a port has come, gone or changed.
	PortStatus() <-chan struct{}
	// Done is closed when the connection is dead.
	Done() <-chan struct{}
	Close() error
}

// Daemon is what only the control socket of ovs-vswitchd can do.
type Daemon interface {
	// Describe returns the version of Open vSwitch, such as 3.1.0, and what
	// the datapath of the bridge can do, as dpif/show-dp-features says it;
	// empty if there is no such bridge yet.
	Describe(context.Context) (version, features string, err error)
	// FlushFDB makes NORMAL forget the MAC addresses that it has learned.
	FlushFDB(context.Context) error
	// Turn returns when the main loop has begun another turn, and so has told
	// the threads that make megaflows of every change of flows before.
	Turn(context.Context) error
	// AwaitRound returns when a round of the revalidators has ended; during
	// the wait nudge is called once, to wake them, and wake again and again,
	// to wake the main loop. The error wraps errors.ErrUnsupported where
	// ovs-vswitchd cannot wait.
	AwaitRound(ctx context.Context, nudge, wake func(context.Context) error) error
	// Purge throws all megaflows away.
	Purge(context.Context) error
	// LimitConnections limits the connections of each zone of the datapath; 0:
	// no limit. Those that there are stay.
	LimitConnections(ctx context.Context, datapathType string, limits map[uint16]uint32) error
	// FullZones returns the zones that have as many connections as they may
	// have, in order.
	FullZones(ctx context.Context, datapathType string) ([]uint16, error)
	// SmallFragments makes the connection tracking of a userspace datapath take
	// fragments as small as it can, and makes sure that it does.
	SmallFragments(ctx context.Context, datapathType string) error
}

// Database is the bridge in OVSDB.
type Database interface {
	// Snapshots returns the channel of snapshots. A snapshot that was not
	// received is replaced by the next.
	Snapshots() <-chan vswitch.Snapshot
	// Sync returns the Seq of a snapshot that shows everything that was
	// committed before the call.
	Sync(context.Context) (seq uint64, err error)
	// Prepare sets the bridge up for flows: its fail mode and the names and
	// prefixes of the tables. It returns when ovs-vswitchd has applied that.
	Prepare(context.Context) (vswitch.Prepared, error)
	// Status tells how the connection to the database is.
	Status() vswitch.Status
}

// Config is what a Controller works with. All but Daemon, Policy and what
// follows must be set.
type Config struct {
	Bridge   string
	Source   policy.Source
	Database Database
	// Dial opens the OpenFlow connection, given the bridge's datapath_type.
	Dial   func(ctx context.Context, datapathType string) (Switch, error)
	Daemon Daemon
	Policy policy.Options
	// MaxConnections is how many connections with the outside a VM port may have
	// at a time; 0: any number.
	MaxConnections uint32
	// Salt is as in compile.Compiler; 0: none.
	Salt uint16
	// DHCPServers are as in flows.Host.
	DHCPServers []netip.Addr
	// MaxRevoke is the share (0 to 1) of the rules in force that a change of
	// policy may remove without being held; 0: no change is ever held.
	MaxRevoke float64
	Logger    *zap.Logger
	// ApplyTimeout bounds what is asked of the switch before compiling, and
	// again what is asked after it; a minute if zero. Compiling takes as long as
	// it takes.
	ApplyTimeout time.Duration

	compiling func() // for tests: called before each compilation, if set
}

// phase is what the loop knows of the newest inputs.
type phase uint8

const (
	// starting: the policy or the ports have not been seen yet. Nothing is
	// written to the switch.
	starting phase = iota
	// changed: something may have to be done; the loop does it next.
	changed
	// failed: the last attempt failed. The retry timer, or an input, begins
	// the next.
	failed
	// settled: the newest inputs are in force, confirmed by the switch; or the
	// newest policy is held and the one before it is in force.
	settled
)

// Controller is the loop. Use New, then Run.
type Controller struct {
	cfg Config
	log *zap.Logger

	calls     chan func()   // functions that other goroutines have the loop run: see do
	ended     chan struct{} // closed when Run has returned
	enforcing chan struct{} // closed when the first policy is in force
	first     sync.Once     // to close enforcing

	// lastStatus is what the loop said last. Status reads it while the loop is
	// busy.
	lastStatus atomic.Pointer[control.Status]

	// What follows belongs to the goroutine of Run.
	phase    phase
	source   *sourceState      // nil: no update yet
	ports    *vswitch.Snapshot // nil: no snapshot yet
	host     host              // of ports
	desired  desired
	enforcer enforcer
	waits    waits
	asks     []ask // for the status, not yet answered
	history  history

	retry   *time.Timer
	look    *time.Timer // ends the pause before the switch is read back again
	backoff time.Duration
	lastErr string // of the last attempt; empty in phase settled
}

// sourceState is the state of the source in its last update.
type sourceState struct {
	seq  uint64
	err  string // why the source cannot be read; empty if it can
	held string // why the source holds back what it reads; empty if it does not
}

// New makes a controller that does nothing yet.
func New(cfg Config) *Controller {
	if cfg.ApplyTimeout == 0 {
		cfg.ApplyTimeout = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Controller{
		cfg: cfg, log: cfg.Logger,
		calls:     make(chan func()),
		ended:     make(chan struct{}),
		enforcing: make(chan struct{}),
		desired:   newDesired(cfg),
		enforcer:  newEnforcer(cfg),
		waits:     waits{},
	}
}

const (
	firstBackoff = 20 * time.Millisecond
	// A switch that does not answer is asked often, so that it is not without
	// flows for long after a restart; one that refuses is left in peace.
	maxDialBackoff = 200 * time.Millisecond
	maxBackoff     = 5 * time.Second
)

// maxDrain is how many inputs are taken in before the loop works on them, if
// they follow each other without a pause: changes without end must not keep
// the changes before them from being enforced.
const maxDrain = 8

// Run works until ctx ends and returns its error. The flows stay in force.
func (c *Controller) Run(ctx context.Context) error {
	defer close(c.ended)
	c.retry, c.look = time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	c.retry.Stop()
	c.look.Stop()
	count := time.NewTicker(countInterval)
	defer count.Stop()
	defer c.enforcer.close()
	defer func() { c.waits.end(control.ErrStopping) }()
	for {
		var dead, portStatus, foreign <-chan struct{}
		if conn := c.enforcer.conn; conn != nil {
			dead, portStatus, foreign = conn.Done(), conn.PortStatus(), conn.Foreign()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case u := <-c.cfg.Source.Updates():
			c.takeUpdate(u)
		case s := <-c.cfg.Database.Snapshots():
			c.takePorts(ctx, s)
		case <-dead:
			c.disconnected(errors.New("the OpenFlow connection ended"))
		case <-portStatus:
			c.portsMoved()
		case <-foreign:
			c.toldForeign()
		case <-count.C:
			c.watch(ctx)
		case <-c.look.C:
			c.change()
		case <-c.retry.C:
			c.change()
		case f := <-c.calls:
			f()
		}
		c.drain(ctx)
		if c.phase == changed {
			c.reconcile(ctx)
		}
		c.answer()
	}
}

// drain takes the inputs that are there already.
func (c *Controller) drain(ctx context.Context) {
	for range maxDrain {
		select {
		case u := <-c.cfg.Source.Updates():
			c.takeUpdate(u)
		case s := <-c.cfg.Database.Snapshots():
			c.takePorts(ctx, s)
		default:
			return
		}
	}
}

// do runs f in the loop and returns when f has returned. The error is that of
// ctx, or that the loop has ended; f has not run then.
func (c *Controller) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case c.calls <- func() { f(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
		return control.ErrStopping
	}
}

// change says that something may have to be done.
func (c *Controller) change() {
	if c.source != nil && c.ports != nil {
		c.phase = changed
	}
}

// takeUpdate applies an update of the source.
func (c *Controller) takeUpdate(u policy.Update) {
	if u.Restored {
		c.desired.restore(u.Changes)
		return
	}
	first, now := c.source == nil, &sourceState{seq: u.Seq, held: u.Held}
	if u.Err != nil {
		now.err = u.Err.Error()
	}
	c.source = now
	if !first && len(u.Changes) == 0 {
		c.unchanged()
		return
	}
	c.history.revisions(u.Changes)
	c.history.begin(u.Since)
	c.desired.add(u.Changes)
	c.change()
}

// takePorts applies a snapshot of OVSDB.
func (c *Controller) takePorts(ctx context.Context, s vswitch.Snapshot) {
	before := c.ports
	c.ports = &s
	if before != nil && before.Equal(s) {
		c.unchanged()
		return
	}
	was := c.host
	c.host = newHost(s)
	if before != nil {
		c.history.ports(was, c.host)
	}
	if c.source == nil {
		c.enforcer.dialEarly(ctx, s.Bridge)
	}
	c.history.begin(time.Now())
	c.change()
}

// unchanged counts an input that changes nothing as being in force, if
// everything else is.
func (c *Controller) unchanged() {
	if c.phase == settled {
		c.tellSource()
		c.confirm()
	}
}

// reconcile makes the switch enforce the newest inputs, or sees to it that
// this is tried again.
func (c *Controller) reconcile(ctx context.Context) {
	if !c.ports.Bridge.Exists {
		c.enforcer.disconnect()
		c.phase, c.lastErr = failed, "bridge "+c.cfg.Bridge+" does not exist"
		return
	}
	if c.ports.Bridge.Taken {
		c.enforcer.disconnect()
		reason := "another agent enforces on bridge " + c.cfg.Bridge + ": it holds the lock in OVSDB; waiting until it ends"
		if reason != c.lastErr {
			c.log.Warn(reason)
		}
		c.phase, c.lastErr = failed, reason
		return
	}
	made, err := c.enforcer.apply(ctx, &c.desired, c.ports, c.host)
	c.enforcer.activity.end()
	c.tellSource()
	if err == nil {
		c.phase, c.backoff, c.lastErr = settled, 0, ""
		log := c.log
		if made.repaired {
			if len(c.history.what) == 0 && c.enforcer.watch.fought() {
				log = zap.NewNop() // it has been said that there is no end
			}
			c.history.note("what somebody else changed")
			c.history.begin(c.enforcer.watch.last.Time)
		}
		c.history.report(log, made, c.enforcer.installed.Len(), c.desired.held != nil)
		c.first.Do(func() { close(c.enforcing) })
		c.confirm()
		return
	}
	c.phase = failed
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	c.history.failed++
	if err.Error() != c.lastErr {
		c.log.Error("apply", zap.Error(err))
	}
	limit := maxBackoff
	if c.enforcer.conn == nil {
		limit = maxDialBackoff
	}
	c.enforcer.disconnect()
	c.lastErr = err.Error()
	c.backoff = min(max(2*c.backoff, firstBackoff), limit)
	c.retry.Reset(c.backoff)
}

// confirm notes that the newest inputs are in force and tells the waits.
func (c *Controller) confirm() {
	c.waits.done = progress{c.source.seq, c.ports.Seq}
	c.completeWaits()
}

// tellSource tells the source that all its updates are enforced, unless some wait
// for the switch or are held. A change that the switch did not confirm counts,
// too: part of it may be in force, and a restart must not weigh it again.
func (c *Controller) tellSource() {
	if len(c.desired.pending) == 0 {
		c.cfg.Source.Enforced(c.source.seq)
	}
}

// disconnected gives a connection up that is no good any more.
func (c *Controller) disconnected(err error) {
	c.enforcer.disconnect()
	c.log.Warn("switch", zap.Error(err))
	c.lastErr = err.Error()
	c.change()
}

// Settled is closed when the first policy is in force.
func (c *Controller) Settled() <-chan struct{} { return c.enforcing }

// held says why the newest policy is held, by the source or by the guard; nil if it
// is not.
func (c *Controller) held() *control.Held {
	var held control.Held
	if c.desired.held != nil {
		held = *c.desired.held
	}
	if c.source != nil && c.source.held != "" {
		reason := c.cfg.Source.String() + ": " + c.source.held + "; what was in force stays in force"
		if held.Reason != "" {
			reason += "; and " + held.Reason
		}
		held.Reason = reason
	}
	if held.Reason == "" {
		return nil
	}
	return &held
}

// Release confirms the change of policy that is held. The error says that
// nothing is, or is that of ctx.
func (c *Controller) Release(ctx context.Context) error {
	released, err := c.cfg.Source.Release(ctx)
	if err != nil {
		return err
	}
	if e := c.do(ctx, func() {
		if err = c.desired.release(); err != nil {
			if released {
				err = nil
			}
			return
		}
		c.log.Info("change of policy released")
		c.history.note("release")
		c.history.begin(time.Now())
		c.change()
	}); e != nil {
		return e
	}
	return err
}
