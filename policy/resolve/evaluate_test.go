package resolve

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/policytest"
)

// IP protocol numbers of connections, written out apart from the table of
// protocols.
const (
	ipICMP   = 1
	ipTCP    = 6
	ipUDP    = 17
	ipICMPv6 = 58
)

// once returns the model of a policy that does not change.
func once(p *policy.Policy, vifs []policy.VIF) *policy.Model {
	m, _ := Once(p, vifs)
	return m
}

// warnings returns the problems of a policy, whatever the host.
func warnings(p *policy.Policy) []policy.Problem {
	_, ps := Once(p, nil)
	return ps
}

// vifsOf gives each interface id a port, from 1.
func vifsOf(ids ...string) []policy.VIF {
	var vifs []policy.VIF
	for i, id := range ids {
		vifs = append(vifs, policy.VIF{Name: "tap-" + id, OFPort: uint16(i + 1), IfaceID: id, MAC: policy.MAC{2, 0, 0, 0, 0, byte(i + 1)}})
	}
	return vifs
}

func connection(originator, responder policy.Party, protocol uint8, port uint16) policy.Connection {
	return policy.Connection{Originator: originator, Responder: responder, Protocol: protocol, Port: port}
}

func party(ofport uint16, addr string) policy.Party {
	return policy.Party{OFPort: ofport, Addr: netip.MustParseAddr(addr)}
}

// tiers returns a policy and its ports: web -> app -> db in one VPC, another VPC
// that uses the same addresses, and VMs of every odd kind.
func tiers(t testing.TB, opts policy.Options) (*policy.Policy, []policy.VIF) {
	p := policytest.Load(t, opts,
		policytest.Subnet("default", "a", "10.0.1.0/24", "fd00:1::/64", ""),
		policytest.Subnet("default", "b", "10.0.2.0/24", "", ""),
		policytest.Subnet("default", "other", "10.0.9.0/24", "", "vpc2"),
		policytest.Group("default", "web", "name: http, direction: Ingress, protocol: TCP, port: 80",
			"name: toApp, direction: Egress, protocol: TCP, port: 8080, remote: {securityGroupRef: {name: app}}",
			"name: toAll6, direction: Egress, protocol: All, remote: {address: {IPAddressOrCIDR: '::/0'}}"),
		policytest.Group("default", "app", "name: fromWeb, direction: Ingress, protocol: TCP, port: 8000-8999, remote: {securityGroupRef: {name: web}}",
			"name: ping, direction: Ingress, protocol: ICMP", "name: dns, direction: Egress, protocol: UDP, port: 53, remote: {address: {IPAddressOrCIDR: 10.0.0.0/8}}",
			"name: gone, direction: Egress, remote: {securityGroupRef: {name: gone}}",
			"name: goneToo, direction: Egress, remote: {subnetRef: {name: gone}}",
			"name: nobody, direction: Ingress, protocol: UDP, remote: {securityGroupRef: {name: empty}}",
			"name: b, direction: Egress, protocol: TCP, port: 22, remote: {subnetRef: {name: b}}",
			"name: fromDefault, direction: Ingress, protocol: TCP, port: 9999, remote: {securityGroupRef: {name: default-sto-1}}"),
		policytest.Group("default", "empty"),
		policytest.Group("default", "any", "direction: Ingress", "direction: Egress"),
		policytest.VM("default", "web1", "10.0.1.1 fd00:1::1", "", "web"),
		policytest.VM("default", "app1", "10.0.1.2 fd00:1::2", "", "app"),
		policytest.VM("default", "remoteWeb", "10.0.1.3", "", "web"),
		policytest.VM("default", "spy", "10.0.9.3", "other", "web"),
		policytest.VM("default", "plain", "10.0.1.4", "", ""),
		policytest.VM("default", "lost", "10.0.1.5", "", "nowhere"),
		policytest.VM("default", "both", "10.0.1.6", "", "web, app"),
		policytest.VM("default", "peer1", "10.0.1.7", "", "empty"),
		policytest.VM("default", "peer2", "10.0.1.8", "", "empty"),
		policytest.VM("default", "open", "10.0.1.9", "", "any"),
	)
	return p, append(vifsOf("web1", "app1", "plain", "lost", "both", "peer1", "peer2", "open"),
		policy.VIF{Name: "tap-stranger", OFPort: 20, IfaceID: "stranger"})
}

// judgedConnection is a connection in the world of tiers, and the verdict.
type judgedConnection struct {
	says  string
	c     policy.Connection
	allow bool
}

func judged() []judgedConnection {
	const web, app, plain, lost, both, peer1, peer2, open, stranger = 1, 2, 3, 4, 5, 6, 7, 8, 20
	return []judgedConnection{
		{"web may be reached on its port", connection(party(0, "192.0.2.1"), party(web, "10.0.1.1"), ipTCP, 80), true},
		{"by IPv6 too", connection(party(0, "2001:db8::1"), party(web, "fd00:1::1"), ipTCP, 80), true},
		{"not on another", connection(party(0, "192.0.2.1"), party(web, "10.0.1.1"), ipTCP, 81), false},
		{"nor by UDP", connection(party(0, "192.0.2.1"), party(web, "10.0.1.1"), ipUDP, 80), false},
		{"nor by SCTP", connection(party(0, "192.0.2.1"), party(web, "10.0.1.1"), 132, 80), false},
		{"web reaches app", connection(party(web, "10.0.1.1"), party(app, "10.0.1.2"), ipTCP, 8080), true},
		{"web has no egress for other ports of app", connection(party(web, "10.0.1.1"), party(app, "10.0.1.2"), ipTCP, 8081), false},
		{"app has no egress towards web", connection(party(app, "10.0.1.2"), party(web, "10.0.1.1"), ipTCP, 80), false},
		{"app takes a member that runs elsewhere", connection(party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 8081), true},
		{"first port of the range", connection(party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 8000), true},
		{"last port of the range", connection(party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 8999), true},
		{"below the range", connection(party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 7999), false},
		{"above the range", connection(party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 9000), false},
		{"a member in another VPC is none", connection(party(0, "10.0.9.3"), party(app, "10.0.1.2"), ipTCP, 8080), false},
		{"who is no member is none", connection(party(0, "10.0.1.4"), party(app, "10.0.1.2"), ipTCP, 8080), false},
		{"a group without members matches nobody", connection(party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipUDP, 5), false},
		{"ping", connection(party(0, "192.0.2.1"), party(app, "10.0.1.2"), ipICMP, 0), true},
		{"ping6", connection(party(0, "2001:db8::1"), party(app, "fd00:1::2"), ipICMPv6, 0), true},
		{"ICMPv6 over IPv4 is not ICMP", connection(party(0, "192.0.2.1"), party(app, "10.0.1.2"), ipICMPv6, 0), false},
		{"ICMPv4 over IPv6 is not ICMP", connection(party(0, "2001:db8::1"), party(app, "fd00:1::2"), ipICMP, 0), false},
		{"app asks DNS in its CIDR", connection(party(app, "10.0.1.2"), party(0, "10.9.9.9"), ipUDP, 53), true},
		{"not outside", connection(party(app, "10.0.1.2"), party(0, "11.0.0.1"), ipUDP, 53), false},
		{"IPv4 CIDR does not match IPv6", connection(party(app, "fd00:1::2"), party(0, "fd00:1::9"), ipUDP, 53), false},
		{"IPv6 CIDR matches IPv6", connection(party(web, "fd00:1::1"), party(0, "2001:db8::1"), 50, 0), true},
		{"and not IPv4", connection(party(web, "10.0.1.1"), party(0, "192.0.2.1"), 50, 0), false},
		{"subnet remote", connection(party(app, "10.0.1.2"), party(0, "10.0.2.77"), ipTCP, 22), true},
		{"outside the subnet", connection(party(app, "10.0.1.2"), party(0, "10.0.3.77"), ipTCP, 22), false},
		{"missing remotes match nothing", connection(party(app, "10.0.1.2"), party(0, "192.0.2.1"), ipTCP, 1), false},
		{"the default group as remote", connection(party(0, "10.0.1.4"), party(app, "10.0.1.2"), ipTCP, 9999), true},
		{"a VM with groups is not in it", connection(party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 9999), false},
		{"the default group lets everything out", connection(party(plain, "10.0.1.4"), party(0, "8.8.8.8"), 4, 0), true},
		{"and its subnet in", connection(party(0, "10.0.1.77"), party(plain, "10.0.1.4"), ipTCP, 22), true},
		{"but no other subnet", connection(party(0, "10.0.2.77"), party(plain, "10.0.1.4"), ipTCP, 22), false},
		{"a missing group lets nothing out", connection(party(lost, "10.0.1.5"), party(0, "8.8.8.8"), ipTCP, 80), false},
		{"nor in", connection(party(0, "10.0.1.77"), party(lost, "10.0.1.5"), ipTCP, 80), false},
		{"union: web's rule", connection(party(0, "192.0.2.1"), party(both, "10.0.1.6"), ipTCP, 80), true},
		{"union: app's rule", connection(party(both, "10.0.1.6"), party(0, "10.9.9.9"), ipUDP, 53), true},
		{"union: nobody's rule", connection(party(both, "10.0.1.6"), party(0, "10.9.9.9"), ipUDP, 54), false},
		{"members get nothing from being members", connection(party(peer1, "10.0.1.7"), party(peer2, "10.0.1.8"), ipTCP, 80), false},
		{"All is every protocol, out", connection(party(open, "10.0.1.9"), party(0, "8.8.8.8"), 112, 0), true},
		{"All is every protocol, in", connection(party(0, "8.8.8.8"), party(open, "10.0.1.9"), 4, 0), true},
		{"egress allowed but not ingress", connection(party(open, "10.0.1.9"), party(peer1, "10.0.1.7"), ipTCP, 80), false},
		{"ingress allowed but not egress", connection(party(peer1, "10.0.1.7"), party(open, "10.0.1.9"), ipTCP, 80), false},
		{"an address that is not its own", connection(party(open, "10.0.1.99"), party(0, "8.8.8.8"), ipTCP, 80), false},
		{"the link-local address of its MAC", connection(party(web, linkLocalOf(web)), party(0, "2001:db8::1"), 50, 0), true},
		{"somebody else's", connection(party(web, linkLocalOf(app)), party(0, "2001:db8::1"), 50, 0), false},
		{"its own, without any IPv6 address", connection(party(open, linkLocalOf(open)), party(0, "2001:db8::1"), 50, 0), false},
		{"no manifest: out", connection(party(stranger, "10.0.1.50"), party(0, "8.8.8.8"), ipTCP, 80), false},
		{"no manifest: in", connection(party(0, "8.8.8.8"), party(stranger, "10.0.1.50"), ipTCP, 80), false},
		{"no such port", connection(party(0, "8.8.8.8"), party(99, "10.0.1.50"), ipTCP, 80), false},
		{"nobody local", connection(party(0, "8.8.8.8"), party(0, "9.9.9.9"), ipTCP, 80), true},
	}
}

func TestEvaluate(t *testing.T) {
	p, vifs := tiers(t, policy.Options{})
	m := once(p, vifs)
	for _, test := range judged() {
		t.Run(test.says, func(t *testing.T) {
			v := policy.Evaluate(p, vifs, test.c)
			if v.Allowed != test.allow {
				t.Errorf("%v: %+v", test.c, v)
			}
			for _, s := range []policy.Side{v.Egress, v.Ingress} {
				if (s.Missing == "") != s.Allowed || (s.Applies && s.Allowed) != (len(s.Rules) > 0) {
					t.Errorf("inconsistent side %+v", s)
				}
			}
			if got := judge(m, test.c); !reflect.DeepEqual(got, verdictOf(v)) {
				t.Errorf("model says %+v, evaluator %+v", got, v)
			}
		})
	}
}

// TestComparisonNotices checks that judge and Evaluate differ about some
// connection for every mistake that it plants in the model.
func TestComparisonNotices(t *testing.T) {
	p, vifs := tiers(t, policy.Options{})
	group := func(m *policy.Model, id string) *policy.RuleGroup {
		i := slices.IndexFunc(m.Groups, func(g policy.RuleGroup) bool { return g.ID == id })
		m.Groups[i].Rules = slices.Clone(m.Groups[i].Rules)
		return &m.Groups[i]
	}
	for mistake, plant := range map[string]func(m *policy.Model){
		"a member is missing": func(m *policy.Model) {
			m.Members = slices.DeleteFunc(m.Members, func(x policy.Member) bool { return x.VM.Name == "remoteWeb" })
		},
		"a member too many":     func(m *policy.Model) { m.Members[0].Addr = netip.MustParseAddr("10.0.1.77") },
		"another VPC":           func(m *policy.Model) { m.Endpoints[1].VPC = "default/vpc2" },
		"another group":         func(m *policy.Model) { m.Endpoints[0].Groups = m.Endpoints[1].Groups },
		"an address is missing": func(m *policy.Model) { m.Endpoints[0].Addrs = m.Endpoints[0].Addrs[:1] },
		"an address too many": func(m *policy.Model) {
			m.Endpoints[7].Addrs = append(slices.Clone(m.Endpoints[7].Addrs), netip.MustParseAddr("10.0.1.99"))
		},
		"another MAC":              func(m *policy.Model) { m.Endpoints[0].MAC[5] = 7 },
		"an unknown port is known": func(m *policy.Model) { m.Endpoints[8] = policy.Endpoint{OFPort: 20, Groups: m.Endpoints[7].Groups} },
		"a rule is missing":        func(m *policy.Model) { g := group(m, "default/web"); g.Rules = g.Rules[1:] },
		"another port":             func(m *policy.Model) { group(m, "default/web").Rules[0].Ports.Last++ },
		"another protocol":         func(m *policy.Model) { group(m, "default/web").Rules[0].Protocol = policy.UDP },
		"another direction":        func(m *policy.Model) { group(m, "default/web").Rules[0].Direction = policy.Egress },
		"another prefix": func(m *policy.Model) {
			group(m, "default/web").Rules[2].Remote.Prefixes = []netip.Prefix{netip.MustParsePrefix("8000::/1")}
		},
		"another remote group": func(m *policy.Model) { group(m, "default/app").Rules[0].Remote.Group = "default/app" },
		"anywhere for members": func(m *policy.Model) { group(m, "default/app").Rules[0].Remote.Kind = policy.ResolvedAnywhere },
		"another name":         func(m *policy.Model) { group(m, "default/app").Rules[1].Name = "pong" },
		"the default group is open": func(m *policy.Model) {
			group(m, "default/default-sto-1[default/a]").Rules[1].Remote.Kind = policy.ResolvedAnywhere
		},
	} {
		m := once(p, vifs)
		plant(m)
		if !slices.ContainsFunc(judged(), func(j judgedConnection) bool {
			return !reflect.DeepEqual(judge(m, j.c), verdictOf(policy.Evaluate(p, vifs, j.c)))
		}) {
			t.Errorf("%s, and nothing differs", mistake)
		}
	}
}

func TestEvaluateExplains(t *testing.T) {
	p, vifs := tiers(t, policy.Options{})
	v := policy.Evaluate(p, vifs, connection(party(1, "10.0.1.1"), party(2, "10.0.1.2"), ipTCP, 8080))
	want := policy.Verdict{
		Allowed: true,
		Egress:  policy.Side{Applies: true, Allowed: true, Rules: []string{"default/web/toApp"}},
		Ingress: policy.Side{Applies: true, Allowed: true, Rules: []string{"default/app/fromWeb"}},
	}
	if !reflect.DeepEqual(v, want) {
		t.Errorf("got %+v", v)
	}
	for _, test := range []struct {
		c               policy.Connection
		egress, ingress string
	}{
		{
			connection(party(2, "10.0.1.2"), party(5, "10.0.1.6"), ipTCP, 81),
			"no egress rule in the groups of VM default/app1 (app) allows TCP port 81 to 10.0.1.6",
			"no ingress rule in the groups of VM default/both (web, app) allows TCP port 81 from 10.0.1.2",
		},
		{
			connection(party(4, "10.0.1.5"), party(20, "10.0.1.50"), ipICMP, 0),
			"VM default/lost is in no group that exists; nobody defines nowhere",
			"no manifest describes tap-stranger: nothing is allowed",
		},
		{
			connection(party(1, "10.0.1.2"), party(99, "10.0.1.50"), ipICMP, 0),
			"10.0.1.2 is not an address of VM default/web1",
			"there is no VM port with OpenFlow port 99",
		},
	} {
		v := policy.Evaluate(p, vifs, test.c)
		if v.Egress.Missing != test.egress || v.Ingress.Missing != test.ingress {
			t.Errorf("%v:\n%s\n%s", test.c, v.Egress.Missing, v.Ingress.Missing)
		}
	}
}

func TestEvaluateDefaultContents(t *testing.T) {
	out := connection(party(3, "10.0.1.4"), party(0, "8.8.8.8"), ipTCP, 80)
	own := connection(party(0, "10.0.1.77"), party(3, "10.0.1.4"), ipTCP, 22)
	vpc := connection(party(0, "10.0.2.77"), party(3, "10.0.1.4"), ipTCP, 22)
	foreign := connection(party(0, "10.0.9.77"), party(3, "10.0.1.4"), ipTCP, 22)
	for content, want := range map[policy.DefaultContent][]bool{
		policy.OwnSubnet:  {true, true, false, false},
		policy.WholeVPC:   {true, true, true, false},
		policy.EgressOnly: {true, false, false, false},
		policy.Nothing:    {false, false, false, false},
	} {
		p, vifs := tiers(t, policy.Options{DefaultContent: content})
		m := once(p, vifs)
		var got []bool
		for _, c := range []policy.Connection{out, own, vpc, foreign} {
			v := policy.Evaluate(p, vifs, c)
			got = append(got, v.Allowed)
			if !reflect.DeepEqual(judge(m, c), verdictOf(v)) {
				t.Errorf("%v, %v: model and evaluator differ", content, c)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: got %v, want %v", content, got, want)
		}
	}
}

func TestDefaultGroupManifestReplacesTheBuiltIn(t *testing.T) {
	p := policytest.Load(t, policy.Options{DefaultGroup: "base"},
		policytest.Group("default", "base", "name: ssh, direction: Ingress, protocol: TCP, port: 22"),
		policytest.Group("default", "default-sto-1", "direction: Ingress"),
		policytest.VM("default", "a", "10.0.0.1", "", ""), policytest.VM("ns2", "b", "10.0.0.2", "", ""))
	vifs := vifsOf("a", "b")
	for _, test := range []struct {
		c     policy.Connection
		allow bool
	}{
		{connection(party(0, "1.1.1.1"), party(1, "10.0.0.1"), ipTCP, 22), true},
		{connection(party(0, "1.1.1.1"), party(1, "10.0.0.1"), ipTCP, 23), false},
		{connection(party(1, "10.0.0.1"), party(0, "1.1.1.1"), ipTCP, 22), false},
		{connection(party(2, "10.0.0.2"), party(0, "1.1.1.1"), ipTCP, 22), true}, // built in, in its namespace
		{connection(party(0, "1.1.1.1"), party(2, "10.0.0.2"), ipTCP, 22), false},
	} {
		if got := policy.Evaluate(p, vifs, test.c); got.Allowed != test.allow {
			t.Errorf("%v: %+v", test.c, got)
		}
	}
}

// linkLocalOf returns the link-local address of the MAC that vifsOf gives a port.
func linkLocalOf(ofport uint16) string { return fmt.Sprintf("fe80::ff:fe00:%x", ofport) }
