package e2e

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// An ICMP error about a connection reaches an end of it from the other end, and
// not from a third VM that the rules allow to reach both.
func TestForgedErrors(t *testing.T) {
	h := newHost(t, testbed.Options{})
	for i, name := range []string{"a", "b", "c"} {
		h.vm(name, 31+i)
		h.write(name+".yaml", `
apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: `+name+`}
spec:
  networking:
    interfaces: [{ipAddresses: [10.0.1.3`+string('1'+rune(i))+`, "fd00:1::`+[]string{"1f", "20", "21"}[i]+`"]}]
    securityGroups: {securityGroupMemberships: [{name: all}]}
`)
	}
	h.write("groups.yaml", `
apiVersion: networking.evroclabs.net/v1alpha1
kind: SecurityGroup
metadata: {name: all}
spec: {rules: [{direction: Ingress}, {direction: Egress}]}
`)
	h.start()
	h.wait()
	a, b, c := h.vms["a"], h.vms["b"], h.vms["c"]
	carries := func(m mark) func([]byte) bool { return func(f []byte) bool { return bytes.Contains(f, m) } }
	for _, dst := range []netip.Addr{b.Addr4(), b.Addr6()} {
		m := newMark()
		open := a.To(b, dst).UDP(4000, 7001, m)
		h.arrives("a", "b", true, carries(m), open)
		back, forged := b.To(a, a.Addr4()), c.To(a, a.Addr4())
		kinds := [][2]uint8{{3, 3}, {3, 4}, {11, 0}, {12, 0}}
		if dst.Is6() {
			back, forged = b.To(a, a.Addr6()), c.To(a, a.Addr6())
			kinds = [][2]uint8{{1, 4}, {2, 0}, {3, 0}, {4, 0}}
		}
		for _, k := range kinds {
			quoted := func(m mark) []byte { return m.on(open[14:]) }
			true_, lie := newMark(), newMark()
			h.arrives("b", "a", true, carries(true_), back.ICMP(k[0], k[1], 1280, quoted(true_)))
			h.arrives("c", "a", false, carries(lie), forged.ICMP(k[0], k[1], 1280, quoted(lie)))
		}
		// The third VM may speak with both all the same.
		m = newMark()
		h.arrives("c", "a", true, carries(m), forged.UDP(4000, 7001, m))
	}
}
