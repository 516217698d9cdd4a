package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
)

// session is one connection: a libovsdb client with one monitor.
type session struct {
	db      client.Client
	cache   *cache.TableCache
	columns map[string][]string // by table
	bell    chan struct{}       // capacity 1: rings after an update
	// ctx ends with the session, and its cause says why. The calls on the
	// session end with it.
	ctx context.Context
	end context.CancelCauseFunc
}

var errClosed = errors.New("connection to ovsdb-server: closed by ovsdb-server")

// connect dials the server and returns when the initial contents are in the
// cache. The session ends with ctx at the latest.
func (c *Client) connect(ctx context.Context) (*session, error) {
	s := &session{columns: c.columns, bell: make(chan struct{}, 1)}
	s.ctx, s.end = context.WithCancelCause(ctx)
	log := logr.New(sink{end: s.end})
	db, err := client.NewOVSDBClient(c.database, client.WithEndpoint(c.endpoint), client.WithLogger(&log))
	if err != nil {
		s.end(err)
		return nil, err
	}
	s.db = db
	go func() {
		select {
		case <-db.DisconnectNotify():
			s.end(errClosed)
		case <-s.ctx.Done():
			db.Close() // waits for calls that write to a full socket
		}
	}()
	if err = s.start(c.config.Database); err == nil {
		err = context.Cause(s.ctx) // an update came at once and could not be applied
	}
	if err != nil {
		s.end(err)
		return nil, err
	}
	go s.probe(c.config.probeInterval)
	return s, nil
}

// start connects and reads the initial contents.
func (s *session) start(database string) error {
	ctx, cancel := context.WithTimeout(s.ctx, connectTimeout)
	defer cancel()
	if err := s.db.Connect(ctx); err != nil {
		if dial, ok := errors.AsType[*net.OpError](err); ok {
			err = dial // libovsdb says the endpoint twice
		}
		return fmt.Errorf("connect to ovsdb-server: %w", err)
	}
	if s.cache = s.db.Cache(); s.cache == nil {
		return errClosed
	}
	ring := func() {
		select {
		case s.bell <- struct{}{}:
		default:
		}
	}
	s.cache.AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, Model) { ring() },
		UpdateFunc: func(string, Model, Model) { ring() },
		DeleteFunc: func(string, Model) { ring() },
	})
	monitor := s.db.NewMonitor()
	for table, columns := range s.columns {
		monitor.Tables = append(monitor.Tables, client.TableMonitor{Table: table, Fields: columns})
	}
	if _, err := s.db.Monitor(ctx, monitor); err != nil {
		return fmt.Errorf("monitor database %s: %w", database, err)
	}
	return nil
}

// watch calls changed now and after updates, and returns why the session
// ended. A call costs at most half of the time, unless it takes long.
func (s *session) watch(changed func()) error {
	for {
		started := time.Now()
		changed()
		time.Sleep(min(max(time.Since(started), time.Millisecond), 10*time.Millisecond))
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-s.bell:
		}
	}
}

// probe asks for a sign of life at each interval and ends the session when
// none comes. It asks with a transaction without operations, since libovsdb's
// Echo looks at the reply also when its context has ended, while the reply may
// be being written.
func (s *session) probe(interval time.Duration) {
	patience := 4 * interval
	for tick := time.Tick(interval); ; {
		select {
		case <-s.ctx.Done():
			return
		case <-tick:
		}
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		_, err := s.transact(ctx)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			s.end(fmt.Errorf("connection to ovsdb-server: no answer within %v: %w", patience, err))
		case err != nil:
			s.end(errClosed)
		}
	}
}

// call makes a request and returns when ctx or the session ends at the latest,
// with the reason. Libovsdb does not look at the context of a request while it
// writes to a full socket.
func (s *session) call(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()
	answered := make(chan error, 1)
	go func() { answered <- request(ctx) }()
	select {
	case err := <-answered:
		if err == nil || ctx.Err() == nil {
			return err
		}
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// sink is the log of a libovsdb client. An update that cannot be applied is
// only logged there, under the name "cache"; it ends the session, so that the
// next one reads everything anew. The rest is not worth a line: the errors of
// calls are returned too.
type sink struct {
	end   context.CancelCauseFunc
	cache bool
}

func (sink) Init(logr.RuntimeInfo)               {}
func (sink) Enabled(int) bool                    { return false }
func (sink) Info(int, string, ...any)            {}
func (s sink) WithValues(...any) logr.LogSink    { return s }
func (s sink) WithName(name string) logr.LogSink { return sink{s.end, name == "cache"} }
func (s sink) Error(err error, text string, _ ...any) {
	if s.cache {
		s.end(fmt.Errorf("update from ovsdb-server: %s: %w", text, err))
	}
}
