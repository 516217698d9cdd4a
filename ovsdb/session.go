package ovsdb

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// session is one connection to ovsdb-server with the rows seen on it. One
// goroutine reads the connection and applies each update before it looks at
// the next message; when it ends, for whatever reason, the session is over
// and err says why.
type session struct {
	conn  net.Conn
	probe time.Duration

	writing sync.Mutex

	mu      sync.Mutex
	nextID  uint64
	pending map[uint64]*call
	rows    *rows

	// changed wakes up whoever builds snapshots. Capacity 1: it says that
	// something happened, not what.
	changed chan struct{}
	// done is closed when the session is over; err is set before.
	done chan struct{}
	err  error
}

// call is a request that waits for its reply.
type call struct {
	// take receives the result, in the reading goroutine and so before
	// anything that follows the reply. Its error ends the session.
	take func(result json.RawMessage) error
	// done gets one value: nil once take has returned, or the server's error.
	done chan error
}

// message is any JSON-RPC 1.0 message (RFC 7047, section 4).
type message struct {
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
	ID     json.RawMessage `json:"id"`
}

// request and response are what is sent: unlike in message, every member is
// present.
type (
	request struct {
		Method string `json:"method"`
		Params []any  `json:"params"`
		ID     uint64 `json:"id"`
	}
	response struct {
		Result json.RawMessage `json:"result"`
		Error  any             `json:"error"`
		ID     json.RawMessage `json:"id"`
	}
)

// connect dials the server and returns once the monitor's initial contents
// are in.
func connect(ctx context.Context, endpoint string, probe time.Duration) (*session, error) {
	network, address, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect to ovsdb-server: %w", err)
	}
	s := &session{
		conn:    conn,
		probe:   probe,
		pending: map[uint64]*call{},
		rows:    newRows(),
		changed: make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	go s.read()
	if err := s.monitor(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// parseEndpoint reads unix:PATH and tcp:HOST:PORT (ovsdb(7), "Connection
// Methods").
func parseEndpoint(endpoint string) (network, address string, err error) {
	network, address, _ = strings.Cut(endpoint, ":")
	if address == "" || network != "unix" && network != "tcp" {
		return "", "", fmt.Errorf("endpoint %q: want unix:PATH or tcp:HOST:PORT", endpoint)
	}
	return network, address, nil
}

func (s *session) monitor(ctx context.Context) error {
	var schema ovsdb.DatabaseSchema
	err := s.call(ctx, "get_schema", []any{database}, func(result json.RawMessage) error {
		return json.Unmarshal(result, &schema)
	})
	if err != nil {
		return err
	}
	requests, err := monitorRequests(schema)
	if err != nil {
		return err
	}
	return s.call(ctx, "monitor", ovsdb.NewMonitorArgs(database, nil, requests), s.apply)
}

// close ends the session and waits until it has ended.
func (s *session) close() {
	s.conn.Close()
	<-s.done
}

// over tells whether the session has ended.
func (s *session) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// Read makes the session the reader of its own connection: any byte counts
// as a sign of life.
func (s *session) Read(p []byte) (int, error) {
	// Twice the interval: once until the probe is sent, once for its answer.
	if err := s.conn.SetReadDeadline(time.Now().Add(2 * s.probe)); err != nil {
		return 0, err
	}
	return s.conn.Read(p)
}

func (s *session) read() {
	in := json.NewDecoder(bufio.NewReaderSize(s, 64<<10))
	var err error
	for err == nil {
		var m message
		if err = in.Decode(&m); err == nil {
			err = s.handle(m)
		}
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by ovsdb-server")
	}
	s.err = fmt.Errorf("connection to ovsdb-server: %w", err)
	close(s.done) // before closing: whose write fails then finds the reason
	s.conn.Close()
}

// handle processes one message. Its error ends the session.
func (s *session) handle(m message) (err error) {
	// libovsdb's decoders panic on some values of unexpected shape.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("malformed message: %v", r)
		}
	}()
	switch m.Method {
	case "":
		return s.handleReply(m)
	case "echo":
		// params must be an array (RFC 7047, 4.1.11); it goes back as it came.
		return s.write(response{Result: m.Params, ID: m.ID})
	case "update":
		var params [2]json.RawMessage
		if err := json.Unmarshal(m.Params, &params); err != nil {
			return fmt.Errorf("malformed update: %w", err)
		}
		return s.apply(params[1])
	}
	return fmt.Errorf("unexpected method %q", m.Method)
}

func (s *session) handleReply(m message) error {
	var id uint64
	if err := json.Unmarshal(m.ID, &id); err != nil {
		return fmt.Errorf("malformed reply: %w", err)
	}
	s.mu.Lock()
	waiting := s.pending[id]
	delete(s.pending, id)
	s.mu.Unlock()
	switch {
	case waiting == nil: // a probe's, or nobody waits any more
	case len(m.Error) > 0 && string(m.Error) != "null":
		waiting.done <- fmt.Errorf("ovsdb-server answers %s", m.Error)
	default:
		if err := waiting.take(m.Result); err != nil {
			return fmt.Errorf("malformed reply: %w", err)
		}
		waiting.done <- nil
	}
	return nil
}

// apply takes over an update, or the initial contents.
func (s *session) apply(updates json.RawMessage) error {
	var decoded ovsdb.TableUpdates
	if err := json.Unmarshal(updates, &decoded); err != nil {
		return fmt.Errorf("malformed update: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.rows.apply(decoded); err != nil {
		return err
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// snapshot builds the picture of now.
func (s *session) snapshot(bridge string, uplinks []string, physical func(string) bool) Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows.snapshot(bridge, uplinks, physical)
}

// write sends one message. After an error the session is over.
func (s *session) write(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.probe)); err != nil {
		return err
	}
	if _, err := s.conn.Write(data); err != nil {
		s.conn.Close() // a message cut short cannot be mended
		return err
	}
	return nil
}

// sendProbe asks for a sign of life; Read watches for it.
func (s *session) sendProbe() error {
	return s.write(request{Method: "echo", Params: []any{}, ID: 0})
}

// call performs one request and hands its result to take. When it returns,
// every update that the server sent before the reply has been applied.
func (s *session) call(ctx context.Context, method string, params []any, take func(json.RawMessage) error) error {
	waiting := &call{take: take, done: make(chan error, 1)}
	s.mu.Lock()
	s.nextID++
	id := s.nextID
	s.pending[id] = waiting
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pending, id)
		s.mu.Unlock()
	}()

	err := s.write(request{Method: method, Params: params, ID: id})
	if err != nil {
		s.close()
		return fmt.Errorf("send %s to ovsdb-server: %w", method, err)
	}
	select {
	case err = <-waiting.done:
	case <-s.done:
		err = s.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// transact runs ops as one transaction (RFC 7047, 4.1.3) and returns one
// result for each. If any failed, nothing has been done, and the error is a
// *TransactError.
func (s *session) transact(ctx context.Context, ops ...ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	var results []ovsdb.OperationResult
	err := s.call(ctx, "transact", ovsdb.NewTransactArgs(database, ops...), func(result json.RawMessage) error {
		return json.Unmarshal(result, &results)
	})
	if err != nil {
		return nil, err
	}
	for i, r := range results {
		if r.Error != "" {
			return nil, &TransactError{Operation: i, Kind: r.Error, Details: r.Details}
		}
	}
	if len(results) != len(ops) {
		return nil, fmt.Errorf("transact: %d results of %d operations", len(results), len(ops))
	}
	return results, nil
}

// TransactError is a transaction that ovsdb-server refused. Nothing of it was
// done.
type TransactError struct {
	// Operation is the index of the operation that failed; one more than the
	// last index when the commit failed.
	Operation int
	// Kind is the error's fixed text, such as "constraint violation" (RFC
	// 7047, section 3.1 and 5.2).
	Kind string
	// Details is the server's explanation, if any.
	Details string
}

// Error implements error.
func (e *TransactError) Error() string {
	text := fmt.Sprintf("transact: operation %d: %s", e.Operation, e.Kind)
	if e.Details != "" {
		text += ": " + e.Details
	}
	return text
}
