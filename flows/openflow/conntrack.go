package openflow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/contiv/libOpenflow/openflow13"
)

// nxtCTFlush is NXT_CT_FLUSH, in Open vSwitch 3.1 and later; see
// nicira-ext.h there for its properties.
const (
	nxtCTFlush      = 32
	ctOrigTuple     = 0
	ctZoneID        = 2
	ctTupleSrc      = 0
	ctTupleDst      = 1
	ctPropHeader    = 4
	ctNestedHeader  = 8
	ctAddrProp      = 24 // header, 16 bytes, padded to 8
	ctFlushFixedLen = 8
)

// FlushZone makes the switch forget all connections of a zone. The switch reports
// no failure of its datapath.
func (c *Conn) FlushZone(ctx context.Context, zone uint16) error {
	body := binary.BigEndian.AppendUint16(make([]byte, 6, 8), zone)
	req, err := niciraMessage(openflow13.Type_CtFlushZone, body)
	if err == nil {
		err = c.s.execute(ctx, req)
	}
	if err != nil {
		return fmt.Errorf("flush zone %d: %w", zone, err)
	}
	return nil
}

// FlushAddr makes the switch forget the connections of a zone whose originator or
// responder has the address. Protocol and ICMP fields are never sent. Errors:
// [ErrUnsupported] if the switch does not have the message (before 3.1), or must
// not be asked for it by Options.FlushAddr; then [Conn.FlushZone] remains.
func (c *Conn) FlushAddr(ctx context.Context, zone uint16, addr netip.Addr) error {
	err := c.flushAddr(ctx, zone, addr)
	if e, ok := errors.AsType[*SwitchError](err); ok && e.Type == 1 && (e.Code == 3 || e.Code == 4) {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return fmt.Errorf("flush %s in zone %d: %w", addr, zone, err)
	}
	return nil
}

func (c *Conn) flushAddr(ctx context.Context, zone uint16, addr netip.Addr) error {
	if !addr.IsValid() || addr.IsUnspecified() {
		return errors.New("not an address") // the switch would flush everything
	}
	if c.opts.FlushAddr == nil || !c.opts.FlushAddr(c.version) {
		return fmt.Errorf("%w: %s", ErrUnsupported, c.version)
	}
	var reqs [][]byte
	for _, side := range []uint16{ctTupleSrc, ctTupleDst} {
		req, err := niciraMessage(nxtCTFlush, ctFlushBody(zone, side, addr))
		if err != nil {
			return err
		}
		reqs = append(reqs, req)
	}
	return c.s.execute(ctx, reqs...)
}

// ctFlushBody asks for the connections of a zone that have the address on one
// side of the original tuple. An IPv4 address is sent as mapped IPv6.
func ctFlushBody(zone, side uint16, addr netip.Addr) []byte {
	b := make([]byte, ctFlushFixedLen) // no protocol
	b = binary.BigEndian.AppendUint16(b, ctOrigTuple)
	b = binary.BigEndian.AppendUint16(b, ctNestedHeader+ctAddrProp)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, side)
	b = binary.BigEndian.AppendUint16(b, ctPropHeader+16)
	a := addr.As16()
	b = append(append(b, a[:]...), 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, ctZoneID)
	b = binary.BigEndian.AppendUint16(b, ctPropHeader+2)
	return append(binary.BigEndian.AppendUint16(b, zone), 0, 0)
}
