package openflow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/contiv/libOpenflow/openflow13"
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// Port is a port of the bridge.
type Port struct {
	OFPort  uint32
	Name    string // at most 15 bytes: the switch cuts longer ones off
	HWAddr  policy.MAC
	Config  uint32 // ofp_port_config of OpenFlow 1.4
	State   uint32 // ofp_port_state of OpenFlow 1.4
	NoFlood bool   // from the OpenFlow 1.0 session; false if the bridge does not allow that
}

const noFlood = 1 << 4 // OFPPC_NO_FLOOD of OpenFlow 1.0

// Ports lists the ports, LOCAL included, in the switch's order. Errors:
// [ErrProtocol], those of the connection.
func (c *Conn) Ports(ctx context.Context) ([]Port, error) {
	var ports []Port
	err := c.multipart(ctx, openflow13.MultipartType_PortDesc, nil, func(part []byte) (err error) {
		ports, err = decodePorts(ports, part)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	configs, err := c.configs10(ctx)
	if _, refused := errors.AsType[*VersionError](err); err != nil && !refused {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	for i := range ports {
		ports[i].NoFlood = configs[ports[i].OFPort]&noFlood != 0
	}
	return ports, nil
}

// NoFlood sets, for ports of the bridge by OpenFlow port number, whether NORMAL
// must leave the port out when it floods. Ports that the bridge does not have are
// passed over, and nothing is sent for a port that has the setting already.
// Errors: a *VersionError if the bridge does not allow OpenFlow 1.0, the only
// version that has the setting; a *SwitchError if a port has gone or has got
// another MAC meanwhile; those of [Conn.Ports]. After an error some ports may have
// the setting and others not.
func (c *Conn) NoFlood(ctx context.Context, want map[uint32]bool) error {
	ports, err := c.Ports(ctx)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if on, ok := want[p.OFPort]; ok {
			if err := c.setNoFlood(ctx, p, on); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckNoFlood says in words for which of the ports NoFlood would change the
// setting. Errors: those of [Conn.Ports].
func (c *Conn) CheckNoFlood(ctx context.Context, want map[uint32]bool) (differ []string, err error) {
	ports, err := c.Ports(ctx)
	for _, p := range ports {
		if on, ok := want[p.OFPort]; ok && on != p.NoFlood {
			differ = append(differ, fmt.Sprintf("port %d (%s): NO_FLOOD is %t, not %t", p.OFPort, p.Name, p.NoFlood, on))
		}
	}
	return differ, err
}

// setNoFlood is NoFlood for one port as [Conn.Ports] lists it.
func (c *Conn) setNoFlood(ctx context.Context, port Port, on bool) error {
	if port.NoFlood == on {
		return nil
	}
	s, err := c.session10(ctx)
	if err == nil {
		err = s.execute(ctx, portMod10(port, on))
	}
	if err != nil {
		return fmt.Errorf("set NO_FLOOD of port %d %s: %w", port.OFPort, port.Name, err)
	}
	return nil
}

func portMod10(port Port, on bool) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(port.OFPort))
	b = append(b, port.HWAddr[:]...)
	config := uint32(0)
	if on {
		config = noFlood
	}
	b = binary.BigEndian.AppendUint32(b, config)
	b = binary.BigEndian.AppendUint32(b, noFlood)
	return rawMessage(version10, typePortMod10, append(b, make([]byte, 8)...))
}

// session10 returns the OpenFlow 1.0 session, which it dials if none is alive.
func (c *Conn) session10(ctx context.Context) (*session, error) {
	c.oldMu.Lock()
	defer c.oldMu.Unlock()
	if err := c.s.failure(); err != nil { // else Close might not see the new one
		return nil, err
	}
	if c.old != nil && c.old.failure() == nil {
		return c.old, nil
	}
	s, err := dialSession(ctx, c.path, version10, c.opts.EchoInterval)
	if err != nil {
		return nil, err
	}
	if err := declineMisses(ctx, s); err != nil {
		s.close()
		return nil, err
	}
	if c.old != nil {
		c.old.close()
	}
	c.old = s
	return s, nil
}

// declineMisses gives a session a controller id of its own. While a session
// older than OpenFlow 1.3 has the default one, Open vSwitch takes it for a
// controller that wants to see every packet that misses a table, and sends
// those packets to the slow path instead of dropping them.
func declineMisses(ctx context.Context, s *session) error {
	const controllerID = 0x5e6
	req, err := encode(openflow13.NewSetControllerID(controllerID))
	if err != nil {
		return err
	}
	return s.execute(ctx, req)
}

// configs10 returns ofp_port_config of OpenFlow 1.0, by port number.
func (c *Conn) configs10(ctx context.Context) (map[uint32]uint32, error) {
	s, err := c.session10(ctx)
	if err != nil {
		return nil, err
	}
	configs := map[uint32]uint32{}
	// Open vSwitch has the port description of later versions in 1.0 too; the
	// features reply would hold 1,364 ports at most.
	req := rawMessage(version10, typeStatsRequest10, []byte{0, openflow13.MultipartType_PortDesc, 0, 0})
	err = s.request(ctx, req, func(m message) (bool, error) {
		if m.kind != typeStatsReply10 || len(m.body) < 4 || binary.BigEndian.Uint16(m.body) != openflow13.MultipartType_PortDesc {
			return false, fmt.Errorf("%w: reply to stats request has type %d and %d bytes", ErrProtocol, m.kind, len(m.body))
		}
		more := binary.BigEndian.Uint16(m.body[2:])&1 != 0
		return more, decodeConfigs10(configs, m.body[4:])
	})
	return configs, err
}

// decodeConfigs10 reads ofp10_phy_port, one after the other.
func decodeConfigs10(configs map[uint32]uint32, b []byte) error {
	const size = 48
	for ; len(b) > 0; b = b[size:] {
		if len(b) < size {
			return fmt.Errorf("%w: %d bytes where a port is due", ErrProtocol, len(b))
		}
		n := uint32(binary.BigEndian.Uint16(b))
		if n >= 0xff00 { // reserved numbers have 32 bits in later versions
			n |= flows.PortLocal & 0xffff0000
		}
		configs[n] = binary.BigEndian.Uint32(b[24:])
	}
	return nil
}

// decodePorts reads ofp_port, one after the other (OpenFlow 1.4, 7.2.1).
func decodePorts(ports []Port, b []byte) ([]Port, error) {
	const fixed = 40
	for len(b) > 0 {
		if len(b) < fixed {
			return nil, fmt.Errorf("%w: %d bytes where a port is due", ErrProtocol, len(b))
		}
		n := int(binary.BigEndian.Uint16(b[4:]))
		if n < fixed || n > len(b) {
			return nil, fmt.Errorf("%w: a port of %d bytes where %d are left", ErrProtocol, n, len(b))
		}
		ports = append(ports, Port{
			OFPort: binary.BigEndian.Uint32(b),
			HWAddr: policy.MAC(b[8:14]),
			Name:   cString(b[16:32]),
			Config: binary.BigEndian.Uint32(b[32:]),
			State:  binary.BigEndian.Uint32(b[36:]),
		})
		b = b[n:]
	}
	return ports, nil
}
