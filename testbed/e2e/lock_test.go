package e2e

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/controller/control"
)

// Of two agents on one bridge the second waits, changes nothing, and takes over
// when the first has ended, however that was.
func TestSecondAgent(t *testing.T) {
	h := protocolHost(t)
	a, b := h.vms["a"], h.vms["b"]
	second := &host{t: t, ovs: h.ovs, dir: t.TempDir(), vms: h.vms}
	for _, d := range []string{"policy", "state"} {
		if err := os.Mkdir(second.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	vms, err := os.ReadFile(h.path("policy", "vms.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	second.write("vms.yaml", string(vms))
	second.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7002}")
	h.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7001}")
	h.wait()
	try := func(port uint16, want bool) {
		t.Helper()
		m := newMark()
		h.arrives("a", "b", want, func(f []byte) bool { return bytes.Contains(f, m) }, a.To(b, b.Addr4()).UDP(5555, port, m))
	}
	second.spawn()
	s := second.until("waiting", func(s control.Status) bool { return strings.Contains(s.Reason, "another agent enforces") })
	if s.State != "out of date" {
		t.Errorf("%+v", s)
	}
	if _, err := second.status("--wait", "--timeout=300ms"); err == nil {
		t.Error("the second agent says that its policy is in force")
	}
	try(7001, true)
	try(7002, false)
	h.rules("{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 7003}")
	if s := h.wait(); s.State != "enforcing" || s.Drift != nil {
		t.Errorf("%+v", s)
	}
	try(7003, true)
	h.murder()
	second.inForce()
	try(7002, true)
	try(7003, false)
}
