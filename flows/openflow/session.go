package openflow

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// session is a connection that speaks one version of OpenFlow. One goroutine
// reads and never writes, so that the switch can always send its replies: a
// reader that waits for room to write would wait for a switch that waits for the
// reader.
type session struct {
	conn    net.Conn
	version uint8
	barrier uint8 // type of a barrier request in this version; the reply's is one more

	writing    chan struct{} // full while a goroutine writes
	control    chan []byte   // echo requests and replies to be sent
	portStatus chan struct{}
	foreign    chan struct{} // rings after flows were changed by others

	heard atomic.Uint64 // messages received

	mu      sync.Mutex
	lastXid uint32
	waiters map[uint32]*waiter // by xid
	bundle  xidRange
	err     error

	done chan struct{}
	wg   sync.WaitGroup
}

// xidRange is n xids from first on, whose replies go to one waiter.
type xidRange struct {
	first, n uint32
	w        *waiter
}

// message is a received message; body is what follows the header.
type message struct {
	kind uint8
	xid  uint32
	body []byte
}

// waiter collects the replies to some xids. Its queue has no limit, so the
// reader never waits for it.
type waiter struct {
	mu    sync.Mutex
	queue []message
	wake  chan struct{}
}

func newWaiter() *waiter { return &waiter{wake: make(chan struct{}, 1)} }

func (w *waiter) push(m message) {
	w.mu.Lock()
	w.queue = append(w.queue, m)
	w.mu.Unlock()
	notify(w.wake)
}

// drain returns the messages that have come, and removes them.
func (w *waiter) drain() []message {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := w.queue
	w.queue = nil
	return q
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// dialSession connects and agrees on the version.
func dialSession(ctx context.Context, path string, version uint8, echo time.Duration) (*session, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 1<<16)
	if err := hello(ctx, conn, r, version); err != nil {
		conn.Close()
		return nil, err
	}
	s := &session{
		conn:       conn,
		version:    version,
		barrier:    typeBarrierRequest,
		writing:    make(chan struct{}, 1),
		control:    make(chan []byte, 4),
		portStatus: make(chan struct{}, 1),
		foreign:    make(chan struct{}, 1),
		waiters:    map[uint32]*waiter{},
		done:       make(chan struct{}),
	}
	if version == version10 {
		s.barrier = typeBarrierRequest10
	}
	s.wg.Go(func() { s.read(r) })
	s.wg.Go(s.writeControl)
	s.wg.Go(func() { s.keepAlive(echo) })
	return s, nil
}

// hello exchanges HELLO messages. It is over before the reader starts.
func hello(ctx context.Context, conn net.Conn, r io.Reader, version uint8) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := func() error {
		req, err := encodeHello(version)
		if err != nil {
			return err
		}
		if _, err := conn.Write(req); err != nil {
			return err
		}
		kind, peer, body, err := readHello(r)
		switch {
		case err != nil:
			return err
		case kind == typeError:
			if e, err := decodeError(body); err == nil {
				return &VersionError{version, e.Error()}
			}
			return &VersionError{version, "hello refused"}
		case kind != typeHello:
			return fmt.Errorf("%w: message type %d where HELLO is due", ErrProtocol, kind)
		case !agrees(peer, body, version):
			return &VersionError{version, fmt.Sprintf("the switch offers version %#x", peer)}
		}
		return nil
	}()
	if !stop() && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func readHello(r io.Reader) (kind, version uint8, body []byte, err error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, nil, fmt.Errorf("read hello: %w", err)
	}
	n := int(binary.BigEndian.Uint16(h[2:]))
	if n < headerLen {
		return 0, 0, nil, fmt.Errorf("%w: a message of %d bytes", ErrProtocol, n)
	}
	body = make([]byte, n-headerLen)
	_, err = io.ReadFull(r, body)
	return h[1], h[0], body, err
}

// read takes messages off the connection until it ends.
func (s *session) read(r *bufio.Reader) {
	for {
		var h [headerLen]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			s.fail(fmt.Errorf("read: %w", err))
			return
		}
		n := int(binary.BigEndian.Uint16(h[2:]))
		if n < headerLen || h[0] != s.version {
			s.fail(fmt.Errorf("%w: header %#x on a session of version %d", ErrProtocol, h, s.version))
			return
		}
		m := message{kind: h[1], xid: binary.BigEndian.Uint32(h[4:]), body: make([]byte, n-headerLen)}
		if _, err := io.ReadFull(r, m.body); err != nil {
			s.fail(fmt.Errorf("read: %w", err))
			return
		}
		s.heard.Add(1)
		s.handle(m)
	}
}

func (s *session) handle(m message) {
	switch m.kind {
	case typeEchoRequest:
		reply := rawMessage(s.version, typeEchoReply, m.body)
		binary.BigEndian.PutUint32(reply[4:], m.xid)
		select {
		case s.control <- reply:
		default: // another message is about to be sent
		}
	case typePortStatus:
		notify(s.portStatus)
	case typeEchoReply, typePacketIn, typeFlowRemoved, typeHello:
	default:
		if w := s.waiterOf(m.xid); w != nil {
			w.push(m)
		} else if m.kind == typeMultipartReply && m.xid == 0 && reportsForeign(m.body) {
			notify(s.foreign)
		}
	}
}

func (s *session) waiterOf(xid uint32) *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.waiters[xid]; w != nil {
		return w
	}
	if xid-s.bundle.first < s.bundle.n {
		return s.bundle.w
	}
	return nil
}

// xids reserves n xids that follow one another.
func (s *session) xids(n uint32) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastXid+n < s.lastXid { // would pass 0, which asynchronous messages have
		s.lastXid = 0
	}
	first := s.lastXid + 1
	s.lastXid += n
	return first
}

// writeControl sends echo requests and replies, so that the reader and keepAlive
// need not wait until they are sent.
func (s *session) writeControl() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case b := <-s.control:
			_ = s.send(ctx, b) // a failure has ended the session
		case <-s.done:
			return
		}
	}
}

// keepAlive asks for an echo after an interval of silence and gives the peer up
// after another. Any message counts as a sign of life.
func (s *session) keepAlive(interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last, asked := s.heard.Load(), false
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		now := s.heard.Load()
		switch {
		case now != last:
			last, asked = now, false
		case asked:
			s.fail(fmt.Errorf("%w for %v", ErrSilent, 2*interval))
			return
		default:
			asked = true
			select {
			case s.control <- rawMessage(s.version, typeEchoRequest, nil):
			default:
			}
		}
	}
}

// send writes whole messages. If the context ends after a part of them is written,
// the connection cannot be used any more and is closed.
func (s *session) send(ctx context.Context, b []byte) error {
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return s.failure()
	}
	defer func() { <-s.writing }()
	if err := ctx.Err(); err != nil {
		return err
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.conn.SetWriteDeadline(time.Unix(1, 0))
		close(fired)
	})
	n, err := s.conn.Write(b)
	if !stop() {
		<-fired
		s.conn.SetWriteDeadline(time.Time{})
	}
	switch {
	case err == nil:
		return nil
	case n == 0 && ctx.Err() != nil:
		return ctx.Err()
	}
	s.fail(fmt.Errorf("write: %w", err))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.failure()
}

// receive waits for messages and returns all that have come.
func (s *session) receive(ctx context.Context, w *waiter) ([]message, error) {
	for {
		if q := w.drain(); len(q) > 0 {
			return q, nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.done:
			if q := w.drain(); len(q) > 0 {
				return q, nil
			}
			return nil, s.failure()
		}
	}
}

// request sends one request and gives each of its replies to reply, until reply
// says that no more are due. An error message of the switch is returned as a
// *SwitchError.
func (s *session) request(ctx context.Context, req []byte, reply func(message) (more bool, err error)) error {
	return s.roundTrip(ctx, [][]byte{req}, func(m message) (bool, error) {
		if m.kind == typeError {
			return false, s.switchError(m.body)
		}
		return reply(m)
	})
}

// execute sends requests that have no reply, then a barrier. It returns the first
// error that came before the barrier's reply.
func (s *session) execute(ctx context.Context, reqs ...[]byte) error {
	var failed error
	err := s.roundTrip(ctx, append(reqs, rawMessage(s.version, s.barrier, nil)), func(m message) (bool, error) {
		if m.kind == typeError && failed == nil {
			failed = s.switchError(m.body)
		}
		return m.kind != s.barrier+1, nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// roundTrip sends requests and gives each of their replies, error messages
// included, to reply, until reply says that no more are due.
func (s *session) roundTrip(ctx context.Context, reqs [][]byte, reply func(message) (more bool, err error)) error {
	w, first := newWaiter(), s.xids(uint32(len(reqs)))
	var b []byte
	s.mu.Lock()
	for i, req := range reqs {
		req[0] = s.version
		binary.BigEndian.PutUint32(req[4:], first+uint32(i))
		b = append(b, req...)
		s.waiters[first+uint32(i)] = w
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		for i := range reqs {
			delete(s.waiters, first+uint32(i))
		}
		s.mu.Unlock()
	}()
	if err := s.send(ctx, b); err != nil {
		return err
	}
	for {
		ms, err := s.receive(ctx, w)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if more, err := reply(m); err != nil || !more {
				return err
			}
		}
	}
}

// fail ends the session. The error of the first call is why it ended.
func (s *session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
		s.conn.Close()
	}
}

// failure returns why the session ended: nil while it lives, net.ErrClosed after
// close.
func (s *session) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *session) close() {
	s.fail(net.ErrClosed)
	s.wg.Wait()
}
