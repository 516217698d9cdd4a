package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// protocolHost starts two VMs in groups of their own and a host outside.
func protocolHost(t *testing.T, args ...string) *host {
	h := newHost(t, testbed.Options{})
	h.vm("a", 31)
	h.vm("b", 32)
	h.uplink("router", 1)
	h.write("vms.yaml", `
apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: a}
spec:
  networking:
    interfaces: [{ipAddresses: [10.0.1.31, "fd00:1::1f"]}]
    securityGroups: {securityGroupMemberships: [{name: aSG}]}
---
apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: b}
spec:
  networking:
    interfaces: [{ipAddresses: [10.0.1.32, "fd00:1::20"]}]
    securityGroups: {securityGroupMemberships: [{name: bSG}]}
`)
	h.rules("{direction: Egress}", "")
	h.start(args...)
	h.wait()
	return h
}

// rules sets the rules of the groups of a and b.
func (h *host) rules(a, b string) {
	h.t.Helper()
	group := func(name, rules string) string {
		return "---\napiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: " + name +
			"}\nspec: {rules: [" + rules + "]}\n"
	}
	h.write("groups.yaml", group("aSG", a)+group("bSG", b))
}

// arrives says whether frames from a reach b. Either all must arrive or none.
func (h *host) arrives(from, to string, want bool, match func([]byte) bool, frames ...[]byte) {
	h.t.Helper()
	c, err := h.vms[to].Capture(match)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	if err := h.vms[from].Send(frames...); err != nil {
		h.t.Fatal(err)
	}
	if !want {
		if c.Got(testbed.DeniedTimeout) {
			h.t.Errorf("%s got a frame from %s that no rule allows: %x", to, from, c.Frames())
		}
		return
	}
	if _, err := c.Wait(within(h.t, 5*time.Second)); err != nil {
		h.t.Errorf("%s did not get the frame from %s: %v", to, from, err)
	}
}

// ipProto matches IPv4 frames of a protocol, and IPv6 ones with that next
// header, from an address.
func ipProto(proto byte, src netip.Addr) func([]byte) bool {
	return func(f []byte) bool {
		if len(f) < 54 {
			return len(f) >= 34 && f[12] == 8 && f[13] == 0 && f[23] == proto && netip.AddrFrom4([4]byte(f[26:30])) == src
		}
		switch binary.BigEndian.Uint16(f[12:]) {
		case 0x0800:
			return f[23] == proto && netip.AddrFrom4([4]byte(f[26:30])) == src
		case 0x86dd:
			return f[20] == proto && netip.AddrFrom16([16]byte(f[22:38])) == src
		}
		return false
	}
}

// Protocol All is every IP protocol; rules for TCP, UDP and ICMP are not All.
func TestProtocolsWithoutPorts(t *testing.T) {
	h := protocolHost(t)
	a, b := h.vms["a"], h.vms["b"]
	for _, dst := range []netip.Addr{b.Addr4(), b.Addr6()} {
		p := a.To(b, dst)
		frames := map[byte][]byte{
			testbed.ProtoIPIP: p.IPIP(a.To(b, b.Addr4()).Header(testbed.ProtoUDP, a.To(b, b.Addr4()).UDPSegment(1, 2, []byte("inner")))),
			testbed.ProtoGRE:  p.GRE(0x0800, []byte("not looked at")),
			testbed.ProtoESP:  p.ESP(1, 1, make([]byte, 32)),
			testbed.ProtoSCTP: p.SCTP(5000, 5000),
			112:               p.IP(112, make([]byte, 20)), // VRRP
		}
		try := func(want bool) {
			t.Helper()
			for proto, frame := range frames {
				h.arrives("a", "b", want, ipProto(proto, p.Src), frame)
			}
		}
		h.rules("{direction: Egress}", "{direction: Ingress, protocol: All}")
		h.wait()
		try(true)
		h.rules("{direction: Egress}", "{direction: Ingress, protocol: TCP}, {direction: Ingress, protocol: UDP}, {direction: Ingress, protocol: ICMP}")
		h.wait()
		try(false)
		h.rules("{direction: Egress, protocol: UDP}", "{direction: Ingress}")
		h.wait()
		try(false)
	}
}

// The later fragments of a datagram have no ports; they share the verdict of the
// first fragment.
func TestFragments(t *testing.T) {
	h := protocolHost(t)
	a, b := h.vms["a"], h.vms["b"]
	if err := b.ServeUDP(7000); err != nil {
		t.Fatal(err)
	}
	h.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7000}")
	h.wait()
	for i, addr := range []netip.Addr{b.Addr4(), b.Addr6()} {
		p := a.To(b, addr)
		fragments := func(port uint16) [][]byte {
			id := port + uint16(i)
			return p.Fragments(testbed.ProtoUDP, id, p.UDPSegment(40000+id, port, make([]byte, 3000)), 1400)
		}
		isFragment := func(f []byte) bool {
			return ipProto(testbed.ProtoUDP, p.Src)(f) || ipProto(44, p.Src)(f)
		}
		all := func(frames [][]byte, want int) {
			t.Helper()
			c, err := b.Capture(isFragment)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := a.Send(frames...); err != nil {
				t.Fatal(err)
			}
			if want == 0 {
				if c.Got(testbed.DeniedTimeout) {
					t.Errorf("fragment of a denied datagram came: %x", c.Frames()[0])
				}
				return
			}
			if err := testbed.Poll(within(t, 5*time.Second), time.Millisecond, func() (bool, error) { return len(c.Frames()) >= want, nil }); err != nil {
				t.Errorf("%d fragments of %d came", len(c.Frames()), want)
			}
		}
		allowed := fragments(7000)
		all(allowed, len(allowed)) // the first datagram of a connection
		all(fragments(7001), 0)
		all(fragments(7002)[1:], 0) // without the first
		all(fragments(7000)[:1], 0) // without the others
		all(allowed, len(allowed))

		probe := testbed.Probe{Proto: "udp", From: a, To: netip.AddrPortFrom(addr, 7000), Size: 3000, Want: true}
		if r := probe.Run(context.Background()); !r.OK() {
			t.Error(r)
		}
	}
}

// An ICMP error about an allowed connection comes back, from the responder and
// from a router on the way; an error about no connection does not.
func TestICMPErrors(t *testing.T) {
	h := protocolHost(t)
	a, b, router := h.vms["a"], h.vms["b"], h.vms["router"]
	h.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7000}")
	h.wait()
	aMAC, outside := a.To(b, b.Addr4()), netip.MustParseAddr("192.0.2.1")

	// a and b open and use a connection; then b says "port unreachable".
	request := aMAC.UDP(40000, 7000, []byte("anybody?"))
	isUDP := ipProto(testbed.ProtoUDP, a.Addr4())
	h.arrives("a", "b", true, isUDP, request)
	unreachable := b.To(a, a.Addr4()).ICMP(3, 3, 0, request[14:])
	h.arrives("b", "a", true, ipProto(testbed.ProtoICMP, b.Addr4()), unreachable)
	// An error about a connection that never existed.
	m := newMark() // b's kernel sends an error of its own about the request
	never := m.on(aMAC.UDP(40001, 7000, []byte("anybody?")))
	h.arrives("b", "a", false, func(f []byte) bool { return bytes.Contains(f, m) }, b.To(a, a.Addr4()).ICMP(3, 3, 0, never[14:]))

	// Through the router to a host outside.
	out := a.To(router, outside)
	request = out.UDP(40002, 9, []byte("hello"))
	h.arrives("a", "router", true, isUDP, request)
	for _, icmp := range [][2]byte{{3, 4}, {11, 0}} { // fragmentation needed, time exceeded
		h.arrives("router", "a", true, ipProto(testbed.ProtoICMP, router.Addr4()),
			router.To(a, a.Addr4()).ICMP(icmp[0], icmp[1], 1400, request[14:]))
	}
	h.arrives("router", "a", false, ipProto(testbed.ProtoICMP, router.Addr4()),
		router.To(a, a.Addr4()).ICMP(3, 4, 1400, out.UDP(40003, 9, []byte("hello"))[14:]))
	// A ping that no rule allows, though it comes from the same router.
	h.arrives("router", "a", false, ipProto(testbed.ProtoICMP, router.Addr4()), router.To(a, a.Addr4()).Echo(1, 1, []byte("ping")))
}
