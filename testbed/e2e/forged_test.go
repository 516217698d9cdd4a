package e2e

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
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
