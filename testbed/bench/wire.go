package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// wire is a switch with two VMs, from one of which frames are sent to the other.
// The guests have no addresses of their own, so that their kernels neither
// answer nor ask: every frame is made here.
type wire struct {
	*lab
	name     string
	a, b     *testbed.Host
	tx, rx   int // packet sockets at a and b
	back     int // packet socket for frames from b to a
	last     time.Duration
	costs    []time.Duration
	megaflow int

	lookupsEach float64 // look-ups per new connection
}

// Ports of the connection that stays open, and of those that are new.
const (
	openPort  = 53
	manyPorts = 1000 // from firstPort
	firstPort = 20_000
)

// newWire starts a switch with VMs 1 and 2 as ports 1 and 2.
func (b *bench) newWire(name string) (w *wire, err error) {
	l, err := b.newLab(false)
	if err != nil {
		return nil, err
	}
	w = &wire{lab: l, name: name, tx: -1, rx: -1, back: -1}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	for i, h := range []**testbed.Host{&w.a, &w.b} {
		if *h, err = l.ovs.AddVM(testbed.VMConfig{Name: vmName(i + 1), MAC: vmMAC(i + 1), OFPort: i + 1}); err != nil {
			return nil, err
		}
	}
	if w.tx, err = packetSocket(w.a, 0); err == nil {
		if w.back, err = packetSocket(w.b, 0); err == nil {
			w.rx, err = packetSocket(w.b, unix.ETH_P_IP)
		}
	}
	return w, err
}

func (w *wire) close() {
	for _, fd := range []int{w.tx, w.rx, w.back} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	w.lab.close()
}

// packetSocket returns a packet socket at e0; protocol 0 receives nothing.
func packetSocket(h *testbed.Host, protocol uint16) (fd int, err error) {
	err = h.Do(func() error {
		dev, err := net.InterfaceByName("e0")
		if err != nil {
			return err
		}
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: dev.Index})
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		}
		if err != nil {
			_ = unix.Close(fd)
		}
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("packet socket at %s: %w", h.Name, err)
	}
	return fd, nil
}

// frame returns a datagram from a to b.
func (w *wire) frame(src, dst uint16) []byte {
	p := testbed.Packet{SrcMAC: w.a.MAC, DstMAC: w.b.MAC, Src: netip.MustParseAddr(vmAddr(10, 1)), Dst: netip.MustParseAddr(vmAddr(10, 2))}
	return p.UDP(src, dst, []byte("bench"))
}

// reply returns a datagram from b to a.
func (w *wire) reply(src, dst uint16) []byte {
	p := testbed.Packet{SrcMAC: w.b.MAC, DstMAC: w.a.MAC, Src: netip.MustParseAddr(vmAddr(10, 2)), Dst: netip.MustParseAddr(vmAddr(10, 1))}
	return p.UDP(src, dst, []byte("bench"))
}

func send(fd int, frames ...[]byte) error {
	for _, f := range frames {
		if _, err := unix.Write(fd, f); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// take waits for n datagrams of the measurement at b, and returns how many came.
func (w *wire) take(ctx context.Context, n int) (got int, err error) {
	buf := make([]byte, 2048)
	for got < n {
		fds := []unix.PollFd{{Fd: int32(w.rx), Events: unix.POLLIN}}
		ready, err := unix.Poll(fds, 1000)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return got, err
		case ctx.Err() != nil:
			return got, ctx.Err()
		case ready == 0:
			return got, nil
		}
		size, err := unix.Read(w.rx, buf)
		if err != nil {
			return got, err
		}
		if size > 42 && buf[23] == testbed.ProtoUDP && string(buf[42:min(size, 47)]) == "bench" {
			got++
		}
	}
	return got, nil
}

// burst lets the switch find all frames at once when it wakes up, so that the
// size of its batches does not depend on the scheduler. What one burst costs
// is known when the next one begins.
func (w *wire) burst(frames [][]byte) error {
	pid := w.ovs.SwitchdPID()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return err
	}
	cont := func() error { return unix.Kill(pid, unix.SIGCONT) }
	used, err := cpuTime(pid)
	if err == nil {
		if w.last != 0 {
			w.costs = append(w.costs, (used-w.last)/time.Duration(len(frames)))
		}
		w.last = used
		err = send(w.tx, frames...)
	}
	if continued := cont(); err == nil {
		err = continued
	}
	if err != nil {
		return err
	}
	return w.arrived(len(frames))
}

// arrived waits for n datagrams; fewer are an error.
func (w *wire) arrived(n int) error {
	got, err := w.take(w.lab.b.ctx, n)
	if err == nil && got != n {
		err = fmt.Errorf("%s: %d of %d frames arrived", w.name, got, n)
	}
	return err
}

// open makes the connection that stays open, seen in both directions.
func (w *wire) open() error {
	for range 3 {
		if err := send(w.tx, w.frame(openPort, openPort)); err != nil {
			return err
		}
		if got, err := w.take(w.lab.b.ctx, 1); err != nil || got == 1 {
			if err == nil {
				err = send(w.back, w.reply(openPort, openPort))
			}
			return err
		}
	}
	return fmt.Errorf("%s: no frame arrives", w.name)
}

// forget ends all connections and empties the flow cache.
func (w *wire) forget() error {
	if _, err := w.ovs.Appctl("dpctl/flush-conntrack"); err != nil {
		return err
	}
	return w.ovs.Purge()
}

// minimal is the smallest stateful pipeline: it tracks, and lets new and
// established connections pass without asking a rule.
const minimal = `table=0,priority=100,ip,ct_state=-trk actions=ct(table=1)
table=0,priority=50,arp actions=NORMAL
table=1,ip,in_port=1,ct_state=+trk+new actions=ct(commit),output:2
table=1,ip,in_port=2,ct_state=+trk+new actions=ct(commit),output:1
table=1,ip,in_port=1,ct_state=+trk+est actions=output:2
table=1,ip,in_port=2,ct_state=+trk+est actions=output:1
`

// minimalWire returns a wire with the smallest stateful pipeline, and more flows.
func (b *bench) minimalWire(more ...string) (*wire, error) {
	w, err := b.newWire("minimal")
	if err != nil {
		return nil, err
	}
	if err := w.ovs.ReplaceFlows(minimal + strings.Join(more, "\n")); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// guardedWire returns a wire with the pipeline of ovs-sg for a group; the agent
// that installed it has ended.
func (b *bench) guardedWire(name, group string) (*wire, error) {
	w, err := b.newWire(name)
	if err != nil {
		return nil, err
	}
	err = w.put("group.yaml", group)
	if err == nil {
		err = w.members(1, local+1)
	}
	if err == nil {
		var a agent
		if a, _, err = w.enforce(); err == nil {
			err = a.stop()
		}
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}
