package testbed

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"net"
)

// nonce returns a payload prefix of 16 characters.
func nonce() string { return rand.Text()[:16] }

func (p Probe) ping(ctx context.Context) error {
	network, echo, reply := "ip4:icmp", byte(8), byte(0)
	if p.To.Addr().Is6() {
		network, echo, reply = "ip6:ipv6-icmp", 128, 129
	}
	var c net.PacketConn
	err := p.From.Do(func() (err error) {
		c, err = net.ListenPacket(network, p.source().Addr().String())
		return err
	})
	if err != nil {
		return err
	}
	if err := p.From.keep(c); err != nil {
		return err
	}
	defer func() { _ = p.From.drop(c) }()

	payload := p.payload()
	id := binary.BigEndian.Uint16([]byte(payload))
	to := &net.IPAddr{IP: p.To.Addr().AsSlice(), Zone: p.To.Addr().Zone()}
	seq := uint16(0)
	return exchange(ctx, c, func() error {
		seq++
		// The kernel fills in the checksum of ICMPv6, and only that.
		msg := icmp(echo, 0, uint32(id)<<16|uint32(seq), payload)
		_, err := c.WriteTo(msg, to)
		return err
	}, func(buf []byte) (bool, error) {
		n, _, err := c.ReadFrom(buf)
		return n >= 8 && buf[0] == reply && bytes.Equal(buf[8:n], payload), err
	})
}
