package vswitch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/ovsdb"
)

// Config says what a Client follows.
type Config struct {
	// Endpoint is where ovsdb-server listens: unix:PATH, usually
	// unix:/run/openvswitch/db.sock, or tcp:HOST:PORT.
	Endpoint string
	// Bridge is the name of the bridge. It need not exist yet.
	Bridge string
	// Uplinks are names of interfaces or ports (bonds) that are trusted
	// infrastructure whatever else is known about them.
	Uplinks []string
	// Physical tells whether a network device is a physical one. Nil means
	// the function Physical of this package.
	Physical func(name string) bool
	// MaxOFPort is the highest OpenFlow port on which policy can be enforced.
	// 0 means that there is no limit.
	MaxOFPort int
	// Exclusive says that one such Client at a time may change the bridge, by a
	// lock in the server: see Bridge.Taken.
	Exclusive bool
	// Tables are the OpenFlow tables that Prepare names.
	Tables []Table
	// Logger may be nil.
	Logger *zap.Logger
}

// ErrNoBridge means that the database has no bridge of the configured name.
var ErrNoBridge = errors.New("no such bridge")

// Status is the state of the connection with ovsdb-server.
type Status = ovsdb.Status

// Client follows one bridge. Create it with New, start it with Run. Its
// methods may be called from any goroutine.
type Client struct {
	config    Config
	db        *ovsdb.Client
	lock      *ovsdb.Lock // nil: none is needed
	snapshots chan Snapshot
	owed      atomic.Bool // ovs-vswitchd may not have applied what Prepare wrote

	mu      sync.Mutex
	last    Snapshot // the last one delivered; Seq is 0 if none was
	applied cfg
	moved   chan struct{} // closed and replaced when applied changes
}

// cfg is how far ovs-vswitchd has come: writers raise next_cfg, and ovs-vswitchd
// sets cur_cfg to next_cfg once the configuration is applied
// (ovs-vswitchd.conf.db(5)).
type cfg struct{ cur, next int }

// New checks the configuration. It does not connect.
func New(config Config) (*Client, error) {
	if config.Bridge == "" {
		return nil, errors.New("bridge: name is empty")
	}
	if err := checkTables(config.Tables); err != nil {
		return nil, err
	}
	if config.Physical == nil {
		config.Physical = Physical
	}
	config.Uplinks = slices.Clone(config.Uplinks)
	if config.Logger != nil {
		config.Logger = config.Logger.With(zap.String("bridge", config.Bridge))
	}
	db, err := ovsdb.New(ovsdb.Config{Endpoint: config.Endpoint, Database: database, Tables: tables(), Logger: config.Logger})
	if err != nil {
		return nil, err
	}
	c := &Client{config: config, db: db, snapshots: make(chan Snapshot, 1), moved: make(chan struct{})}
	if config.Exclusive {
		if c.lock, err = ovsdb.NewLock(config.Endpoint, "ovs-sg "+config.Bridge); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// lockPatience is how long the lock is waited for at the beginning, so that the
// first snapshot tells whose the bridge is.
const lockPatience = 500 * time.Millisecond

// Run connects, follows the bridge and reconnects, until ctx ends; it returns
// ctx.Err(). A server that is absent, goes away or talks nonsense is logged
// and tried again after 50 ms, growing to 1 s. Run may run once at a time.
func (c *Client) Run(ctx context.Context) error {
	if c.lock != nil {
		locking, stop := context.WithCancel(ctx)
		answered, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			first := sync.OnceFunc(func() { close(answered) })
			_ = c.lock.Run(locking, func() { first(); c.publish() })
		}()
		defer func() { stop(); <-ended }()
		select {
		case <-answered:
		case <-time.After(lockPatience):
		case <-ctx.Done():
		}
	}
	return c.db.Run(ctx, func() { c.publish() })
}

// publish builds the snapshot of now and delivers it if it differs from the
// last one. It returns the number of the snapshot that shows the present; ok
// is false when there is no connection.
func (c *Client) publish() (seq uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.db.Picture()
	if !ok {
		return 0, false
	}
	for _, root := range ovsdb.All[rootRow](p, rootTable) { // exactly one
		if now := (cfg{root.CurCfg, root.NextCfg}); now != c.applied {
			c.applied = now
			close(c.moved)
			c.moved = make(chan struct{})
		}
	}
	snap := newSnapshot(p, c.config)
	snap.Bridge.Taken = c.lock != nil && c.lock.State() != ovsdb.LockHeld
	if c.last.Seq > 0 && c.last.Equal(snap) {
		return c.last.Seq, true
	}
	snap.Seq = c.last.Seq + 1
	c.last = snap
	select {
	case <-c.snapshots: // nobody took the one before: the newest wins
	default:
	}
	c.snapshots <- snap // only publish sends, so there is room
	return snap.Seq, true
}

// Snapshots delivers the picture of the bridge, first when the initial
// contents are complete and then whenever it has changed. It holds one: a
// slow receiver misses those between, never the newest. It is never closed.
// While the connection is down the last picture stays the best known.
func (c *Client) Snapshots() <-chan Snapshot { return c.snapshots }

// Status returns the state of the connection.
func (c *Client) Status() Status { return c.db.Status() }

// Sync returns the Seq of a snapshot that shows every transaction that was
// committed before the call. That snapshot, or a newer one, has been
// delivered on Snapshots when Sync returns, unless it is the picture that was
// delivered last. It waits for a connection if there is none, and starts again
// on the next one if one breaks. It fails when ctx ends, or with the server's
// refusal.
func (c *Client) Sync(ctx context.Context) (seq uint64, err error) {
	for {
		if err := c.db.Sync(ctx); err != nil {
			return 0, err
		}
		if seq, ok := c.publish(); ok {
			return seq, nil
		}
	}
}

// WaitApplied returns when ovs-vswitchd has applied the configuration as it was
// committed before the call: cur_cfg is not less than next_cfg was then. It fails
// only when ctx ends, for example because ovs-vswitchd does not run. Writers that
// do not raise next_cfg, such as ovs-vsctl --no-wait, are not waited for.
func (c *Client) WaitApplied(ctx context.Context) error {
	if _, err := c.Sync(ctx); err != nil {
		return err
	}
	now := func() (cfg, <-chan struct{}) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.applied, c.moved
	}
	at, moved := now()
	for want := at.next; at.cur < want; at, moved = now() {
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for ovs-vswitchd: cur_cfg is %d, want %d: %w", at.cur, want, ctx.Err())
		}
	}
	return nil
}
