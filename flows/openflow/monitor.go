package openflow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/contiv/libOpenflow/openflow13"

	"github.com/ovs-sg/ovs-sg/flows"
)

// multipartFlowMonitor is OFPMP_FLOW_MONITOR (OpenFlow 1.4, 7.3.5.18).
const multipartFlowMonitor = 16

// Flags of a flow monitor: what it reports.
const (
	monitorAdd    = 1 << 1
	monitorRemove = 1 << 2
	monitorModify = 1 << 3
)

// monitorAbbreviated is the event OFPFME_ABBREV, which stands for all changes by
// one request of the same connection.
const monitorAbbreviated = 4

// monitorFlows makes the switch report flows that another connection adds,
// modifies or removes. Open vSwitch has the monitors of OpenFlow 1.4 since 3.0.0;
// watched says whether this one has.
func (c *Conn) monitorFlows(ctx context.Context) (watched bool, err error) {
	const anyPort, anyGroup, allTables, add = 0xffffffff, 0xffffffff, openflow13.OFPTT_ALL, 0
	body := binary.BigEndian.AppendUint32(nil, 1) // the monitor's id
	body = binary.BigEndian.AppendUint32(body, anyPort)
	body = binary.BigEndian.AppendUint32(body, anyGroup)
	body = binary.BigEndian.AppendUint16(body, monitorAdd|monitorRemove|monitorModify)
	body = append(body, allTables, add)
	body = append(body, 0, openflow13.MatchType_OXM, 0, 4, 0, 0, 0, 0) // any flow
	err = c.multipart(ctx, multipartFlowMonitor, body, func([]byte) error { return nil })
	if refused := (*SwitchError)(nil); errors.As(err, &refused) {
		return false, nil
	}
	return err == nil, err
}

// reportsForeign reads the body of a message that a flow monitor has sent, and
// says whether it is about a flow in a table of the pipeline that another
// connection has changed. What cannot be read counts.
func reportsForeign(body []byte) bool {
	const header = 8
	if len(body) < header || binary.BigEndian.Uint16(body) != multipartFlowMonitor {
		return false
	}
	for b := body[header:]; len(b) > 0; {
		if len(b) < 8 {
			return true
		}
		n, event := int(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint16(b[2:])
		switch {
		case n < 8 || n > len(b):
			return true
		case event == monitorAbbreviated:
		case event > monitorAbbreviated: // paused, or resumed: not all is reported
			return true
		case int(b[4]) < len(flows.Tables()):
			return true
		}
		b = b[n:]
	}
	return false
}

// Watched reports whether the switch tells of changes by others.
func (c *Conn) Watched() bool { return c.watched }

// Foreign returns a channel that receives after somebody else has added, modified
// or removed flows in the tables of the pipeline, if the connection is
// [Conn.Watched]. Several changes may be one event. Changes that were made before
// a barrier was requested have been received before the barrier's reply.
func (c *Conn) Foreign() <-chan struct{} { return c.s.foreign }

// Counts returns the number of flows, anybody's, in each table of the pipeline.
// Errors: [ErrProtocol], those of the connection.
func (c *Conn) Counts(ctx context.Context) ([]int, error) {
	const size = 24 // ofp_table_stats (OpenFlow 1.4, 7.3.5.3)
	counts := make([]int, len(flows.Tables()))
	err := c.multipart(ctx, openflow13.MultipartType_Table, nil, func(b []byte) error {
		for ; len(b) > 0; b = b[size:] {
			if len(b) < size {
				return fmt.Errorf("%w: %d bytes where the statistics of a table are due", ErrProtocol, len(b))
			}
			if t := int(b[0]); t < len(counts) {
				counts[t] = int(binary.BigEndian.Uint32(b[4:]))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count flows: %w", err)
	}
	return counts, nil
}
