package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
)

// session is one connection: a libovsdb client with one monitor.
type session struct {
	db    client.Client
	cache *cache.TableCache
	// ctx ends with the session, and its cause says why. The calls on the
	// session end with it.
	ctx context.Context
	end context.CancelCauseFunc
}

// closePatience is how long close waits for libovsdb. Closing waits for calls
// to end, and a call that writes to a full socket does not.
const closePatience = time.Second

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

// connect dials the server and returns when the initial contents are in the
// cache.
func (c *Client) connect(ctx context.Context) (*session, error) {
	s := &session{}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	log := logr.New(sink{end: s.end})
	db, err := client.NewOVSDBClient(c.database, client.WithEndpoint(c.endpoint), client.WithLogger(&log))
	if err != nil {
		return nil, err
	}
	s.db = db
	go func() {
		select {
		case <-db.DisconnectNotify():
			s.end(errClosed)
		case <-s.ctx.Done():
		}
	}()
	if err := db.Connect(ctx); err != nil {
		s.end(err)
		if dial, ok := errors.AsType[*net.OpError](err); ok {
			err = dial // libovsdb says the endpoint twice
		}
		return nil, fmt.Errorf("connect to ovsdb-server: %w", err)
	}
	if s.cache = db.Cache(); s.cache == nil {
		s.end(errClosed)
		return nil, errClosed
	}
	s.cache.AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, Model) { c.ring() },
		UpdateFunc: func(string, Model, Model) { c.ring() },
		DeleteFunc: func(string, Model) { c.ring() },
	})
	monitor := db.NewMonitor()
	for table, columns := range c.columns {
		monitor.Tables = append(monitor.Tables, client.TableMonitor{Table: table, Fields: columns})
	}
	if _, err := db.Monitor(ctx, monitor); err != nil {
		s.close()
		return nil, fmt.Errorf("monitor database %s: %w", c.config.Database, err)
	}
	if s.over() { // an update came at once and could not be applied
		s.close()
		return nil, context.Cause(s.ctx)
	}
	return s, nil
}

var errClosed = errors.New("connection to ovsdb-server: closed by ovsdb-server")

// over tells whether the session has ended.
func (s *session) over() bool { return s.ctx.Err() != nil }

// watch asks for a sign of life at each interval and returns why the session
// ended.
func (s *session) watch(ctx context.Context, interval time.Duration) error {
	patience := 4 * interval
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-tick.C:
		}
		deadline, cancel := context.WithTimeout(ctx, patience)
		_, err := bounded(deadline, func() (any, error) { return nil, s.db.Echo(deadline) })
		late := deadline.Err()
		cancel()
		switch {
		case err == nil:
		case late != nil:
			s.end(fmt.Errorf("connection to ovsdb-server: no answer within %v: %w", patience, late))
		default:
			s.end(errClosed)
		}
	}
}

// bounded runs a call and returns when ctx ends at the latest. Libovsdb does
// not look at the context of a call while it writes to a full socket.
func bounded[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type answer struct {
		result T
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		result, err := call()
		answered <- answer{result, err}
	}()
	select {
	case a := <-answered:
		return a.result, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// close ends the session.
func (s *session) close() {
	s.end(errClosed)
	closed := make(chan struct{})
	go func() {
		s.db.Close()
		close(closed)
	}()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-closed:
	case <-patience.C:
	}
}

// during returns a context that ends with ctx and with the session.
func (s *session) during(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// sink is the log of a libovsdb client. An update that cannot be applied is
// only logged there, under the name "cache"; it ends the session, so that the
// next one reads everything anew. The rest is not worth a line: the errors of
// calls are returned too.
type sink struct {
	end   context.CancelCauseFunc
	cache bool
}

func (sink) Init(logr.RuntimeInfo)            {}
func (sink) Enabled(int) bool                 { return false }
func (sink) Info(int, string, ...any)         {}
func (s sink) WithValues(...any) logr.LogSink { return s }
func (s sink) WithName(name string) logr.LogSink {
	s.cache = name == "cache"
	return s
}

func (s sink) Error(err error, text string, _ ...any) {
	if s.cache {
		s.end(fmt.Errorf("update from ovsdb-server: %s: %w", text, err))
	}
}
