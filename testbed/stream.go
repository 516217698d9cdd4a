package testbed

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Stream is a server that sends without end to a client that, once it has
// opened the connection, only receives: the hardest connection to revoke.
type Stream struct {
	sent, received atomic.Uint64
	lastSeq        atomic.Uint64
	lastAt         atomic.Int64 // UnixNano of the last reception
	broken         atomic.Pointer[error]
	closers        []func()
}

// end stores the error that ended one side.
func (s *Stream) end(err error) { s.broken.CompareAndSwap(nil, &err) }

// alive returns the error that ended one side, if any: silence means nothing
// then.
func (s *Stream) alive() error {
	if err := s.broken.Load(); err != nil {
		return fmt.Errorf("stream is broken: %w", *err)
	}
	return nil
}

// Sent counts the messages that the server has handed to its kernel. A stopped
// TCP stream goes on counting until the socket's buffer is full.
func (s *Stream) Sent() uint64 { return s.sent.Load() }

// Received counts the messages that the client has got.
func (s *Stream) Received() uint64 { return s.received.Load() }

// Last is the number of the latest message that the client has got; the first is 0.
func (s *Stream) Last() uint64 { return s.lastSeq.Load() }

// Close ends both sides.
func (s *Stream) Close() error {
	for _, f := range s.closers {
		f()
	}
	return nil
}

// WaitFlowing waits until five more messages have come.
func (s *Stream) WaitFlowing(ctx context.Context) error {
	goal := s.Received() + 5
	err := Poll(ctx, 2*time.Millisecond, func() (bool, error) { return s.Received() >= goal, s.alive() })
	if err != nil {
		return fmt.Errorf("stream does not flow (sent %d, received %d): %w", s.Sent(), s.Received(), err)
	}
	return nil
}

// WaitStopped waits until nothing has come for the length of the window. The
// server keeps trying all the time: UDP every millisecond; TCP by its
// retransmission timer, of 0.2 s and then longer, so give it a window of 0.5 s
// at least. A connection that broke is an error, not a stopped stream.
func (s *Stream) WaitStopped(ctx context.Context, window time.Duration) error {
	started := time.Now()
	err := Poll(ctx, 2*time.Millisecond, func() (bool, error) {
		since := time.Unix(0, s.lastAt.Load())
		if since.Before(started) {
			since = started // only silence that was watched counts
		}
		return time.Since(since) >= window, s.alive()
	})
	if err != nil {
		return fmt.Errorf("stream does not stop (sent %d, received %d): %w", s.Sent(), s.Received(), err)
	}
	return nil
}

func (s *Stream) got() {
	s.received.Add(1)
	s.lastAt.Store(time.Now().UnixNano())
}

// message is one unit of a stream: its sequence number.
const message = 8

// TCPStream connects client to the port at an address of server, which then
// sends 8 bytes every 2 ms. It returns when the first have come.
func TCPStream(ctx context.Context, client, server *Host, at netip.AddrPort) (*Stream, error) {
	s := &Stream{}
	l, err := server.listenTCP(at)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = server.drop(l) })
	c, err := client.DialTCP(ctx, netip.AddrPort{}, at)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = c.SetLinger(0); _ = client.drop(c) })
	go s.serveTCP(l, server)
	go func() {
		var b [message]byte
		for {
			if _, err := io.ReadFull(c, b[:]); err != nil {
				s.end(err)
				return
			}
			s.lastSeq.Store(binary.BigEndian.Uint64(b[:]))
			s.got()
		}
	}()
	return s, s.begun(ctx)
}

func (s *Stream) begun(ctx context.Context) error {
	if err := s.WaitFlowing(ctx); err != nil {
		_ = s.Close()
		return err
	}
	return nil
}

// rtoMax is TCP_RTO_MAX_MS of Linux 6.15: it keeps the retransmission timer of a
// stopped stream from growing beyond a second. Older kernels refuse it.
const rtoMax = 44

func (s *Stream) serveTCP(l *net.TCPListener, server *Host) {
	c, err := l.AcceptTCP()
	if err == nil {
		err = server.keep(c)
	}
	if err != nil {
		s.end(err)
		return
	}
	defer func() { _ = server.drop(c) }()
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, rtoMax, 1000) })
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var b [message]byte
	for range tick.C {
		binary.BigEndian.PutUint64(b[:], s.Sent())
		if _, err := c.Write(b[:]); err != nil {
			s.end(err)
			return
		}
		s.sent.Add(1)
	}
}

// UDPStream sends one datagram from client to the port at an address of server,
// which then sends a numbered datagram back every millisecond. It returns when
// the first have come.
func UDPStream(ctx context.Context, client, server *Host, at netip.AddrPort) (*Stream, error) {
	s := &Stream{}
	out, err := server.ListenUDP(at)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = server.drop(out) })
	in, err := client.ListenUDP(Probe{To: at}.source())
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = client.drop(in) })
	go s.serveUDP(out)
	go func() {
		var b [message]byte
		for {
			_, _, err := in.ReadFromUDPAddrPort(b[:])
			if errors.Is(err, net.ErrClosed) {
				s.end(err)
				return
			}
			if err == nil {
				s.lastSeq.Store(binary.BigEndian.Uint64(b[:]))
				s.got()
			}
		}
	}()
	if _, err := in.WriteToUDPAddrPort([]byte("begin"), at); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, s.begun(ctx)
}

func (s *Stream) serveUDP(c *net.UDPConn) {
	var b [message]byte
	_, to, err := c.ReadFromUDPAddrPort(b[:])
	if err != nil {
		s.end(err)
		return
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		binary.BigEndian.PutUint64(b[:], s.Sent())
		if _, err := c.WriteToUDPAddrPort(b[:], to); err != nil && !lost(err) {
			s.end(err)
			return
		}
		s.sent.Add(1)
	}
}

// Missing counts the messages before the latest one that have not come: those
// of UDP that were lost.
func (s *Stream) Missing() uint64 {
	if n := s.Received(); n > 0 {
		return s.lastSeq.Load() + 1 - min(n, s.lastSeq.Load()+1)
	}
	return 0
}
