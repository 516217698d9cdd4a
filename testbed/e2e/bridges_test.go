package e2e

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// Two bridges of one datapath share connection tracking and number their ports
// alike. What a connection may do on one bridge opens nothing on the other.
func TestTwoBridges(t *testing.T) {
	h := protocolHost(t)
	second := &host{t: t, ovs: h.ovs, dir: t.TempDir(), vms: map[string]*testbed.Host{}}
	for _, d := range []string{"policy", "state"} {
		if err := os.Mkdir(second.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The same VMs, by address and port number, on the other bridge.
	vsctl("--", "add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=netdev", "fail_mode=secure")(h)
	ofport := func(name string) string {
		out, err := h.ovs.Vsctl("get", "Interface", name, "ofport")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	for _, name := range []string{"a", "b"} {
		n := map[string]int{"a": 31, "b": 32}[name]
		twin := h.vm(name+"2", n)
		second.vms[name] = twin
		vsctl("--", "del-port", "br0", name+"2", "--", "add-port", "br1", name+"2", "--", "set", "Interface", name+"2",
			"ofport_request="+ofport(name), "external_ids:iface-id="+name, `external_ids:attached-mac="`+twin.MAC.String()+`"`)(h)
		if got := ofport(name + "2"); got != ofport(name) {
			t.Fatalf("ofports %s and %s", got, ofport(name))
		}
	}
	vms, err := os.ReadFile(h.path("policy", "vms.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	second.write("vms.yaml", string(vms))
	h.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7001}")
	second.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7002}")
	h.wait()
	second.spawn("--bridge", "br1")
	second.inForce()
	try := func(h *host, port uint16, want bool) {
		t.Helper()
		a, b, m := h.vms["a"], h.vms["b"], newMark()
		h.arrives("a", "b", want, func(f []byte) bool { return bytes.Contains(f, m) }, a.To(b, b.Addr4()).UDP(5555, port, m))
	}
	for range 2 { // the connections of one bridge are there when the other is tried
		try(h, 7001, true)
		try(second, 7001, false)
		try(second, 7002, true)
		try(h, 7002, false)
	}
	// A change of policy of one leaves the other as it was.
	h.rules("{direction: Egress}", "")
	h.wait()
	try(h, 7001, false)
	try(second, 7002, true)
}
