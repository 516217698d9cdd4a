package e2e

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/controller/control"
)

// A VM with as many connections as it may have gets no more, and others do.
func TestConnectionLimit(t *testing.T) {
	h := protocolHost(t, "--max-connections-per-vm=20")
	h.rules("{direction: Egress}", "{direction: Egress}")
	h.wait()
	router := h.vms["router"]
	// answered sends a datagram to the router, and the router's answer, which
	// passes only if the connection is known.
	answered := func(name string, port uint16, want bool) {
		t.Helper()
		vm, m := h.vms[name], newMark()
		there := func(f []byte) bool { return bytes.Contains(f, m) }
		h.arrives(name, "router", true, there, vm.To(router, router.Addr4()).UDP(port, 9, m))
		m = newMark()
		h.arrives("router", name, want, there, router.To(vm, vm.Addr4()).UDP(9, port, m))
	}
	for port := range uint16(20) {
		answered("a", 5000+port, true)
	}
	answered("a", 6000, false)
	answered("a", 5000, true) // a known one goes on
	answered("b", 6000, true)
	h.until("a is full", func(s control.Status) bool {
		return strings.Contains(strings.Join(s.Warnings, "\n"), "port a: it has the 20 connections")
	})
	if s := h.wait(); len(s.Warnings) != 1 {
		t.Errorf("%v", s.Warnings)
	}
	// A port that is plugged anew has its limit, and may use it.
	vsctl("del-port", "br0", "a")(h)
	h.wait()
	if err := h.vms["a"].Replug(0); err != nil {
		t.Fatal(err)
	}
	h.wait()
	answered("a", 6000, true)
}
