package openflow

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/contiv/libOpenflow/openflow13"
	"github.com/ovs-sg/ovs-sg/flows"
)

// peer is a switch that answers as a test tells it to.
type peer struct {
	net.Conn
	r *bufio.Reader
}

// take reads a request.
func (p *peer) take() (message, error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(p.r, h[:]); err != nil {
		return message{}, err
	}
	m := message{kind: h[1], xid: binary.BigEndian.Uint32(h[4:])}
	m.body = make([]byte, max(0, int(binary.BigEndian.Uint16(h[2:]))-headerLen))
	_, err := io.ReadFull(p.r, m.body)
	return m, err
}

func (p *peer) say(kind uint8, xid uint32, body []byte) {
	b := rawMessage(version14, kind, body)
	binary.BigEndian.PutUint32(b[4:], xid)
	p.Write(b)
}

// fail answers with OFPT_ERROR.
func (p *peer) fail(xid uint32, kind, code uint16) {
	b := binary.BigEndian.AppendUint16(nil, kind)
	p.say(typeError, xid, binary.BigEndian.AppendUint16(b, code))
}

// hello sends the HELLO of a switch that speaks OpenFlow 1.4.
func (p *peer) hello() {
	b, _ := encodeHello(version14)
	p.Write(b)
	p.take()
}

// answer does what Open vSwitch does with a request, as far as Dial, barriers
// and bundles need it; not ok if it is something else.
func (p *peer) answer(m message) (ok bool) {
	switch m.kind {
	case openflow13.Type_FeaturesRequest:
		p.say(openflow13.Type_FeaturesReply, m.xid, make([]byte, 24))
	case openflow13.Type_MultiPartRequest:
		switch kind := binary.BigEndian.Uint16(m.body); kind {
		case openflow13.MultipartType_Desc:
			p.say(typeMultipartReply, m.xid, make([]byte, 8+1056))
		case multipartFlowMonitor:
			p.say(typeMultipartReply, m.xid, []byte{0, multipartFlowMonitor, 0, 0, 0, 0, 0, 0})
		default:
			return false
		}
	case typeGetConfig:
		p.say(typeGetConfigReply, m.xid, make([]byte, 4))
	case typeBarrierRequest:
		p.say(typeBarrierRequest+1, m.xid, nil)
	case typeBundleControl:
		m.body[5]++ // request to reply
		p.say(typeBundleControl, m.xid, m.body)
	case openflow13.Type_SetConfig, typeSetAsync, typeBundleAdd, typeEchoReply:
	default:
		return false
	}
	return true
}

// serve starts a peer for each connection to a socket.
func serve(t *testing.T, f func(*peer)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				f(&peer{conn, bufio.NewReader(conn)})
			}()
		}
	}()
	return path
}

// scripted starts a peer and returns a Conn that Dial has set up. f sees each
// request first; the peer answers the requests that f does not deal with.
func scripted(t *testing.T, opts Options, f func(*peer, message) bool) *Conn {
	t.Helper()
	var dialled atomic.Bool
	path := serve(t, func(p *peer) {
		p.hello()
		for {
			m, err := p.take()
			if err != nil {
				return
			}
			if !(dialled.Load() && f(p, m)) {
				p.answer(m)
			}
		}
	})
	c, err := Dial(testContext(t), "unix:"+path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	dialled.Store(true)
	return c
}

func TestDialOddPeers(t *testing.T) {
	isVersion := func(err error) bool { _, ok := errors.AsType[*VersionError](err); return ok }
	isProtocol := func(err error) bool { return errors.Is(err, ErrProtocol) }
	for name, tc := range map[string]struct {
		peer func(*peer)
		want func(error) bool
	}{
		"closes":       {func(*peer) {}, func(err error) bool { return err != nil }},
		"silent":       {func(p *peer) { p.take(); p.take() }, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		"half a hello": {func(p *peer) { p.Write([]byte{5, 0, 0, 16, 0}); p.take(); p.take() }, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		"zero length":  {func(p *peer) { p.Write(make([]byte, 64)); p.take() }, isProtocol},
		"text": {func(p *peer) {
			io.WriteString(p, "220 mail.example.com ESMTP\r\n                                                                                                                               ")
			p.take()
		}, func(err error) bool { return err != nil }},
		"not a hello":    {func(p *peer) { p.say(typeBarrierRequest, 1, nil); p.take() }, isProtocol},
		"version 1.3":    {func(p *peer) { p.Write([]byte{4, 0, 0, 8, 0, 0, 0, 1}); p.take() }, isVersion},
		"bitmap 1.0 1.5": {func(p *peer) { p.Write([]byte{6, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 8, 0, 0, 0, 0x42}); p.take() }, isVersion},
		"hello refused":  {func(p *peer) { p.fail(1, 0, 0); p.take() }, isVersion},
		"hello elements that do not end": {func(p *peer) {
			p.Write([]byte{5, 0, 0, 16, 0, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0})
			p.take()
		}, func(err error) bool { return err != nil }},
		"other version later": {func(p *peer) { p.hello(); p.Write([]byte{4, 6, 0, 8, 0, 0, 0, 1}); p.take() }, isProtocol},
		"wrong features":      {func(p *peer) { p.hello(); m, _ := p.take(); p.say(openflow13.Type_FeaturesReply, m.xid, nil); p.take() }, isProtocol},
		"short description": {func(p *peer) {
			p.hello()
			m, _ := p.take()
			p.answer(m)
			m, _ = p.take()
			p.say(typeMultipartReply, m.xid, make([]byte, 80))
			p.take()
		}, isProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(testContext(t), 100*time.Millisecond)
			defer cancel()
			c, err := Dial(ctx, serve(t, tc.peer), Options{})
			if err == nil || !tc.want(err) {
				t.Errorf("got %v", err)
			}
			if c != nil {
				c.Close()
			}
		})
	}
}

func TestDumpOddReplies(t *testing.T) {
	whole := encodeFlowStats(flow(3, 4, flows.NewMatch(flows.InPort(1)), 5))
	alter := func(offset int, v byte) []byte {
		b := append([]byte(nil), whole...)
		b[offset] = v
		return b
	}
	for name, part := range map[string][]byte{
		"cut off":          whole[:len(whole)-1],
		"a bit too much":   append(whole[:len(whole):len(whole)], 0, 0),
		"no length":        alter(1, 0),
		"match too long":   alter(flowStatsFixed+3, 200),
		"match too short":  alter(flowStatsFixed+3, 3),
		"match of 1.0":     alter(flowStatsFixed+1, 0),
		"field too long":   alter(flowStatsFixed+7, 99),
		"no instr length":  alter(len(whole)-5, 0),
		"instr length odd": alter(len(whole)-5, 250),
	} {
		t.Run(name, func(t *testing.T) {
			c := scripted(t, Options{}, func(p *peer, m message) bool {
				if m.kind != openflow13.Type_MultiPartRequest {
					return false
				}
				p.say(typeMultipartReply, m.xid, append([]byte{0, 1, 0, 0, 0, 0, 0, 0}, part...))
				return true
			})
			if _, err := c.Dump(testContext(t)); !errors.Is(err, ErrProtocol) {
				t.Errorf("got %v", err)
			}
			if err := c.Barrier(testContext(t)); err != nil {
				t.Error("one bad reply spoilt the connection:", err)
			}
		})
	}
}

func TestReplyCutOffEndsTheConnection(t *testing.T) {
	c := scripted(t, Options{}, func(p *peer, m message) bool {
		p.Write([]byte{5, typeMultipartReply, 0xff, 0xff, 0, 0, 0, 0, 1, 2, 3})
		p.Close()
		return true
	})
	if _, err := c.Dump(testContext(t)); err == nil {
		t.Error("no error")
	}
	<-c.Done()
	if !errors.Is(c.s.failure(), io.ErrUnexpectedEOF) {
		t.Errorf("got %v", c.s.failure())
	}
}

// Replies to other sessions, unknown messages and asynchronous messages are
// ignored.
func TestStrayMessages(t *testing.T) {
	c := scripted(t, Options{}, func(p *peer, m message) bool {
		if m.kind != typeBarrierRequest {
			return false
		}
		p.fail(m.xid+1000, 5, 1)
		p.fail(0, 5, 1)
		p.say(typePacketIn, 0, []byte("packet"))
		p.say(typeFlowRemoved, 0, nil)
		p.say(99, m.xid+1000, nil)
		p.say(typeBarrierRequest+1, m.xid-1, nil)
		p.say(typePortStatus, 0, nil)
		return false
	})
	if err := c.Barrier(testContext(t)); err != nil {
		t.Error(err)
	}
	<-c.PortStatus()
}

func TestEchoRequestIsAnswered(t *testing.T) {
	answers := make(chan message, 1)
	c := scripted(t, Options{}, func(p *peer, m message) bool {
		switch m.kind {
		case typeBarrierRequest:
			p.say(typeEchoRequest, 77, []byte("hello"))
		case typeEchoReply:
			answers <- m
		}
		return false
	})
	if err := c.Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if m := <-answers; m.xid != 77 || string(m.body) != "hello" {
		t.Errorf("got %d %q", m.xid, m.body)
	}
}

func TestSilentPeerIsGivenUp(t *testing.T) {
	c := scripted(t, Options{EchoInterval: 10 * time.Millisecond}, func(*peer, message) bool { return true })
	if err := c.Barrier(testContext(t)); !errors.Is(err, ErrSilent) {
		t.Errorf("got %v", err)
	}
}

// A switch that answers each member with an error, and does not read on before
// its answers are sent, must not deadlock with the Conn.
func TestApplyManyErrors(t *testing.T) {
	c := scripted(t, Options{}, func(p *peer, m message) bool {
		if m.kind == typeBundleAdd {
			for range 20 {
				p.fail(m.xid, 2, 0)
			}
		}
		return false
	})
	fs := many(5000)
	e, ok := errors.AsType[*FlowError](c.Apply(testContext(t), flows.Delta{Modify: fs}))
	if !ok || e.Flow != fs[0] || e.Command != Modify || e.Type != 2 {
		t.Errorf("got %v", e)
	}
}

func bundleKind(m message) int {
	if m.kind != typeBundleControl {
		return -1
	}
	return int(binary.BigEndian.Uint16(m.body[4:]))
}

func TestApplyOutcomes(t *testing.T) {
	one := flows.Delta{Add: many(1)}
	for name, tc := range map[string]struct {
		peer           func(p *peer, m message) bool
		uncertain      bool
		committed      bool // the request was sent
		discardedAfter bool
	}{
		"open refused": {func(p *peer, m message) bool {
			if bundleKind(m) == bundleOpenRequest {
				p.fail(m.xid, 17, 5)
				return true
			}
			return false
		}, false, false, true},
		"open not answered": {func(p *peer, m message) bool { return bundleKind(m) == bundleOpenRequest }, false, false, true},
		"open answered with something else": {func(p *peer, m message) bool {
			if bundleKind(m) == bundleOpenRequest {
				p.say(typeBarrierRequest+1, m.xid, nil)
				return true
			}
			return false
		}, false, false, true},
		"bundle timed out": {func(p *peer, m message) bool {
			if m.kind == typeBundleAdd {
				p.fail(m.xid-1, 17, 14) // of the open request
			}
			return false
		}, false, false, true},
		"barrier not answered": {func(p *peer, m message) bool { return m.kind == typeBarrierRequest }, false, false, true},
		"error before the barrier": {func(p *peer, m message) bool {
			if m.kind == typeBundleAdd {
				p.fail(m.xid, 3, 2)
			}
			return false
		}, false, false, true},
		"commit refused": {func(p *peer, m message) bool {
			if bundleKind(m) == bundleCommitRequest {
				p.fail(m.xid-2, 2, 9)
				p.fail(m.xid, 17, 13)
				return true
			}
			return false
		}, false, true, false},
		"commit not answered": {func(p *peer, m message) bool { return bundleKind(m) == bundleCommitRequest }, true, true, false},
		"connection lost at commit": {func(p *peer, m message) bool {
			if bundleKind(m) == bundleCommitRequest {
				p.Close()
			}
			return false
		}, true, true, false},
		"commit answered with garbage": {func(p *peer, m message) bool {
			if bundleKind(m) == bundleCommitRequest {
				p.say(typeBundleControl, m.xid, nil)
				return true
			}
			return false
		}, true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			var committed, discarded atomic.Bool
			c := scripted(t, Options{}, func(p *peer, m message) bool {
				switch bundleKind(m) {
				case bundleCommitRequest:
					committed.Store(true)
				case bundleDiscardRequest:
					discarded.Store(true)
				}
				return tc.peer(p, m)
			})
			ctx, cancel := context.WithTimeout(testContext(t), 100*time.Millisecond)
			defer cancel()
			err := c.Apply(ctx, one)
			if err == nil || errors.Is(err, ErrUncertain) != tc.uncertain || committed.Load() != tc.committed {
				t.Errorf("got %v, committed %v", err, committed.Load())
			}
			if tc.discardedAfter {
				waitFor(t, discarded.Load)
			}
		})
	}
}

func TestCloseFailsWaiters(t *testing.T) {
	c := scripted(t, Options{}, func(p *peer, m message) bool { return true })
	errs := make(chan error)
	go func() { errs <- c.Barrier(testContext(t)) }()
	waitFor(t, func() bool {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		return len(c.s.waiters) > 0
	})
	c.Close()
	if err := <-errs; !errors.Is(err, net.ErrClosed) || !errors.Is(c.s.failure(), net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	c.Close()
	if _, err := c.Ports(testContext(t)); err == nil {
		t.Error("a closed connection lists ports")
	}
}
