package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovs-sg/ovs-sg/testbed"
)

var (
	exampleVMs = []struct {
		name string
		n    int
	}{{"jumphost", 10}, {"web", 11}, {"app", 12}, {"db", 13}, {"batch1", 14}, {"batch2", 15}}
	exampleTCP = []uint16{22, 80, 443, 8080, 3306}
	exampleUDP = []uint16{53}
)

// allowed is the table of what the example's policy lets through: "from to
// service". It is written down by hand from docs/example, not computed.
func exampleAllowed() map[string]bool {
	out := map[string]bool{}
	allow := func(from, to string, services ...string) {
		for _, s := range services {
			out[from+" "+to+" "+s] = true
		}
	}
	all := []string{"tcp 22", "tcp 80", "tcp 443", "tcp 8080", "tcp 3306", "udp 53", "ping"}
	// The outside is no VM: only the responder's ingress rules count.
	allow("outside", "jumphost", "tcp 22")
	allow("outside", "web", "tcp 80", "tcp 443")
	// Towards the outside only the originator's egress rules count.
	allow("jumphost", "outside", "tcp 22", "ping") // it has an address of the subnet
	allow("web", "outside", "udp 53")
	allow("app", "outside", "udp 53")
	// From the jump host.
	for _, to := range []string{"web", "app", "db"} {
		allow("jumphost", to, "tcp 22", "ping")
	}
	allow("web", "app", "tcp 8080")
	allow("app", "db", "tcp 3306")
	// The default group: all egress; ingress from the subnet.
	for _, from := range []string{"batch1", "batch2"} {
		allow(from, "outside", all...)
		allow(from, "jumphost", "tcp 22")
		allow(from, "web", "tcp 80", "tcp 443")
	}
	for _, to := range []string{"batch1", "batch2"} {
		allow("outside", to, all...) // it has an address of the subnet
		allow("jumphost", to, "tcp 22", "ping")
		allow("web", to, "udp 53")
		allow("app", to, "udp 53")
	}
	allow("batch1", "batch2", all...)
	allow("batch2", "batch1", all...)
	return out
}

// exampleHost starts the example with all its VMs and a host outside.
func exampleHost(t *testing.T) *host {
	h := newHost(t, testbed.Options{})
	for _, vm := range exampleVMs {
		h.vm(vm.name, vm.n)
	}
	h.uplink("outside", 1)
	for _, vm := range h.vms {
		if err := vm.ServeTCP(exampleTCP...); err != nil {
			t.Fatal(err)
		}
		if err := vm.ServeUDP(exampleUDP...); err != nil {
			t.Fatal(err)
		}
	}
	h.example()
	h.start()
	h.wait()
	return h
}

// matrix returns a probe for each pair and service, for both families.
func (h *host) matrix(allowed map[string]bool) []testbed.Probe {
	var out []testbed.Probe
	for from, a := range h.vms {
		for to, b := range h.vms {
			if from == to {
				continue
			}
			for _, addr := range []netip.Addr{b.Addr4(), b.Addr6()} {
				add := func(service, proto string, port uint16) {
					out = append(out, testbed.Probe{Proto: proto, From: a, To: netip.AddrPortFrom(addr, port),
						Want: allowed[from+" "+to+" "+service]})
				}
				for _, port := range exampleTCP {
					add(fmt.Sprintf("tcp %d", port), "tcp", port)
				}
				for _, port := range exampleUDP {
					add(fmt.Sprintf("udp %d", port), "udp", port)
				}
				add("ping", "ping", 0)
			}
		}
	}
	return out
}

func (h *host) runMatrix(allowed map[string]bool) {
	h.t.Helper()
	// The probes that must pass come first: only if they pass does it mean
	// something that the other probes do not.
	var yes, no []testbed.Probe
	for _, p := range h.matrix(allowed) {
		if p.Want {
			yes = append(yes, p)
		} else {
			no = append(no, p)
		}
	}
	for _, probes := range [][]testbed.Probe{yes, no} {
		results := testbed.Matrix(context.Background(), probes, 100)
		for _, r := range testbed.Surprises(results) {
			h.t.Error(r)
		}
	}
	h.t.Logf("%d cells that pass, %d that do not", len(yes), len(no))
}

func TestWorkedExample(t *testing.T) {
	h := exampleHost(t)
	h.runMatrix(exampleAllowed())
}
