package e2e

import (
	"bytes"
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// Connections that were made while somebody else's flows let them in end when the
// flows are put right, even if somebody has put the flows back before the agent
// looks, and even if no agent ran.
func TestForgedConnection(t *testing.T) {
	h := protocolHost(t)
	h.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7001}")
	h.wait()

	try := func(from, to string, source, port uint16, want bool) {
		h.t.Helper()
		m := newMark()
		h.arrives(from, to, want, func(f []byte) bool { return bytes.Contains(f, m) }, h.vms[from].To(h.vms[to], h.vms[to].Addr4()).UDP(source, port, m))
	}
	forge := func() {
		h.t.Helper()
		ofctl("mod-flows", "table=12,actions=goto_table:13")(h)
		if err := h.ovs.Purge(); err != nil {
			h.t.Fatal(err)
		}
		for range 2 {
			try("a", "b", 5555, 7002, true)
			try("b", "a", 7002, 5555, true)
			try("router", "b", 5556, 7002, true)
		}
	}
	for _, x := range []struct {
		name string
		do   func()
	}{
		{"running", func() {
			h.signal(syscall.SIGSTOP)
			forge()
			h.signal(syscall.SIGCONT)
		}},
		{"and back", func() {
			h.signal(syscall.SIGSTOP)
			before := h.flows()
			forge()
			if err := h.ovs.ReplaceFlows(before); err != nil {
				h.t.Fatal(err)
			}
			h.signal(syscall.SIGCONT)
		}},
		{"down", func() {
			h.kill()
			forge()
			h.spawn()
		}},
		{"epochs lost", func() {
			h.kill()
			forge()
			ofctl("del-flows", "table=10")(h)
			h.spawn()
		}},
		{"all epochs lost", func() {
			h.kill()
			forge()
			ofctl("del-flows", "table=5")(h)
			ofctl("del-flows", "table=6")(h)
			ofctl("del-flows", "table=10")(h)
			h.spawn()
		}},
	} {
		t.Run(strings.ReplaceAll(x.name, " ", "-"), func(t *testing.T) {
			h.t = t
			try("a", "b", 5555, 7001, true)
			x.do()
			h.inForce()
			try("a", "b", 5555, 7002, false)
			try("b", "a", 7002, 5555, false)
			try("router", "b", 5556, 7002, false)
			try("a", "b", 5555, 7001, true)
			try("b", "a", 7001, 5555, true)
		})
	}
	h.t = t
}

// What NORMAL has learned from a VM by somebody else's flow is forgotten, although
// the VM goes on sending: the last statistics of old megaflows make NORMAL learn.
func TestForgedAddresses(t *testing.T) {
	h := protocolHost(t)
	a, b := h.vms["a"], h.vms["b"]
	var frames [][]byte
	for i := range 1000 {
		mac := net.HardwareAddr{2, 9, 9, 9, byte(i >> 8), byte(i)}
		frames = append(frames, testbed.Packet{SrcMAC: mac, DstMAC: b.MAC}.ARP(testbed.ARPReply, mac, a.Addr4(), b.MAC, b.Addr4()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			for i := 0; i < len(frames); i += 50 {
				_ = a.Send(frames[i : i+50]...)
			}
		}
	}()
	defer func() { cancel(); <-ended }()
	learned := func() int {
		t.Helper()
		out, err := h.ovs.Appctl("fdb/show", h.ovs.Bridge())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(out, "02:09:09:09:")
	}
	for range 3 {
		h.signal(syscall.SIGSTOP)
		ofctl("add-flow", "table=0,priority=65535,actions=NORMAL")(h)
		if err := testbed.Poll(within(t, 20*time.Second), time.Millisecond, func() (bool, error) { return learned() == len(frames), nil }); err != nil {
			t.Fatalf("%d addresses are learned: %v", learned(), err)
		}
		h.signal(syscall.SIGCONT)
		h.inForce()
		if n := learned(); n > 0 {
			t.Errorf("%d addresses stay learned", n)
		}
	}
}
