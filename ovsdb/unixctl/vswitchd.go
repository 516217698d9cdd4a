package unixctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Vswitchd is the control socket of an ovs-vswitchd that may restart. It
// connects when it is needed and keeps the connection as long as that is good.
// Its methods may be called from any goroutine; calls wait for each other.
type Vswitchd struct {
	rundir, socket string

	mu   sync.Mutex
	conn *Client
}

// NewVswitchd returns the control socket with that path or, if socket is "",
// the one that Find finds in rundir. It does not connect.
func NewVswitchd(rundir, socket string) *Vswitchd {
	return &Vswitchd{rundir: rundir, socket: socket}
}

// Call runs one command and returns its output, as it is. An *Error is the
// daemon's answer. When a connection that was kept turns out to be broken, the
// command is sent once more over a new one: the daemon may have restarted.
func (v *Vswitchd) Call(ctx context.Context, command string, args ...string) (string, error) {
	return v.do(ctx, call{method: command, args: args})
}

func (v *Vswitchd) do(ctx context.Context, x call) (string, error) {
	command := x.method
	v.mu.Lock()
	defer v.mu.Unlock()
	kept := v.conn != nil
	for {
		if err := v.connect(ctx); err != nil {
			return "", fmt.Errorf("ovs-vswitchd's control socket: %w", err)
		}
		out, err := v.conn.do(ctx, x)
		var refused *Error
		if err == nil || errors.As(err, &refused) {
			return out, err
		}
		v.conn.Close()
		v.conn = nil
		if !kept || ctx.Err() != nil {
			return "", fmt.Errorf("%s: %w", command, err)
		}
		kept = false
	}
}

// connect dials unless there is a connection. The caller holds v.mu.
func (v *Vswitchd) connect(ctx context.Context) error {
	if v.conn != nil {
		return nil
	}
	path := v.socket
	var err error
	if path == "" {
		path, err = Find(v.rundir)
	} else {
		_, err = os.Stat(path)
	}
	if err == nil {
		v.conn, err = Dial(ctx, path)
	}
	return err
}
