package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
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
	// ProbeInterval is how long the connection may be silent until the
	// server is asked for a sign of life. If none comes for as long again,
	// the client reconnects. 0 means 5 seconds.
	ProbeInterval time.Duration
	// Logger may be nil.
	Logger *zap.Logger

	longestDelay time.Duration // between attempts; 0 means maxBackoff
}

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second

	// connectTimeout bounds dialing together with the initial contents.
	connectTimeout = 30 * time.Second

	// minQuiet and maxQuiet bound the pause after a snapshot. The first
	// update of a storm is shown at once, the next are gathered for as long
	// as building a snapshot takes: building costs at most half the time.
	minQuiet = time.Millisecond
	maxQuiet = 10 * time.Millisecond
)

var (
	// ErrNoBridge is that the database has no bridge of the configured name.
	ErrNoBridge = errors.New("no such bridge")
	// ErrNotConnected is that there is no session with ovsdb-server and the
	// caller's context ended before there was one.
	ErrNotConnected = errors.New("not connected to ovsdb-server")
)

// Client follows one bridge. Create it with New, start it with Run. Its
// methods may be called from any goroutine.
type Client struct {
	config    Config
	log       *zap.Logger
	snapshots chan Snapshot

	mu      sync.Mutex
	running bool
	status  Status
	current *session      // nil when there is none
	last    *Snapshot     // the last one delivered
	changed chan struct{} // closed and replaced when one of these changes
}

// Status is the state of the connection.
type Status struct {
	// Connected tells whether there is a session with the initial contents
	// complete. A server that hangs is noticed within twice ProbeInterval.
	Connected bool
	// Since is when Connected took its present value.
	Since time.Time
	// LastError is why the last session, or the last attempt at one, ended;
	// nil if none ever did. It stays set after a reconnect.
	LastError error
	// LastErrorTime is when that was.
	LastErrorTime time.Time
}

// New checks the configuration. It does not connect.
func New(config Config) (*Client, error) {
	if _, _, err := parseEndpoint(config.Endpoint); err != nil {
		return nil, err
	}
	if config.Bridge == "" {
		return nil, errors.New("bridge: name is empty")
	}
	if config.ProbeInterval < 0 {
		return nil, fmt.Errorf("probe interval %v: negative", config.ProbeInterval)
	}
	if config.ProbeInterval == 0 {
		config.ProbeInterval = 5 * time.Second
	}
	if config.longestDelay == 0 {
		config.longestDelay = maxBackoff
	}
	if config.Physical == nil {
		config.Physical = Physical
	}
	config.Uplinks = slices.Clone(config.Uplinks)
	log := config.Logger
	if log == nil {
		log = zap.NewNop()
	}
	return &Client{
		config:    config,
		log:       log.With(zap.String("bridge", config.Bridge)),
		snapshots: make(chan Snapshot, 1),
		status:    Status{Since: time.Now()},
		changed:   make(chan struct{}),
	}, nil
}

// Run connects, follows the bridge and reconnects, until ctx ends; it returns
// ctx.Err(). A server that is absent, goes away or talks nonsense is logged
// and tried again after 50 ms, growing to 1 s. Run may run once at a time.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return errors.New("run: the client is running already")
	}
	c.running = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.running = false
		c.mu.Unlock()
	}()

	for delay, complaint := minBackoff, ""; ; {
		connected, err := c.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if connected {
			delay, complaint = minBackoff, ""
		}
		c.mu.Lock()
		c.status.LastError, c.status.LastErrorTime = err, time.Now()
		c.wake()
		c.mu.Unlock()
		if text := err.Error(); text != complaint { // once, not every second
			c.log.Warn("no connection to ovsdb-server, will keep trying", zap.Error(err))
			complaint = text
		}
		wait := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		case <-wait.C:
		}
		delay = min(2*delay, c.config.longestDelay)
	}
}

// follow runs one session. connected tells whether it came as far as to have
// the initial contents.
func (c *Client) follow(ctx context.Context) (connected bool, err error) {
	connecting, cancel := context.WithTimeout(ctx, connectTimeout)
	s, err := connect(connecting, c.config.Endpoint, c.config.ProbeInterval)
	cancel()
	if err != nil {
		return false, err
	}
	defer s.close()
	c.setCurrent(s)
	defer c.setCurrent(nil)
	c.log.Info("connected to ovsdb-server", zap.String("endpoint", c.config.Endpoint))

	probe := time.NewTicker(c.config.ProbeInterval)
	defer probe.Stop()
	gather := time.NewTimer(0)
	defer gather.Stop()
	<-gather.C
	for {
		select {
		case <-s.changed:
			started := time.Now()
			c.publish(s)
			gather.Reset(min(max(time.Since(started), minQuiet), maxQuiet))
			select {
			case <-gather.C:
			case <-s.done:
				return true, s.err
			case <-ctx.Done():
				return true, ctx.Err()
			}
		case <-probe.C:
			if err := s.sendProbe(); err != nil && !s.over() {
				return true, fmt.Errorf("probe ovsdb-server: %w", err)
			}
		case <-s.done:
			return true, s.err
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
}

// setCurrent makes s, or nothing, the session that others may use.
func (c *Client) setCurrent(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = s
	c.status.Connected, c.status.Since = s != nil, time.Now()
	c.wake()
}

// wake tells those who wait on changed. mu is held.
func (c *Client) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// publish builds the snapshot of now and delivers it if it is a new picture.
// It returns the number of the snapshot that shows it; ok is false when s is
// no longer the current session.
func (c *Client) publish(s *session) (seq uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != s {
		return 0, false
	}
	snap := s.snapshot(c.config.Bridge, c.config.Uplinks, c.config.Physical)
	if c.last != nil && c.last.Equal(snap) {
		return c.last.Seq, true
	}
	snap.Seq = 1
	if c.last != nil {
		snap.Seq = c.last.Seq + 1
	}
	c.last = &snap
	c.wake()
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

// Connected tells whether there is a working session with ovsdb-server.
func (c *Client) Connected() bool { return c.Status().Connected }

// Status tells how the connection is.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// session waits for a session.
func (c *Client) session(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		s, changed, err := c.current, c.changed, c.status.LastError
		c.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if err != nil {
				return nil, fmt.Errorf("%w: %w: %w", ErrNotConnected, ctx.Err(), err)
			}
			return nil, fmt.Errorf("%w: %w", ErrNotConnected, ctx.Err())
		}
	}
}
