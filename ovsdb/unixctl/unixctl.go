package unixctl

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Client is a connection to one daemon. Its methods may be called from any
// goroutine; calls wait for each other.
type Client struct {
	conn net.Conn
	in   *json.Decoder
	turn chan struct{} // holds one token; the call that took it may use conn, in, id and err
	id   uint64        // of the last request
	err  error         // why the connection cannot be used any more
}

// Error is a command that the daemon refused or failed.
type Error struct {
	// Method is the command.
	Method string
	// Message is the daemon's, as ovs-appctl prints it. It may have several
	// lines.
	Message string
}

// Error implements error.
func (e *Error) Error() string {
	return e.Method + ": " + strings.TrimSpace(e.Message)
}

type request struct {
	ID     uint64   `json:"id"`
	Method string   `json:"method"`
	Params []string `json:"params"`
}

type reply struct {
	ID     *uint64 `json:"id"`
	Result *string `json:"result"`
	Error  *string `json:"error"`
}

// Dial connects to the socket with that path.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to control socket: %w", err)
	}
	c := &Client{conn: conn, in: json.NewDecoder(conn), turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c, nil
}

// Close ends the connection. A call that is under way fails.
func (c *Client) Close() error { return c.conn.Close() }

// Call runs one command and returns its output, as it is. An *Error is the
// daemon's answer, and the connection stays good. Any other error, also that
// ctx ended before the answer, makes it useless: further calls fail, and the
// caller dials again. The daemon may yet carry out a command of which the
// answer was not awaited.
func (c *Client) Call(ctx context.Context, method string, args ...string) (string, error) {
	return c.do(ctx, call{method: method, args: args})
}

// call is a command that is sent some times at once, at least one. Between
// sending and reading, sent is called.
type call struct {
	method string
	args   []string
	times  int
	sent   func() error
}

// do runs a command and returns its last output.
func (c *Client) do(ctx context.Context, x call) (string, error) {
	method := x.method
	select {
	case <-c.turn:
		defer func() { c.turn <- struct{}{} }()
	case <-ctx.Done():
		return "", fmt.Errorf("%s: %w", method, ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("%s: %w", method, err)
	}
	if c.err != nil {
		return "", fmt.Errorf("%s: connection was given up: %w", method, c.err)
	}
	// When ctx ends, reading and writing fail at once.
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	r, err := c.exchange(x)
	if !stop() || err != nil {
		if ctx.Err() != nil && err != nil {
			err = ctx.Err()
		}
		c.err = err
		if err == nil { // answered, but the deadline may be set any moment
			c.err = context.Canceled
		}
		c.conn.Close()
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", method, err)
	case r.Error != nil:
		return "", &Error{Method: method, Message: *r.Error}
	}
	return *r.Result, nil
}

// exchange sends the requests of a call and reads their replies; the last is
// returned.
func (c *Client) exchange(x call) (reply, error) {
	args := x.args
	if args == nil {
		args = []string{} // the daemon wants an array
	}
	var data []byte
	first := c.id + 1
	for range max(x.times, 1) {
		c.id++
		one, err := json.Marshal(request{ID: c.id, Method: x.method, Params: args})
		if err != nil {
			return reply{}, err
		}
		data = append(data, one...)
	}
	if _, err := c.conn.Write(data); err != nil {
		return reply{}, err
	}
	if x.sent != nil {
		if err := x.sent(); err != nil {
			return reply{}, err
		}
	}
	for id := first; ; id++ {
		var r reply
		if err := c.in.Decode(&r); err != nil {
			return r, fmt.Errorf("read reply: %w", err)
		}
		if r.ID == nil || *r.ID != id || (r.Result == nil) == (r.Error == nil) {
			return r, fmt.Errorf("read reply: it is not one to request %d", id)
		}
		if id == c.id {
			return r, nil
		}
	}
}

// Find returns the path of ovs-vswitchd's control socket in rundir, which is
// usually /run/openvswitch: ovs-vswitchd.PID.ctl, with the number in
// ovs-vswitchd.pid. It does not look whether anybody listens there. Without
// the pid file, as when ovs-vswitchd does not run, the error wraps
// os.ErrNotExist.
func Find(rundir string) (path string, err error) {
	file := filepath.Join(rundir, "ovs-vswitchd.pid")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("find ovs-vswitchd: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return "", fmt.Errorf("find ovs-vswitchd: %s: no process id", file)
	}
	return filepath.Join(rundir, fmt.Sprintf("ovs-vswitchd.%d.ctl", pid)), nil
}
