package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// permission writes the groups left and right with a rule for a port or range,
// "" for none.
func permission(left, right string) string {
	rule := func(ports string) []string {
		if ports == "" {
			return nil
		}
		return []string{"{direction: Ingress, protocol: UDP, port: " + ports + "}"}
	}
	return groupOf("leftSG", rule(left)...) + groupOf("rightSG", rule(right)...)
}

// A permission moves from one group of a VM to another while packets depend on
// the permission: packets of one connection, and packets that each open another
// connection. Every state in between allows the packets, so none may be lost.
func TestPermissionMoves(t *testing.T) {
	h := newHost(t, testbed.Options{})
	client, server := h.vm("client", 50), h.vm("server", 51)
	h.uplink("outside", 1)
	h.write("vms.yaml", groupOf("clientSG", allOut)+machine(client, "clientSG")+machine(server, "leftSG", "rightSG"))
	h.write("groups.yaml", permission("7000", ""))
	h.start()
	h.wait()

	stream, err := testbed.UDPStream(within(t, 10*time.Second), client, server, netip.AddrPortFrom(server.Addr4(), 7000))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	opening := openConnections(t, client, server, netip.AddrPortFrom(server.Addr6(), 7000))

	run := func(name string, change func()) (lostStream, lostNew uint64) {
		t.Helper()
		before, sent := stream.Missing(), stream.Sent()
		lost, opened := opening.missing(), opening.sent.Load()
		change()
		if err := stream.WaitFlowing(within(t, 5*time.Second)); err != nil {
			t.Fatal(err)
		}
		lostStream, lostNew = stream.Missing()-before, opening.missing()-lost
		t.Logf("%s: lost %d of %d packets of a connection, %d of %d that open one", name,
			lostStream, stream.Sent()-sent, lostNew, opening.sent.Load()-opened)
		return lostStream, lostNew
	}
	run("no change", func() { time.Sleep(500 * time.Millisecond) })
	// The same permission in the other group, then the same permission in other
	// words, which makes the switch judge connections anew.
	for name, right := range map[string]string{"moved": "7000", "moved and rewritten": "6000-7999"} {
		epoch := portNamed(t, h.wait(), "server").Epochs.Ingress
		a, b := run(name, func() {
			for i := range 20 {
				if i%2 == 0 {
					h.write("groups.yaml", permission("", right))
				} else {
					h.write("groups.yaml", permission("7000", ""))
				}
				h.wait()
			}
		})
		if a > 0 || b > 0 {
			t.Errorf("%s: cost %d packets of a connection and %d that opened one", name, a, b)
		}
		if raised := portNamed(t, h.wait(), "server").Epochs.Ingress > epoch; raised != (right != "7000") {
			t.Errorf("%s: epoch raised: %v", name, raised)
		}
	}

	// Without the permission the packets stop.
	h.write("groups.yaml", permission("", ""))
	h.wait()
	if err := stream.WaitStopped(within(t, 5*time.Second), 200*time.Millisecond); err != nil {
		t.Error(err)
	}
	was := opening.received.Load()
	time.Sleep(50 * time.Millisecond)
	if now := opening.received.Load(); now != was {
		t.Errorf("%d connections opened that no rule allows", now-was)
	}
	h.write("groups.yaml", permission("", "7000"))
	h.wait()
	if err := stream.WaitFlowing(within(t, 5*time.Second)); err != nil {
		t.Error(err)
	}
}

// opener sends datagrams; each datagram opens a connection.
type opener struct{ sent, received, last atomic.Uint64 }

// missing counts the lost datagrams among those sent before the latest that arrived.
func (o *opener) missing() uint64 { return o.last.Load() - min(o.last.Load(), o.received.Load()) }

// openConnections sends a datagram every 2 ms, each from another port.
func openConnections(t *testing.T, from, to *testbed.Host, at netip.AddrPort) *opener {
	t.Helper()
	const word = "opening "
	o := &opener{}
	tap, err := to.Capture(func(f []byte) bool {
		const payload = 14 + 40 + 8
		if len(f) >= payload+16 && string(f[payload:payload+8]) == word {
			o.received.Add(1)
			o.last.Store(binary.BigEndian.Uint64(f[payload+8:]))
		}
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	t.Cleanup(func() {
		close(stop)
		if err := <-done; err != nil {
			t.Error(err)
		}
		tap.Close()
	})
	go func() {
		done <- from.Do(func() error {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for n := uint64(1); ; n++ {
				select {
				case <-stop:
					return nil
				case <-tick.C:
				}
				c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
				if err != nil {
					return err
				}
				_, err = c.Write(binary.BigEndian.AppendUint64([]byte(word), n))
				_ = c.Close()
				if err != nil {
					return err
				}
				o.sent.Store(n)
			}
		})
	}()
	if err := testbed.Poll(within(t, 5*time.Second), time.Millisecond, func() (bool, error) { return o.received.Load() > 5, nil }); err != nil {
		t.Fatal("nothing opens a connection")
	}
	return o
}
