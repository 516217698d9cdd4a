package openflow

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/contiv/libOpenflow/openflow13"
	"github.com/ovs-sg/ovs-sg/flows"
)

// Bundle control types and flags (OpenFlow 1.4, 7.3.9).
const (
	bundleOpenRequest    = 0
	bundleOpenReply      = 1
	bundleCommitRequest  = 4
	bundleCommitReply    = 5
	bundleDiscardRequest = 6

	bundleFlags = 1 | 2 // atomic, ordered
)

// chunk is how much of a bundle is written at once.
const chunk = 1 << 16

// discardTime is how long a cancelled bundle may take to be discarded. If that
// is not enough the connection is closed, which discards it too.
const discardTime = 200 * time.Millisecond

// Apply makes the changes of a delta, all or none: deletes, then adds, then
// modifies, in one atomic ordered bundle. An empty delta sends nothing. It
// returns when the switch has committed and passed a barrier. A deleted flow of
// somebody else goes only if it still has its cookie; one of ours, if it has a
// cookie of ours.
//
// Errors: a *FlowError names the flow that the switch refused. [ErrUncertain]
// is wrapped if the context or the connection ended between the commit and its
// reply. After any other error the flows are as before.
func (c *Conn) Apply(ctx context.Context, d flows.Delta) error {
	if d.Empty() {
		return nil
	}
	select {
	case c.bundling <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.s.done:
		return fmt.Errorf("apply: %w", c.s.failure())
	}
	defer func() { <-c.bundling }()
	if err := c.apply(ctx, d); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	return nil
}

// bundle is a bundle that is being sent. Its xids follow one another: open, the
// members, barrier, commit, barrier, discard.
type bundle struct {
	c      *Conn
	delta  flows.Delta
	id     uint32
	first  uint32 // xid of the open request
	w      *waiter
	failed error // the first error message
}

func (b *bundle) xidBarrier() uint32 { return b.first + uint32(b.delta.Len()) + 1 }

func (c *Conn) apply(ctx context.Context, d flows.Delta) error {
	n := uint32(d.Len()) + 5
	c.bundleID++
	b := &bundle{c: c, delta: d, id: c.bundleID, first: c.s.xids(n), w: newWaiter()}
	c.s.routeReplies(xidRange{b.first, n, b.w})
	defer c.s.routeReplies(xidRange{})
	if err := b.fill(ctx); err != nil {
		b.discard(ctx)
		return err
	}
	return b.commit(ctx)
}

// routeReplies gives the replies to a range of xids to a waiter, instead of the
// range before.
func (s *session) routeReplies(r xidRange) {
	s.mu.Lock()
	s.bundle = r
	s.mu.Unlock()
}

// fill opens the bundle and sends the members. It returns an error if the
// switch has said anything about one of them by the time of the barrier.
func (b *bundle) fill(ctx context.Context) error {
	if err := b.c.s.send(ctx, b.control(nil, b.first, bundleOpenRequest)); err != nil {
		return err
	}
	if err := b.await(ctx, b.first, bundleOpenReply); err != nil {
		return err
	}
	enc, err := newFlowModEncoder(b.id)
	if err != nil {
		return err
	}
	buf := b.c.buf[:0]
	defer func() { b.c.buf = buf[:0] }()
	flush := func() error {
		err := b.c.s.send(ctx, buf)
		buf = buf[:0]
		for _, m := range b.w.drain() { // after an error the rest need not be sent
			b.keepError(m)
		}
		if b.failed != nil {
			return b.failed
		}
		return err
	}
	for i := range b.delta.Len() {
		f, cmd := b.member(i)
		var ok bool
		if buf, ok = enc.append(buf, f, cmd, b.first+1+uint32(i)); !ok {
			return &FlowError{f, cmd, errorTooLong}
		}
		if len(buf) >= chunk {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := b.c.s.send(ctx, b.barrier(nil, b.xidBarrier())); err != nil {
		return err
	}
	return b.await(ctx, b.xidBarrier(), -1)
}

// member returns the i-th change.
func (b *bundle) member(i int) (flows.Flow, Command) {
	for _, part := range []struct {
		fs  []flows.Flow
		cmd Command
	}{{b.delta.Delete, Delete}, {b.delta.Add, Add}, {b.delta.Modify, Modify}} {
		if i < len(part.fs) {
			return part.fs[i], part.cmd
		}
		i -= len(part.fs)
	}
	panic("openflow: no such member")
}

// commit makes the changes. Once the request may have been sent, any error but the
// switch's own is ErrUncertain.
func (b *bundle) commit(ctx context.Context) error {
	xid := b.xidBarrier() + 1
	req := b.barrier(b.control(nil, xid, bundleCommitRequest), xid+1)
	if err := ctx.Err(); err != nil {
		b.discard(ctx)
		return err
	}
	err := b.c.s.send(ctx, req)
	if err == nil {
		err = b.await(ctx, xid, bundleCommitReply)
	}
	if err == nil {
		err = b.await(ctx, xid+1, -1)
	}
	switch {
	case b.failed != nil:
		return b.failed
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return nil
}

// await waits for the reply to xid: a bundle control message of that kind, or
// a barrier's reply if kind is negative. It returns the first error message
// that came until then.
func (b *bundle) await(ctx context.Context, xid uint32, kind int) error {
	for {
		ms, err := b.c.s.receive(ctx, b.w)
		if err != nil {
			return err
		}
		for i, m := range ms {
			if m.kind == typeError {
				b.keepError(m)
			} else if m.xid == xid {
				if kind >= 0 && (m.kind != typeBundleControl || len(m.body) < 8 || int(binary.BigEndian.Uint16(m.body[4:])) != kind) {
					return fmt.Errorf("%w: reply to bundle control has type %d and %d bytes", ErrProtocol, m.kind, len(m.body))
				}
			}
			if m.xid == xid {
				b.w.pushFront(ms[i+1:])
				return b.failed
			}
		}
	}
}

// pushFront puts messages back in front.
func (w *waiter) pushFront(ms []message) {
	if len(ms) == 0 {
		return
	}
	w.mu.Lock()
	w.queue = append(ms[:len(ms):len(ms)], w.queue...)
	w.mu.Unlock()
	notify(w.wake)
}

// keepError keeps the first error message, with the flow that caused it.
func (b *bundle) keepError(m message) {
	if m.kind != typeError || b.failed != nil {
		return
	}
	e, err := decodeError(m.body)
	i := int(m.xid - b.first)
	switch {
	case err != nil:
		b.failed = err
	case i >= 1 && i <= b.delta.Len():
		f, cmd := b.member(i - 1)
		b.failed = &FlowError{f, cmd, *e}
	default:
		b.failed = fmt.Errorf("bundle: %w", e)
	}
}

// discard discards the bundle, if need be by ending the connection.
func (b *bundle) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTime)
	defer cancel()
	// Its reply is of no interest, and messages are handled in order.
	req := b.control(nil, b.xidBarrier()+3, bundleDiscardRequest)
	if err := b.c.s.send(ctx, req); err != nil {
		b.c.s.fail(fmt.Errorf("discard bundle: %w", err))
	}
}

func (b *bundle) control(buf []byte, xid uint32, kind uint16) []byte {
	buf = appendHeader(buf, typeBundleControl, 16, xid)
	buf = binary.BigEndian.AppendUint32(buf, b.id)
	buf = binary.BigEndian.AppendUint16(buf, kind)
	return binary.BigEndian.AppendUint16(buf, bundleFlags)
}

func (b *bundle) barrier(buf []byte, xid uint32) []byte {
	return appendHeader(buf, typeBarrierRequest, headerLen, xid)
}

func appendHeader(buf []byte, kind uint8, n int, xid uint32) []byte {
	buf = append(buf, version14, kind)
	buf = binary.BigEndian.AppendUint16(buf, uint16(n))
	return binary.BigEndian.AppendUint32(buf, xid)
}

// flowModEncoder makes bundle members. What all flow-mods share is encoded
// once, by libOpenflow; a member costs no allocation.
type flowModEncoder struct {
	bundle uint32
	frame  [2][]byte // header and fixed part: of an add, of a delete
}

// Offsets in a flow-mod (OpenFlow 1.4, 7.3.4.1).
const (
	flowModCookie     = 8
	flowModCookieMask = 16
	flowModTable      = 24
	flowModPriority   = 30
	flowModFixed      = 48
	bundleAddFixed    = 16
)

// foreignCookieMask is the part of the cookie that a flow of somebody else must
// still have to be deleted: all but the last bit, because for a whole cookie Open
// vSwitch goes through all flows that have it, which are often all flows.
const foreignCookieMask = math.MaxUint64 &^ 1

func newFlowModEncoder(bundle uint32) (*flowModEncoder, error) {
	e := &flowModEncoder{bundle: bundle}
	add, del := openflow13.NewFlowMod(), openflow13.NewFlowMod()
	del.Command = openflow13.FC_DELETE_STRICT
	del.Cookie, del.CookieMask = uint64(flows.CookieOwner), uint64(flows.CookieMask)
	for i, m := range []*openflow13.FlowMod{add, del} {
		b, err := encode(m)
		if err != nil {
			return nil, err
		}
		if len(b) < flowModFixed {
			return nil, fmt.Errorf("encode flow-mod: %d bytes", len(b))
		}
		e.frame[i] = b[:flowModFixed]
	}
	return e, nil
}

// append appends a member; not ok if it is too long to be a message.
func (e *flowModEncoder) append(b []byte, f flows.Flow, cmd Command, xid uint32) (_ []byte, ok bool) {
	oxm, actions, frame := f.Match.OXM(), f.Actions.Wire(), e.frame[0]
	if cmd == Delete {
		actions, frame = "", e.frame[1]
	}
	match := 4 + len(oxm)
	n := flowModFixed + (match+7)/8*8 + len(actions)
	if bundleAddFixed+n > 0xffff {
		return b, false
	}
	b = appendHeader(b, typeBundleAdd, bundleAddFixed+n, xid)
	b = binary.BigEndian.AppendUint32(b, e.bundle)
	b = append(b, 0, 0, 0, bundleFlags)

	m := len(b)
	b = append(b, frame...)
	binary.BigEndian.PutUint16(b[m+2:], uint16(n))
	binary.BigEndian.PutUint32(b[m+4:], xid)
	switch {
	case cmd != Delete:
		binary.BigEndian.PutUint64(b[m+flowModCookie:], uint64(f.Cookie))
	case !f.Cookie.Ours(): // the flow that was seen
		binary.BigEndian.PutUint64(b[m+flowModCookie:], uint64(f.Cookie))
		binary.BigEndian.PutUint64(b[m+flowModCookieMask:], foreignCookieMask)
	}
	b[m+flowModTable] = uint8(f.Table)
	binary.BigEndian.PutUint16(b[m+flowModPriority:], f.Priority)

	b = append(b, 0, openflow13.MatchType_OXM)
	b = binary.BigEndian.AppendUint16(b, uint16(match))
	b = append(b, oxm...)
	b = append(b, make([]byte, -match&7)...)
	return append(b, actions...), true
}
