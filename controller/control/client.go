package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// A Client asks a running agent. A Client connects when a method needs the
// connection: New succeeds without an agent. After the deadline of its context a
// method fails with "timed out"; where the agent refuses, the error is the
// agent's text.
type Client struct{ http http.Client }

// New returns a client of the agent that serves the Unix socket.
func New(socket string) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Close closes the client's idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the agent's status. Unless all is true, the status of many
// files leaves out the accepted ones.
func (c *Client) Status(ctx context.Context, all bool) (s Status, err error) {
	body, err := c.StatusJSON(ctx, all)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

// StatusJSON is like Status but returns the JSON text as the agent wrote it,
// which may have fields that Status does not know.
func (c *Client) StatusJSON(ctx context.Context, all bool) ([]byte, error) {
	path := "/status"
	if !all {
		path += "?files=refused"
	}
	return c.call(ctx, http.MethodGet, path)
}

// Wait returns nil as soon as everything that happened before the call is in
// force, confirmed by the switch. The error is ErrHeld if the change of policy is
// held, and ErrStopping if the agent ends meanwhile.
func (c *Client) Wait(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, "/wait")
	if r, ok := errors.AsType[*refusal](err); ok {
		switch r.status {
		case http.StatusConflict:
			return ErrHeld
		case http.StatusGone:
			return ErrStopping
		}
	}
	return err
}

// Release lets the held change of policy go on. It is an error if no change is
// held.
func (c *Client) Release(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, "/release")
	return err
}

// Absent reports whether an error says that no agent answers: its socket is not
// there, nobody listens, or the agent is ending.
func Absent(err error) bool {
	for _, e := range []error{ErrStopping, syscall.ENOENT, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Audit compares the switch with what the agent has installed, and, if repair is
// true, has the differences put right.
func (c *Client) Audit(ctx context.Context, repair bool) (a Audit, err error) {
	path := "/audit"
	if repair {
		path += "?repair=true"
	}
	body, err := c.call(ctx, http.MethodPost, path)
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	return a, err
}

func (c *Client) call(ctx context.Context, method, path string) ([]byte, error) {
	// The host of the URL means nothing: the client knows only one socket.
	req, err := http.NewRequestWithContext(ctx, method, "http://ovs-sg"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, errors.New("timed out")
	}
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, &refusal{resp.StatusCode, strings.TrimSpace(string(body))}
	}
	return body, nil
}

// refusal is an error that the agent has answered.
type refusal struct {
	status int // of HTTP
	text   string
}

func (r *refusal) Error() string { return r.text }
