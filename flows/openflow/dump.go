package openflow

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/contiv/libOpenflow/openflow13"
	"github.com/ovs-sg/ovs-sg/flows"
)

// Dump reads back our flows of all tables, those of older layouts included. Unlike
// [Conn.DumpAll] it leaves it to the switch to pass over foreign flows. Errors:
// [ErrProtocol], those of the connection.
func (c *Conn) Dump(ctx context.Context) (*flows.Set, error) {
	set := &flows.Set{}
	err := c.dump(ctx, uint64(flows.CookieOwner), uint64(flows.CookieMask), set.Put)
	if err != nil {
		return nil, fmt.Errorf("dump flows: %w", err)
	}
	return set, nil
}

// DumpAll reads back all flows: ours, of any layout, and those of others. Errors:
// [ErrProtocol], those of the connection.
func (c *Conn) DumpAll(ctx context.Context) (ours, foreign *flows.Set, err error) {
	ours, foreign = &flows.Set{}, &flows.Set{}
	err = c.dump(ctx, 0, 0, func(f flows.Flow) {
		if f.Cookie.Ours() {
			ours.Put(f)
		} else {
			foreign.Put(f)
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("dump all flows: %w", err)
	}
	return ours, foreign, nil
}

func (c *Conn) dump(ctx context.Context, cookie, mask uint64, yield func(flows.Flow)) error {
	req, err := flowStatsRequest(cookie, mask)
	if err != nil {
		return err
	}
	return c.parts(ctx, openflow13.MultipartType_Flow, req, func(part []byte) error {
		return decodeFlowStats(part, yield)
	})
}

// flowStatsFixed is the size of ofp_flow_stats without its match.
const flowStatsFixed = 48

// decodeFlowStats reads a part of a reply: ofp_flow_stats, one after the other
// (OpenFlow 1.4, 7.3.5.2).
func decodeFlowStats(part []byte, yield func(flows.Flow)) error {
	for len(part) > 0 {
		if len(part) < flowStatsFixed+8 {
			return fmt.Errorf("%w: %d bytes where a flow is due", ErrProtocol, len(part))
		}
		n := int(binary.BigEndian.Uint16(part))
		if n < flowStatsFixed+8 || n > len(part) {
			return fmt.Errorf("%w: a flow of %d bytes where %d are left", ErrProtocol, n, len(part))
		}
		f, err := decodeFlow(part[:n])
		if err != nil {
			return err
		}
		yield(f)
		part = part[n:]
	}
	return nil
}

// decodeFlow reads one ofp_flow_stats of at least flowStatsFixed+8 bytes.
func decodeFlow(b []byte) (f flows.Flow, err error) {
	f.Table = flows.Table(b[2])
	f.Priority = binary.BigEndian.Uint16(b[12:])
	f.Idle, f.Hard = binary.BigEndian.Uint16(b[14:]), binary.BigEndian.Uint16(b[16:])
	f.Cookie = flows.Cookie(binary.BigEndian.Uint64(b[24:]))
	b = b[flowStatsFixed:]
	kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
	padded := (n + 7) / 8 * 8
	if kind != openflow13.MatchType_OXM || n < 4 || padded > len(b) {
		return f, fmt.Errorf("%w: a match of type %d and %d bytes where %d are left", ErrProtocol, kind, n, len(b))
	}
	if f.Match, err = flows.ParseMatch(b[4:n]); err != nil {
		return f, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if f.Actions, err = flows.ParseActions(b[padded:]); err != nil {
		return f, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return f, nil
}
