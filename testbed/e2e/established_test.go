package e2e

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// client and server with one group each; the client only ever listens.
const streamVMs = `
apiVersion: networking.evroclabs.net/v1alpha1
kind: Subnet
metadata: {name: a}
spec: {ipv4CidrBlock: 10.0.1.0/24, ipv6CidrBlock: "fd00:1::/64"}
---
apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: server}
spec:
  networking:
    interfaces: [{ipAddresses: [10.0.1.21, "fd00:1::15"]}]
    securityGroups: {securityGroupMemberships: [{name: serverSG}]}
---
apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: other}
spec:
  networking:
    interfaces: [{ipAddresses: [10.0.1.23, "fd00:1::17"]}]
    securityGroups: {securityGroupMemberships: [{name: clientSG}]}
`

func clientIn(group string) string {
	return `
apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: client}
spec:
  networking:
    interfaces: [{ipAddresses: [10.0.1.22, "fd00:1::16"]}]
    securityGroups: {securityGroupMemberships: [{name: ` + group + `}]}
`
}

const clientGroups = `
apiVersion: networking.evroclabs.net/v1alpha1
kind: SecurityGroup
metadata: {name: clientSG}
spec: {rules: [{direction: Egress}]}
---
apiVersion: networking.evroclabs.net/v1alpha1
kind: SecurityGroup
metadata: {name: strangerSG}
spec: {rules: [{direction: Egress}]}
`

func serverGroup(rules string) string {
	return `
apiVersion: networking.evroclabs.net/v1alpha1
kind: SecurityGroup
metadata: {name: serverSG}
spec:
  rules: [` + rules + `]
`
}

const (
	fromClients = `{name: clients, direction: Ingress, remote: {securityGroupRef: {name: clientSG}}}`
	fromOutside = `{name: outside, direction: Ingress, remote: {address: {IPAddressOrCIDR: 10.0.1.1}}}`
)

// within is a context for waiting on traffic.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// streamHost starts a server with clients on the bridge and outside.
func streamHost(t *testing.T) *host {
	h := newHost(t, testbed.Options{})
	h.vm("server", 21)
	h.vm("client", 22)
	h.vm("other", 23)
	h.uplink("outside", 1)
	h.write("vms.yaml", streamVMs)
	h.write("client.yaml", clientIn("clientSG"))
	h.write("groups.yaml", clientGroups)
	h.write("server.yaml", serverGroup(fromClients+", "+fromOutside))
	h.start()
	h.wait()
	return h
}

// A revoked connection stops although its client never sends, and goes on when
// the rules allow the connection again. The agent flushes nothing, and other
// connections lose no packet.
func TestRevokedConnection(t *testing.T) {
	h := streamHost(t)
	open := func(kind func(context.Context, *testbed.Host, *testbed.Host, netip.AddrPort) (*testbed.Stream, error), client string, port uint16) *testbed.Stream {
		t.Helper()
		s, err := kind(within(t, 10*time.Second), h.vms[client], h.vms["server"], netip.AddrPortFrom(h.vms["server"].Addr4(), port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	type stream struct {
		name string
		*testbed.Stream
	}
	streams := []stream{
		{"UDP to a VM", open(testbed.UDPStream, "client", 7001)},
		{"TCP to a VM", open(testbed.TCPStream, "client", 7002)},
	}
	outside := []stream{
		{"UDP to outside", open(testbed.UDPStream, "outside", 7003)},
		{"TCP to outside", open(testbed.TCPStream, "outside", 7004)},
	}
	bystander := stream{"bystander", open(testbed.UDPStream, "other", 7005)}

	flow := func(ss ...stream) {
		t.Helper()
		for _, s := range ss {
			if err := s.WaitFlowing(within(t, 15*time.Second)); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
	}
	stop := func(ss ...stream) {
		t.Helper()
		for _, s := range ss {
			if err := s.WaitStopped(within(t, 15*time.Second), 600*time.Millisecond); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
	}
	tracked := func() int {
		t.Helper()
		entries, err := h.ovs.Conntrack()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range entries {
			if regexp.MustCompile(`dport=700[1-5]\b`).MatchString(e) {
				n++
			}
		}
		return n
	}
	flow(append(append(streams, outside...), bystander)...)
	if n := tracked(); n != 5 {
		t.Fatalf("%d connections tracked, want 5", n)
	}

	t.Log("the server's rule for the outside goes")
	h.write("server.yaml", serverGroup(fromClients))
	h.wait()
	stop(outside...)
	flow(append(streams, bystander)...)

	t.Log("the rule returns")
	h.write("server.yaml", serverGroup(fromClients+", "+fromOutside))
	h.wait()
	flow(append(append(streams, outside...), bystander)...)

	t.Log("the client leaves the remote group")
	h.write("client.yaml", clientIn("strangerSG"))
	h.wait()
	stop(streams...)
	flow(append(outside, bystander)...)

	t.Log("the client is a member again")
	h.write("client.yaml", clientIn("clientSG"))
	h.wait()
	flow(append(append(streams, outside...), bystander)...)

	if n := tracked(); n != 5 {
		t.Errorf("%d connections tracked at the end, want the same 5: something was flushed", n)
	}
}

// An established connection between two local VMs costs one recirculation, and
// after it the megaflow matches only the state of the connection.
func TestFastPath(t *testing.T) {
	h := streamHost(t)
	s, err := testbed.UDPStream(within(t, 10*time.Second), h.vms["client"], h.vms["server"], netip.AddrPortFrom(h.vms["server"].Addr4(), 7001))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.WaitFlowing(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	// Forget the megaflows of the first packets.
	if err := h.ovs.Purge(); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitFlowing(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	megaflows, err := h.ovs.Megaflows()
	if err != nil {
		t.Fatal(err)
	}
	first, second := 0, 0
	for _, m := range megaflows {
		looksAt := exactOnly(m)
		tuple := regexp.MustCompile(`(ipv[46]|udp|ct_tuple[46])\(([^)]*,)?(src|dst|tp_src|tp_dst)=`).FindString(looksAt)
		switch {
		case strings.Contains(m, "recirc_id(0)") && strings.Contains(m, "recirc("):
			first++
			if tuple == "" { // the spoof guard has looked at the source
				t.Errorf("no address in %s: is the test blind?", looksAt)
			}
		case !strings.Contains(m, "recirc_id(0)") && !strings.Contains(m, "actions:drop"):
			second++
			if strings.Contains(m, "recirc(") || strings.Contains(m, "ct(") {
				t.Errorf("more than one recirculation: %s", m)
			}
			if tuple != "" {
				t.Errorf("an established connection's megaflow looks at %s: %s", tuple, looksAt)
			}
		}
	}
	if first == 0 || second == 0 {
		t.Errorf("%d megaflows before and %d behind connection tracking:\n%s", first, second, strings.Join(megaflows, "\n"))
	}
}

// exactOnly drops the fields of a megaflow that its mask leaves open.
func exactOnly(m string) string {
	m, _, _ = strings.Cut(m, " packets:")
	m = regexp.MustCompile(`[a-z_0-9]+=[^,()]*/(0x)?(0+|::|0\.0\.0\.0|00:00:00:00:00:00)\b,?`).ReplaceAllString(m, "")
	return regexp.MustCompile(`[a-z0-9_]+\(\)`).ReplaceAllString(m, "")
}

// A connection that one VM may have does not open another VM: neither when a
// guest sends the connection's packets there, nor when the address moves there.
func TestConnectionIsNobodyElses(t *testing.T) {
	h := streamHost(t)
	client, server, other := h.vms["client"], h.vms["server"], h.vms["other"]
	from := ipProto(testbed.ProtoUDP, client.Addr4())
	h.arrives("client", "server", true, from, client.To(server, server.Addr4()).UDP(5000, 7001, []byte("mine")))
	h.arrives("server", "client", true, ipProto(testbed.ProtoUDP, server.Addr4()), server.To(client, client.Addr4()).UDP(7001, 5000, []byte("yours")))

	// other has the same epoch, and no rule that lets anything in.
	stray := client.To(other, server.Addr4()).UDP(5000, 7001, []byte("not yours"))
	h.arrives("client", "other", false, from, stray)
	h.arrives("client", "server", true, from, client.To(server, server.Addr4()).UDP(5000, 7001, []byte("mine")))

	moved := strings.NewReplacer("10.0.1.21", "10.0.1.23", "10.0.1.23", "10.0.1.21").Replace(streamVMs)
	h.write("vms.yaml", moved)
	h.wait()
	h.arrives("client", "other", false, from, stray)
}
