package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// unixctl is a connection to the control socket of a daemon, JSON-RPC 1.0 with
// one call at a time.
type unixctl struct {
	mu   sync.Mutex
	conn net.Conn
	dec  *json.Decoder
	id   int
}

func dialUnixctl(ctx context.Context, path string) (*unixctl, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return &unixctl{conn: conn, dec: json.NewDecoder(conn)}, nil
}

func (u *unixctl) close() error { return u.conn.Close() }

// call runs a command. After a failure of the connection itself the unixctl is
// of no more use.
func (u *unixctl) call(method string, args ...string) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.id++
	request, err := json.Marshal(map[string]any{"id": u.id, "method": method, "params": append([]string{}, args...)})
	if err != nil {
		return "", err
	}
	if err := u.conn.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		return "", err
	}
	if _, err := u.conn.Write(request); err != nil {
		return "", fmt.Errorf("%s: %w", method, err)
	}
	var reply struct {
		ID            int
		Result, Error *string
	}
	if err := u.dec.Decode(&reply); err != nil {
		return "", fmt.Errorf("%s: %w", method, err)
	}
	switch {
	case reply.ID != u.id:
		return "", fmt.Errorf("%s: reply to call %d, not %d", method, reply.ID, u.id)
	case reply.Error != nil:
		return "", fmt.Errorf("%s: %w", method, errors.New(*reply.Error))
	case reply.Result == nil:
		return "", fmt.Errorf("%s: reply without a result", method)
	}
	return *reply.Result, nil
}
