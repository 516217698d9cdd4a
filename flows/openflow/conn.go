package openflow

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/contiv/libOpenflow/openflow13"
)

// Options are settings of a connection. The zero value is good.
type Options struct {
	// EchoInterval is how long the switch may be silent before it is asked for
	// an echo, and then again before it is given up. Default 5 s.
	EchoInterval time.Duration
	// FlushAddr says whether FlushAddr may be used on a version of Open
	// vSwitch, such as 3.1.0. Nil means that it must not.
	FlushAddr func(version string) bool
}

// Conn is a connection to a bridge. Its methods may be used from several
// goroutines; bundles wait for one another.
type Conn struct {
	s       *session
	path    string
	opts    Options
	version string // of Open vSwitch, such as 3.1.0
	watched bool

	bundling chan struct{} // full while a bundle runs
	bundleID uint32        // of the last bundle; for the goroutine that runs a bundle
	buf      []byte        // to be used again; for the goroutine that runs a bundle

	oldMu sync.Mutex
	old   *session // OpenFlow 1.0, dialled when first needed
}

// Dial connects to the management socket of a bridge, by its path or as
// unix:PATH. ctx limits the dialling only. Errors: a *VersionError if the
// bridge does not allow OpenFlow 1.4; [ErrProtocol]; those of the socket.
func Dial(ctx context.Context, path string, opts Options) (*Conn, error) {
	opts.EchoInterval = cmp.Or(opts.EchoInterval, 5*time.Second)
	c := &Conn{
		path:     strings.TrimPrefix(path, "unix:"),
		opts:     opts,
		bundling: make(chan struct{}, 1),
	}
	s, err := dialSession(ctx, c.path, version14, opts.EchoInterval)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", path, err)
	}
	c.s = s
	if err := c.setUp(ctx); err != nil {
		s.close()
		return nil, fmt.Errorf("dial %s: %w", path, err)
	}
	return c, nil
}

// setUp learns the version of Open vSwitch and subscribes to port status messages
// and to changes of flows by others.
func (c *Conn) setUp(ctx context.Context) error {
	features := rawMessage(version14, openflow13.Type_FeaturesRequest, nil)
	err := c.s.request(ctx, features, func(m message) (bool, error) {
		if m.kind != openflow13.Type_FeaturesReply || len(m.body) != 24 {
			return false, fmt.Errorf("%w: reply to the features request has type %d and %d bytes", ErrProtocol, m.kind, len(m.body))
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if c.version, err = c.describe(ctx); err != nil {
		return err
	}
	// The flags say how fragments are handled in the whole bridge: kept.
	var flags uint16
	err = c.s.request(ctx, rawMessage(version14, typeGetConfig, nil), func(m message) (bool, error) {
		if m.kind != typeGetConfigReply || len(m.body) != 4 {
			return false, fmt.Errorf("%w: reply to the config request has type %d and %d bytes", ErrProtocol, m.kind, len(m.body))
		}
		flags = binary.BigEndian.Uint16(m.body)
		return false, nil
	})
	if err != nil {
		return err
	}
	config, err := setConfig(flags, 128)
	if err != nil {
		return err
	}
	// In this order: the configuration switches asynchronous messages on.
	if err := c.s.execute(ctx, asyncConfig(), config); err != nil {
		return err
	}
	c.watched, err = c.monitorFlows(ctx)
	return err
}

// describe returns the version of the software.
func (c *Conn) describe(ctx context.Context) (string, error) {
	var text []byte
	err := c.multipart(ctx, openflow13.MultipartType_Desc, rawBytes(nil), func(part []byte) error {
		text = append(text, part...)
		return nil
	})
	if err != nil {
		return "", err
	}
	const offset, size = 512, 256 // behind manufacturer and hardware
	if len(text) < offset+size {
		return "", fmt.Errorf("%w: a description of %d bytes", ErrProtocol, len(text))
	}
	return cString(text[offset : offset+size]), nil
}

// multipart asks for statistics or descriptions and hands on the body of each
// part of the reply.
func (c *Conn) multipart(ctx context.Context, kind uint16, body rawBytes, part func([]byte) error) error {
	req, err := multipartRequest(kind, body)
	if err != nil {
		return err
	}
	return c.parts(ctx, kind, req, part)
}

func (c *Conn) parts(ctx context.Context, kind uint16, req []byte, part func([]byte) error) error {
	return c.s.request(ctx, req, func(m message) (bool, error) {
		if m.kind != typeMultipartReply || len(m.body) < 8 || binary.BigEndian.Uint16(m.body) != kind {
			return false, fmt.Errorf("%w: reply to multipart request %d has type %d and %d bytes", ErrProtocol, kind, m.kind, len(m.body))
		}
		more := binary.BigEndian.Uint16(m.body[2:])&openflow13.OFPMPF_REPLY_MORE != 0
		return more, part(m.body[8:])
	})
}

// cString returns the text up to the first zero byte.
func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// Barrier returns when the switch has done all that was sent before.
func (c *Conn) Barrier(ctx context.Context) error {
	if err := c.s.execute(ctx); err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	return nil
}

// Version is that of the running Open vSwitch, such as 3.1.0, in its own words.
func (c *Conn) Version() string { return c.version }

// Nudge makes the switch translate all megaflows anew, as a change of flows does.
// It changes none: the switch believes a deletion before it has looked for the
// flow, and no flow may have this cookie (OpenFlow 1.4, 7.3.4.1).
func (c *Conn) Nudge(ctx context.Context) error {
	del := openflow13.NewFlowMod()
	del.Command = openflow13.FC_DELETE_STRICT
	del.Cookie, del.CookieMask = ^uint64(0), ^uint64(0)
	b, err := encode(del)
	if err == nil {
		err = c.s.execute(ctx, b)
	}
	if err != nil {
		return fmt.Errorf("nudge: %w", err)
	}
	return nil
}

// PortStatus returns a channel that receives after a port was added, removed or
// changed. Several changes may be one event.
func (c *Conn) PortStatus() <-chan struct{} { return c.s.portStatus }

// Done returns a channel that is closed when the connection has ended. From then
// on every call fails with the reason why the connection ended.
func (c *Conn) Done() <-chan struct{} { return c.s.done }

// Close ends the connection. Calls that are waiting fail.
func (c *Conn) Close() error {
	c.s.close()
	c.oldMu.Lock()
	defer c.oldMu.Unlock()
	if c.old != nil {
		c.old.close()
	}
	return nil
}
