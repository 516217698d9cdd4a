package testbed

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Capture collects the frames that arrive at a host and that a filter accepts.
type Capture struct {
	file   *os.File
	match  func(frame []byte) bool
	mu     sync.Mutex
	frames [][]byte
	news   chan struct{} // closed and replaced at each frame
}

// Capture starts to capture at e0, in promiscuous mode: every frame that the
// switch delivers, whatever the frame's address, with its VLAN tag, but no frame
// that the host itself sends. The capture has begun when Capture returns. A nil
// match accepts every frame.
func (h *Host) Capture(match func(frame []byte) bool) (*Capture, error) {
	fd, _, err := h.packetSocket(unix.ETH_P_ALL)
	if err != nil {
		return nil, fmt.Errorf("capture at %s: %w", h.Name, err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("capture at %s: %w", h.Name, err)
	}
	c := &Capture{match: match, news: make(chan struct{})}
	c.file = os.NewFile(uintptr(fd), "capture")
	conn, err := c.file.SyscallConn()
	if err != nil {
		_ = c.file.Close()
		return nil, err
	}
	go c.read(conn)
	return c, h.keep(c)
}

// Close ends the capture. The end of the host closes it too.
func (c *Capture) Close() error { return c.file.Close() }

// Wait returns the first accepted frame, waiting for it if need be.
func (c *Capture) Wait(ctx context.Context) ([]byte, error) {
	for {
		c.mu.Lock()
		frames, news := c.frames, c.news
		c.mu.Unlock()
		if len(frames) > 0 {
			return frames[0], nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-news:
		}
	}
}

// Got reports whether a frame is accepted within the time.
func (c *Capture) Got(within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, err := c.Wait(ctx)
	return err == nil
}

// Frames returns the frames accepted so far.
func (c *Capture) Frames() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames)
}

// Reset forgets the frames accepted so far.
func (c *Capture) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = nil
}

func (c *Capture) read(conn syscall.RawConn) {
	buf, oob := make([]byte, 65536), make([]byte, 256)
	for {
		var n, oobn int
		var from unix.Sockaddr
		var err error
		if conn.Read(func(fd uintptr) bool {
			n, oobn, _, from, err = unix.Recvmsg(int(fd), buf, oob, 0)
			return err != unix.EAGAIN
		}) != nil {
			return // closed
		}
		if err != nil {
			continue // the device went down: more may come
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		frame := withTag(slices.Clone(buf[:n]), oob[:oobn])
		if c.match != nil && !c.match(frame) {
			continue
		}
		c.mu.Lock()
		c.frames = append(c.frames, frame)
		close(c.news)
		c.news = make(chan struct{})
		c.mu.Unlock()
	}
}

// withTag puts back the VLAN tag that the kernel takes off a received frame.
func withTag(frame, oob []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(frame) < 14 {
		return frame
	}
	for _, m := range messages {
		// struct tpacket_auxdata: u32 status, len, snaplen; u16 mac, net, vlan_tci, vlan_tpid.
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20 &&
			binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
			tag := be.AppendUint16(be.AppendUint16(nil, binary.NativeEndian.Uint16(m.Data[18:])), binary.NativeEndian.Uint16(m.Data[16:]))
			return slices.Insert(frame, 12, tag...)
		}
	}
	return frame
}

// Send puts frames on the wire at e0 as they are.
func (h *Host) Send(frames ...[]byte) error {
	fd, index, err := h.packetSocket(0)
	if err != nil {
		return fmt.Errorf("send from %s: %w", h.Name, err)
	}
	defer unix.Close(fd)
	for _, f := range frames {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			return fmt.Errorf("send from %s: %w", h.Name, err)
		}
	}
	return nil
}

// packetSocket opens a packet socket bound to e0; protocol 0 receives nothing.
func (h *Host) packetSocket(protocol uint16) (fd, index int, err error) {
	err = h.Do(func() error {
		dev, err := net.InterfaceByName("e0")
		if err != nil {
			return err
		}
		index = dev.Index
		// The socket is opened without a protocol, so that it receives no frames
		// of other devices before bind.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: index}); err != nil {
			_ = unix.Close(fd)
		}
		return err
	})
	return fd, index, err
}

// frame is the probe with that name. The frame is sent again now and then: the
// first one may be lost while the switch changes.
func (p Probe) frame(ctx context.Context) error {
	c, err := p.Capturer.Capture(p.Match)
	if err != nil {
		return err
	}
	defer func() { _ = p.Capturer.drop(c) }()
	for wait := 30 * time.Millisecond; ; wait *= 2 {
		if err := p.From.Send(p.Frame); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(ctx, wait)
		_, err := c.Wait(short)
		cancel()
		if err == nil {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}
