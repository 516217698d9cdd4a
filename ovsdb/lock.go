package ovsdb

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// LockState is what a Lock knows of its lock.
type LockState uint8

const (
	// LockUnknown: the server has not said yet.
	LockUnknown LockState = iota
	// LockHeld: it is this process's.
	LockHeld
	// LockWaiting: it is somebody else's, and will be this process's after that.
	LockWaiting
)

// Lock is a named lock of ovsdb-server (RFC 7047, section 4.1.8), of which each
// name has one holder at a time. It is held for as long as its connection lives;
// libovsdb has no locks, so that it has a connection of its own. While there is no
// connection the state is that of before.
type Lock struct {
	network, address, name string

	mu    sync.Mutex
	state LockState
}

// NewLock returns a lock. Run asks for it.
func NewLock(endpoint, name string) (*Lock, error) {
	if _, err := parseEndpoint(endpoint); err != nil {
		return nil, err
	}
	network, address, _ := strings.Cut(endpoint, ":")
	return &Lock{network: network, address: address, name: lockName(name)}, nil
}

// lockName writes a name as an <id> (RFC 7047, section 3.1), which has letters,
// digits and underscores: other bytes, and underscores, as _ and two hexadecimal
// digits.
func lockName(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || b.Len() > 0 && '0' <= c && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

// State returns the state.
func (l *Lock) State() LockState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Run asks for the lock, and again after a lost connection, until ctx ends, whose
// error it returns. It calls changed after each change of the state.
func (l *Lock) Run(ctx context.Context, changed func()) error {
	for delay := minBackoff; ; {
		// Whoever follows the database says why there is no connection.
		if answered, _ := l.hold(ctx, changed); answered {
			delay = minBackoff
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
			delay = min(2*delay, maxBackoff)
		}
	}
}

// rpc is any message of JSON-RPC 1.0 that comes or goes.
type rpc struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

// hold asks for the lock on a new connection and reads what the server says, until
// the connection ends. answered says that the server has said whose the lock is.
func (l *Lock) hold(ctx context.Context, changed func()) (answered bool, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, l.network, l.address)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	name, err := json.Marshal([]string{l.name})
	if err != nil {
		return false, err
	}
	out, in := json.NewEncoder(conn), json.NewDecoder(conn)
	if err := out.Encode(rpc{ID: json.RawMessage(`"lock"`), Method: "lock", Params: name}); err != nil {
		return false, err
	}
	for {
		var m rpc
		if err := in.Decode(&m); err != nil {
			return answered, err
		}
		switch {
		case m.Method == "echo":
			if err := out.Encode(rpc{ID: m.ID, Result: m.Params, Error: json.RawMessage("null")}); err != nil {
				return answered, err
			}
		case m.Method == "locked":
			l.set(LockHeld, changed)
		case m.Method == "stolen":
			l.set(LockWaiting, changed)
		case string(m.ID) == `"lock"`:
			var answer struct{ Locked *bool }
			if err := json.Unmarshal(m.Result, &answer); err != nil || answer.Locked == nil {
				return answered, fmt.Errorf("lock %s: answer %s, error %s", l.name, m.Result, m.Error)
			}
			state := LockWaiting
			if *answer.Locked {
				state = LockHeld
			}
			answered = true
			l.set(state, changed)
		}
	}
}

func (l *Lock) set(state LockState, changed func()) {
	l.mu.Lock()
	was := l.state
	l.state = state
	l.mu.Unlock()
	if was != state {
		changed()
	}
}
