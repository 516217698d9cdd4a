package ovsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/ovn-kubernetes/libovsdb/model"
	"go.uber.org/zap"
)

// Model is a pointer to a struct that stands for one row. The tag of each
// field names its column: `ovsdb:"name"`; one field of type string has the tag
// `ovsdb:"_uuid"`. The types are those of libovsdb: string, int, bool and
// float64, a pointer for an optional value, a slice for a set, a map for a
// map, a string for a reference.
//
// A Model may have the methods CloneModel() Model and CloneModelInto(Model);
// without them libovsdb copies rows by way of JSON, which is slow.
type Model = model.Model

// Config says which tables of which database a Client copies.
type Config struct {
	// Endpoint is where the server listens: unix:PATH or tcp:HOST:PORT
	// (ovsdb(7), "Connection Methods").
	Endpoint string
	// Database is the name of the database, such as Open_vSwitch.
	Database string
	// Tables has a Model for each table. All columns that the Models name are
	// monitored; the server's schema must have them.
	Tables map[string]Model
	// Logger may be nil.
	Logger *zap.Logger

	probeInterval time.Duration // 0 means probeInterval
	longestDelay  time.Duration // between attempts; 0 means maxBackoff
}

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second

	// connectTimeout bounds dialing together with the initial contents.
	connectTimeout = 30 * time.Second

	// probeInterval is how often the server is asked for a sign of life. The
	// server has four times as long to answer: a server that is busy with a
	// big transaction answers nobody.
	probeInterval = 2 * time.Second
)

// ErrNotConnected means that there was no connection with the server before
// the caller's context ended.
var ErrNotConnected = errors.New("not connected to ovsdb-server")

// Client copies tables of one database. Create it with New, start it with Run.
// Its methods may be called from any goroutine.
type Client struct {
	config   Config
	endpoint string // as libovsdb wants it
	database model.ClientDBModel
	columns  map[string][]string // by table

	mu        sync.Mutex
	current   *session      // nil when there is none
	lastError error         // see Status
	changed   chan struct{} // closed and replaced when current or lastError changes
}

// Status is the state of the connection.
type Status struct {
	// Connected tells whether there is a connection with the initial contents
	// complete. A server that hangs is noticed within 10 seconds.
	Connected bool
	// LastError is why the last connection, or the last attempt at one, ended;
	// nil if none ever did. It stays set after a reconnect.
	LastError error
}

// New checks the configuration. It does not connect.
func New(config Config) (*Client, error) {
	endpoint, err := parseEndpoint(config.Endpoint)
	if err != nil {
		return nil, err
	}
	config.probeInterval = cmp.Or(config.probeInterval, probeInterval)
	config.longestDelay = cmp.Or(config.longestDelay, maxBackoff)
	config.Logger = cmp.Or(config.Logger, zap.NewNop())
	database, err := model.NewClientDBModel(config.Database, config.Tables)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", config.Database, err)
	}
	return &Client{
		config: config, endpoint: endpoint, database: database, columns: columns(config.Tables),
		changed: make(chan struct{}),
	}, nil
}

// parseEndpoint checks an endpoint and writes it the way that libovsdb, which
// reads it as a URL, understands.
func parseEndpoint(endpoint string) (string, error) {
	network, address, _ := strings.Cut(endpoint, ":")
	if address == "" || network != "unix" && network != "tcp" {
		return "", fmt.Errorf("endpoint %q: want unix:PATH or tcp:HOST:PORT", endpoint)
	}
	if network == "tcp" {
		return endpoint, nil
	}
	path, err := filepath.Abs(address)
	if err != nil {
		return "", fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	return (&url.URL{Scheme: network, Path: path}).String(), nil
}

// columns lists the columns that the models name, by table.
func columns(tables map[string]Model) map[string][]string {
	out := map[string][]string{}
	for table, m := range tables {
		typ := reflect.TypeOf(m).Elem()
		for i := range typ.NumField() {
			if name := typ.Field(i).Tag.Get("ovsdb"); name != "" && name != "_uuid" {
				out[table] = append(out[table], name)
			}
		}
	}
	return out
}

// Run connects, follows the tables and reconnects, until ctx ends; it returns
// ctx.Err(). A server that is absent, goes away or talks nonsense is logged
// and tried again after 50 ms, growing to 1 s. Run may run once at a time.
//
// Run calls changed, one call after the other, when a connection has its
// initial contents and then whenever the copy may have changed. The first
// update of a storm leads to a call at once; the next ones are gathered for as
// long as the call took, 10 ms at the most.
func (c *Client) Run(ctx context.Context, changed func()) error {
	for delay, complaint := minBackoff, ""; ; {
		connected, err := c.follow(ctx, changed)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if connected {
			delay, complaint = minBackoff, ""
		}
		if text := err.Error(); text != complaint { // once, not every second
			c.config.Logger.Warn("no connection to ovsdb-server, will keep trying", zap.Error(err))
			complaint = text
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
			delay = min(2*delay, c.config.longestDelay)
		}
	}
}

// follow runs one connection until it ends. connected tells whether the
// initial contents were read.
func (c *Client) follow(ctx context.Context, changed func()) (connected bool, err error) {
	s, err := c.connect(ctx)
	if err == nil {
		c.setCurrent(s, nil)
		c.config.Logger.Info("connected to ovsdb-server", zap.String("endpoint", c.config.Endpoint))
		err = s.watch(changed)
	}
	c.setCurrent(nil, err)
	return s != nil, err
}

// setCurrent makes s the connection in use, or none for the reason err.
func (c *Client) setCurrent(s *session, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = s
	if err != nil && !errors.Is(err, context.Canceled) { // that is Run's end
		c.lastError = err
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// Status returns the state of the connection.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{Connected: c.current != nil, LastError: c.lastError}
}

// session waits for a connection.
func (c *Client) session(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		s, changed, err := c.current, c.changed, c.lastError
		c.mu.Unlock()
		if s != nil && s.ctx.Err() == nil {
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
