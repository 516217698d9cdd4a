package controller

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/ovsdb"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Switch is the bridge's OpenFlow side.
type Switch interface {
	// DumpAll returns our flows and those of others.
	DumpAll(context.Context) (ours, foreign *flows.Set, err error)
	// Apply makes a change as one atomic bundle; after an error nothing or
	// all of it is in force.
	Apply(context.Context, flows.Delta) error
	// Barrier returns when the switch has done all that was asked before.
	Barrier(context.Context) error
	// NoFlood sets for each ofport whether NORMAL floods to it.
	NoFlood(ctx context.Context, ports map[uint32]bool) error
	// FlushZone forgets the connections of a zone, FlushAddr those in it
	// from or to an address. FlushAddr may return errors.ErrUnsupported.
	FlushZone(ctx context.Context, zone uint16) error
	FlushAddr(ctx context.Context, zone uint16, addr netip.Addr) error
	// PortStatus receives after a port has come, gone or changed.
	PortStatus() <-chan struct{}
	// Done is closed when the connection is dead.
	Done() <-chan struct{}
	Close() error
}

// Daemon is what only ovs-vswitchd's control socket can do.
type Daemon interface {
	// FlushFDB makes NORMAL forget the MAC addresses it has learned.
	FlushFDB(context.Context) error
	// Settle returns when no megaflow is older than the flows in force;
	// purge throws all megaflows away instead of revalidating them.
	Settle(ctx context.Context, purge bool) error
}

// Files says what has changed in the policy directory; the first time, that is
// every file.
type Files struct {
	Seq     uint64
	Changes []policy.FileChange
	// Since is when the first event came in that led to this.
	Since time.Time
	// Err says that the directory cannot be read.
	Err string
}

// Store keeps the accepted versions of files across restarts.
type Store interface {
	// Files returns the copies that were kept, once.
	Files() []policy.File
	Save(changed []policy.File, removed []string) error
}

// Config is what a Controller works with. All but Store, Daemon,
// PortsError and the policy options must be set.
type Config struct {
	Bridge string
	Files  <-chan Files
	Ports  <-chan ovsdb.Snapshot
	// SyncFiles and SyncPorts return the sequence number of a snapshot that
	// holds everything that happened before the call.
	SyncFiles, SyncPorts func(context.Context) (uint64, error)
	// PortsError says why Ports may be out of date; "" if they are not.
	PortsError func() string
	// Prepare sets the bridge up before flows are installed.
	Prepare func(context.Context) error
	// Dial opens the OpenFlow connection, given the bridge's datapath_type.
	Dial   func(ctx context.Context, datapathType string) (Switch, error)
	Daemon Daemon
	Store  Store
	Policy policy.Options
	// MaxRevoke is the share (0 to 1) of the rules in force that a change of
	// policy may remove without being held; 0: no change is ever held.
	MaxRevoke float64
	Logger    *zap.Logger
	// ApplyTimeout bounds one round with the switch; a minute if zero.
	ApplyTimeout time.Duration
}

// Controller is the loop. Use New, then Run.
type Controller struct {
	cfg Config
	log *zap.Logger

	requests  chan request
	releases  chan chan error
	read      chan reading
	saves     chan []policy.RevisionChange
	statuses  chan ask
	enforcing chan struct{} // closed when the first policy is in force

	// For those who ask while the loop is busy: since when it has been, in
	// Unix nanoseconds, 0 if it is not, and what it said last.
	busySince  atomic.Int64
	lastStatus atomic.Pointer[Status]

	// What follows belongs to the goroutine of Run.
	files    *Files                  // without the changes
	ledger   policy.Ledger           // not to be used while reading
	reading  bool                    // the first files are being read
	stored   []string                // names of what was in the store
	accepted []policy.RevisionChange // not yet in book
	unsaved  []policy.RevisionChange // not yet in the store
	book     *policy.Book
	guarded  bool // what book has is to be guarded against mass revocation
	released bool // what is accepted was confirmed
	held     *Held
	ports    *ovsdb.Snapshot
	host     host

	conn      Switch
	noFlood   map[uint32]bool // as set over conn; nil: unknown
	infra     map[uint32]bool // the ports that NORMAL may have learned from; nil: unknown
	installed *flows.Set      // nil: unknown
	early     chan opened     // the first connection, while it is being opened
	compiler  *compile.Compiler
	adopted   bool // the compiler knows what was installed before a restart
	tookOver  bool // and what only the installed flows tell of is seen to
	prepared  bool // the bridge was set up once
	settled   bool // the datapath has followed the last change
	flushes   flushes

	dirty    bool // something may have to be done
	retry    *time.Timer
	backoff  time.Duration
	waiters  []request
	done     progress // confirmed by the switch
	lastErr  string
	failed   int
	applied  int
	change   Change
	lastWhat []string
	first    sync.Once // to close enforcing
}

// progress says which snapshots are in force.
type progress struct{ files, ports uint64 }

// request asks to be told when what happened before it is in force.
type request struct {
	ctx    context.Context
	at     progress
	result chan error
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
		requests:  make(chan request),
		releases:  make(chan chan error),
		read:      make(chan reading, 1),
		saves:     make(chan []policy.RevisionChange, 1),
		statuses:  make(chan ask),
		enforcing: make(chan struct{}),
		book:      policy.NewBook(cfg.Policy),
		compiler:  compile.New(),
		flushes:   flushes{},
	}
}

const (
	firstBackoff = 20 * time.Millisecond
	// A switch that does not answer is asked often, so that it is not without
	// flows for long after a restart; one that refuses is left in peace.
	maxDialBackoff = 200 * time.Millisecond
	maxBackoff     = 5 * time.Second
)

// Run works until ctx ends and returns its error. The flows stay in force.
func (c *Controller) Run(ctx context.Context) error {
	c.retry = time.NewTimer(time.Hour)
	c.retry.Stop()
	if c.cfg.Store != nil {
		c.restore(c.cfg.Store.Files())
		var saving sync.WaitGroup
		saving.Go(c.keepSaving)
		defer func() {
			close(c.saves)
			saving.Wait()
		}()
	}
	defer func() {
		early := c.takeEarly()
		early.close()
		if c.conn != nil {
			c.conn.Close()
		}
		for _, w := range c.waiters {
			w.result <- errors.New("the agent is stopping")
		}
	}()
	for {
		var dead, portStatus <-chan struct{}
		if c.conn != nil {
			dead, portStatus = c.conn.Done(), c.conn.PortStatus()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case f := <-c.news():
			c.takeFiles(f)
		case r := <-c.read:
			c.filed(r)
		case p := <-c.cfg.Ports:
			c.takePorts(ctx, p)
		case <-dead:
			c.drop(errors.New("the OpenFlow connection ended"))
		case <-portStatus:
			// A port that was removed and added again may look the same in
			// OVSDB, but has lost its configuration.
			c.noFlood, c.dirty = nil, true
		case <-c.retry.C:
			c.dirty = true
		case r := <-c.requests:
			c.waiters = append(c.waiters, r)
			c.answer()
		case answer := <-c.releases:
			answer <- c.release()
		case s := <-c.statuses:
			now := c.status(s.all)
			c.lastStatus.Store(&now)
			s.answer <- now
		}
		// Take all that is there before working on it.
		c.drain(ctx)
		if c.dirty {
			c.round(ctx)
		}
		c.save()
	}
}

func (c *Controller) drain(ctx context.Context) {
	for range maxDrain {
		select {
		case f := <-c.news():
			c.takeFiles(f)
		case r := <-c.read:
			c.filed(r)
		case p := <-c.cfg.Ports:
			c.takePorts(ctx, p)
		default:
			return
		}
	}
}

// maxDrain is how much news is waited for that comes while other news is taken
// in: changes without end must not keep those before from being enforced.
const maxDrain = 8

func (c *Controller) takePorts(ctx context.Context, p ovsdb.Snapshot) {
	before := c.ports
	c.ports = &p
	if before != nil && sameBridge(*before, p) {
		c.unchanged()
		return
	}
	was := c.host
	c.host = newHost(p)
	if before != nil {
		c.notePorts(was)
	}
	c.openEarly(ctx)
	c.change.begin(time.Now())
	c.dirty = true
}

// sameBridge says whether two snapshots differ in nothing that flows depend
// on.
func sameBridge(a, b ovsdb.Snapshot) bool {
	a.CurCfg, a.NextCfg = b.CurCfg, b.NextCfg
	return a.Equal(b)
}

// unchanged counts a snapshot that changes nothing as being in force, if
// everything else is.
func (c *Controller) unchanged() {
	if c.conn != nil && !c.dirty && c.lastErr == "" && c.files != nil && c.ports != nil {
		c.done = progress{c.files.Seq, c.ports.Seq}
		c.answer()
	}
}

// drop gives the connection up; what is installed is unknown from here on.
func (c *Controller) drop(err error) {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
	c.installed, c.noFlood, c.infra = nil, nil, nil
	if err != nil {
		c.log.Warn("switch", zap.Error(err))
		c.lastErr = err.Error()
	}
	c.dirty = true
}

// round brings the switch up to date, or sees to it that it is tried again.
func (c *Controller) round(ctx context.Context) {
	if c.files == nil || c.ports == nil {
		c.dirty = false
		return
	}
	if !c.ports.Bridge.Exists {
		c.lastErr, c.dirty = "bridge "+c.cfg.Bridge+" does not exist", false
		c.drop(nil)
		c.dirty = false
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ApplyTimeout)
	defer cancel()
	c.busySince.Store(time.Now().UnixNano())
	err := c.apply(ctx)
	c.busySince.Store(0)
	c.dirty = false
	if err == nil {
		c.backoff, c.lastErr = 0, ""
		c.first.Do(func() { close(c.enforcing) })
		c.done = progress{c.files.Seq, c.ports.Seq}
		c.answer()
		return
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	c.failed++
	if err.Error() != c.lastErr {
		c.log.Error("apply", zap.Error(err))
	}
	limit := maxBackoff
	if c.conn == nil {
		limit = maxDialBackoff
	}
	c.drop(nil)
	c.lastErr, c.dirty = err.Error(), false
	c.backoff = min(max(2*c.backoff, firstBackoff), limit)
	c.retry.Reset(c.backoff)
}

// answer tells those who wait for what is in force now.
func (c *Controller) answer() {
	var rest []request
	for _, w := range c.waiters {
		switch {
		case w.ctx.Err() != nil:
			w.result <- w.ctx.Err()
		case c.held != nil && !c.dirty && c.done.files >= w.at.files:
			w.result <- errHeld
		case c.conn != nil && !c.dirty && c.done.files >= w.at.files && c.done.ports >= w.at.ports:
			c.busySince.Store(time.Now().UnixNano())
			err := c.conn.Barrier(w.ctx)
			c.busySince.Store(0)
			if err != nil && w.ctx.Err() == nil {
				c.drop(err)
				c.retry.Reset(firstBackoff)
				rest = append(rest, w)
				continue
			}
			w.result <- err
		default:
			rest = append(rest, w)
		}
	}
	c.waiters = rest
}

// Settled is closed when the first policy is in force.
func (c *Controller) Settled() <-chan struct{} { return c.enforcing }

// Release confirms the change of policy that is held.
func (c *Controller) Release(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case c.releases <- answer:
		return <-answer
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wait returns when everything that happened in the policy directory and in
// OVSDB before the call is in force, confirmed by a barrier.
func (c *Controller) Wait(ctx context.Context) error {
	var at progress
	var err error
	if at.files, err = c.cfg.SyncFiles(ctx); err != nil {
		return err
	}
	if at.ports, err = c.cfg.SyncPorts(ctx); err != nil {
		return err
	}
	r := request{ctx, at, make(chan error, 1)}
	select {
	case c.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
