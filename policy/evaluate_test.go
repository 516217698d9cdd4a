package policy

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// load makes a policy of manifests; it fails the test on errors.
func load(t testing.TB, opts Options, sources ...string) *Policy {
	t.Helper()
	var all []Objects
	for _, s := range sources {
		all = append(all, decodeOK(t, s))
	}
	p, errs := New(all, opts)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

// vm returns a VM manifest with one interface; addrs and groups are comma
// separated.
func vm(namespace, name, addrs, subnet, groups string) string {
	s := "apiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: " + name + ", namespace: " + namespace +
		"}\nspec:\n  networking:\n    interfaces:\n    - ipAddresses: [" + quoted(addrs) + "]\n"
	if subnet != "" {
		s += "      subnetRef: {name: " + subnet + "}\n"
	}
	s += "    securityGroups:\n      securityGroupMemberships:\n"
	for _, g := range split(groups) {
		s += "      - name: " + g + "\n"
	}
	return s + "---\n"
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func quoted(s string) string {
	var out []string
	for _, a := range split(s) {
		out = append(out, `"`+a+`"`)
	}
	return strings.Join(out, ", ")
}

// sg returns a group manifest; each rule is a flow mapping without its braces.
func sg(namespace, name string, rules ...string) string {
	s := "apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec:\n  rules:\n"
	for _, r := range rules {
		s += "  - {" + r + "}\n"
	}
	return s + "---\n"
}

func subnet(namespace, name, v4, v6, vpc string) string {
	s := "apiVersion: networking.evroclabs.net/v1alpha1\nkind: Subnet\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec:\n"
	if v4 != "" {
		s += "  ipv4CidrBlock: " + v4 + "\n"
	}
	if v6 != "" {
		s += "  ipv6CidrBlock: \"" + v6 + "\"\n"
	}
	if vpc != "" {
		s += "  vpcRef: {name: " + vpc + "}\n"
	}
	return s + "---\n"
}

// vifsOf gives each interface id a port, from 1.
func vifsOf(ids ...string) []VIF {
	var vifs []VIF
	for i, id := range ids {
		vifs = append(vifs, VIF{Name: "tap-" + id, OFPort: uint16(i + 1), IfaceID: id, MAC: MAC{2, 0, 0, 0, 0, byte(i + 1)}})
	}
	return vifs
}

func party(ofport uint16, addr string) Party { return Party{ofport, netip.MustParseAddr(addr)} }

// tiers is web -> app -> db in one VPC, another VPC that uses the same
// addresses, and VMs of every odd kind.
func tiers(t testing.TB, opts Options) (*Policy, []VIF) {
	p := load(t, opts,
		subnet("default", "a", "10.0.1.0/24", "fd00:1::/64", ""),
		subnet("default", "b", "10.0.2.0/24", "", ""),
		subnet("default", "other", "10.0.9.0/24", "", "vpc2"),
		sg("default", "web", "name: http, direction: Ingress, protocol: TCP, port: 80",
			"name: toApp, direction: Egress, protocol: TCP, port: 8080, remote: {securityGroupRef: {name: app}}",
			"name: toAll6, direction: Egress, protocol: All, remote: {address: {IPAddressOrCIDR: '::/0'}}"),
		sg("default", "app", "name: fromWeb, direction: Ingress, protocol: TCP, port: 8000-8999, remote: {securityGroupRef: {name: web}}",
			"name: ping, direction: Ingress, protocol: ICMP", "name: dns, direction: Egress, protocol: UDP, port: 53, remote: {address: {IPAddressOrCIDR: 10.0.0.0/8}}",
			"name: gone, direction: Egress, remote: {securityGroupRef: {name: gone}}",
			"name: goneToo, direction: Egress, remote: {subnetRef: {name: gone}}",
			"name: nobody, direction: Ingress, protocol: UDP, remote: {securityGroupRef: {name: empty}}",
			"name: b, direction: Egress, protocol: TCP, port: 22, remote: {subnetRef: {name: b}}",
			"name: fromDefault, direction: Ingress, protocol: TCP, port: 9999, remote: {securityGroupRef: {name: default-sto-1}}"),
		sg("default", "empty"),
		sg("default", "any", "direction: Ingress", "direction: Egress"),
		vm("default", "web1", "10.0.1.1 fd00:1::1", "", "web"),
		vm("default", "app1", "10.0.1.2 fd00:1::2", "", "app"),
		vm("default", "remoteWeb", "10.0.1.3", "", "web"),
		vm("default", "spy", "10.0.9.3", "other", "web"),
		vm("default", "plain", "10.0.1.4", "", ""),
		vm("default", "lost", "10.0.1.5", "", "nowhere"),
		vm("default", "both", "10.0.1.6", "", "web, app"),
		vm("default", "peer1", "10.0.1.7", "", "empty"),
		vm("default", "peer2", "10.0.1.8", "", "empty"),
		vm("default", "open", "10.0.1.9", "", "any"),
	)
	return p, append(vifsOf("web1", "app1", "plain", "lost", "both", "peer1", "peer2", "open"),
		VIF{Name: "tap-stranger", OFPort: 20, IfaceID: "stranger"})
}

func TestEvaluate(t *testing.T) {
	const web, app, plain, lost, both, peer1, peer2, open, stranger = 1, 2, 3, 4, 5, 6, 7, 8, 20
	p, vifs := tiers(t, Options{})
	tests := []struct {
		says  string
		c     Connection
		allow bool
	}{
		{"web may be reached on its port", Connection{party(0, "192.0.2.1"), party(web, "10.0.1.1"), ipTCP, 80}, true},
		{"by IPv6 too", Connection{party(0, "2001:db8::1"), party(web, "fd00:1::1"), ipTCP, 80}, true},
		{"not on another", Connection{party(0, "192.0.2.1"), party(web, "10.0.1.1"), ipTCP, 81}, false},
		{"nor by UDP", Connection{party(0, "192.0.2.1"), party(web, "10.0.1.1"), ipUDP, 80}, false},
		{"nor by SCTP", Connection{party(0, "192.0.2.1"), party(web, "10.0.1.1"), 132, 80}, false},
		{"web reaches app", Connection{party(web, "10.0.1.1"), party(app, "10.0.1.2"), ipTCP, 8080}, true},
		{"web has no egress for other ports of app", Connection{party(web, "10.0.1.1"), party(app, "10.0.1.2"), ipTCP, 8081}, false},
		{"app has no egress towards web", Connection{party(app, "10.0.1.2"), party(web, "10.0.1.1"), ipTCP, 80}, false},
		{"app takes a member that runs elsewhere", Connection{party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 8081}, true},
		{"first port of the range", Connection{party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 8000}, true},
		{"last port of the range", Connection{party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 8999}, true},
		{"below the range", Connection{party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 7999}, false},
		{"above the range", Connection{party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 9000}, false},
		{"a member in another VPC is none", Connection{party(0, "10.0.9.3"), party(app, "10.0.1.2"), ipTCP, 8080}, false},
		{"who is no member is none", Connection{party(0, "10.0.1.4"), party(app, "10.0.1.2"), ipTCP, 8080}, false},
		{"a group without members matches nobody", Connection{party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipUDP, 5}, false},
		{"ping", Connection{party(0, "192.0.2.1"), party(app, "10.0.1.2"), ipICMP, 0}, true},
		{"ping6", Connection{party(0, "2001:db8::1"), party(app, "fd00:1::2"), ipICMPv6, 0}, true},
		{"ICMPv6 over IPv4 is not ICMP", Connection{party(0, "192.0.2.1"), party(app, "10.0.1.2"), ipICMPv6, 0}, false},
		{"ICMPv4 over IPv6 is not ICMP", Connection{party(0, "2001:db8::1"), party(app, "fd00:1::2"), ipICMP, 0}, false},
		{"app asks DNS in its CIDR", Connection{party(app, "10.0.1.2"), party(0, "10.9.9.9"), ipUDP, 53}, true},
		{"not outside", Connection{party(app, "10.0.1.2"), party(0, "11.0.0.1"), ipUDP, 53}, false},
		{"IPv4 CIDR does not match IPv6", Connection{party(app, "fd00:1::2"), party(0, "fd00:1::9"), ipUDP, 53}, false},
		{"IPv6 CIDR matches IPv6", Connection{party(web, "fd00:1::1"), party(0, "2001:db8::1"), 50, 0}, true},
		{"and not IPv4", Connection{party(web, "10.0.1.1"), party(0, "192.0.2.1"), 50, 0}, false},
		{"subnet remote", Connection{party(app, "10.0.1.2"), party(0, "10.0.2.77"), ipTCP, 22}, true},
		{"outside the subnet", Connection{party(app, "10.0.1.2"), party(0, "10.0.3.77"), ipTCP, 22}, false},
		{"missing remotes match nothing", Connection{party(app, "10.0.1.2"), party(0, "192.0.2.1"), ipTCP, 1}, false},
		{"the default group as remote", Connection{party(0, "10.0.1.4"), party(app, "10.0.1.2"), ipTCP, 9999}, true},
		{"a VM with groups is not in it", Connection{party(0, "10.0.1.3"), party(app, "10.0.1.2"), ipTCP, 9999}, false},
		{"the default group lets everything out", Connection{party(plain, "10.0.1.4"), party(0, "8.8.8.8"), 4, 0}, true},
		{"and its subnet in", Connection{party(0, "10.0.1.77"), party(plain, "10.0.1.4"), ipTCP, 22}, true},
		{"but no other subnet", Connection{party(0, "10.0.2.77"), party(plain, "10.0.1.4"), ipTCP, 22}, false},
		{"a missing group lets nothing out", Connection{party(lost, "10.0.1.5"), party(0, "8.8.8.8"), ipTCP, 80}, false},
		{"nor in", Connection{party(0, "10.0.1.77"), party(lost, "10.0.1.5"), ipTCP, 80}, false},
		{"union: web's rule", Connection{party(0, "192.0.2.1"), party(both, "10.0.1.6"), ipTCP, 80}, true},
		{"union: app's rule", Connection{party(both, "10.0.1.6"), party(0, "10.9.9.9"), ipUDP, 53}, true},
		{"union: nobody's rule", Connection{party(both, "10.0.1.6"), party(0, "10.9.9.9"), ipUDP, 54}, false},
		{"members get nothing from being members", Connection{party(peer1, "10.0.1.7"), party(peer2, "10.0.1.8"), ipTCP, 80}, false},
		{"All is every protocol, out", Connection{party(open, "10.0.1.9"), party(0, "8.8.8.8"), 112, 0}, true},
		{"All is every protocol, in", Connection{party(0, "8.8.8.8"), party(open, "10.0.1.9"), 4, 0}, true},
		{"egress allowed but not ingress", Connection{party(open, "10.0.1.9"), party(peer1, "10.0.1.7"), ipTCP, 80}, false},
		{"ingress allowed but not egress", Connection{party(peer1, "10.0.1.7"), party(open, "10.0.1.9"), ipTCP, 80}, false},
		{"an address that is not its own", Connection{party(open, "10.0.1.99"), party(0, "8.8.8.8"), ipTCP, 80}, false},
		{"the link-local address of its MAC", Connection{party(web, linkLocalOf(web)), party(0, "2001:db8::1"), 50, 0}, true},
		{"somebody else's", Connection{party(web, linkLocalOf(app)), party(0, "2001:db8::1"), 50, 0}, false},
		{"its own, without any IPv6 address", Connection{party(open, linkLocalOf(open)), party(0, "2001:db8::1"), 50, 0}, false},
		{"no manifest: out", Connection{party(stranger, "10.0.1.50"), party(0, "8.8.8.8"), ipTCP, 80}, false},
		{"no manifest: in", Connection{party(0, "8.8.8.8"), party(stranger, "10.0.1.50"), ipTCP, 80}, false},
		{"no such port", Connection{party(0, "8.8.8.8"), party(99, "10.0.1.50"), ipTCP, 80}, false},
		{"nobody local", Connection{party(0, "8.8.8.8"), party(0, "9.9.9.9"), ipTCP, 80}, true},
	}
	m := p.Resolve(vifs)
	for _, test := range tests {
		t.Run(test.says, func(t *testing.T) {
			v := Evaluate(p, vifs, test.c)
			if v.Allowed != test.allow {
				t.Errorf("%v: %+v", test.c, v)
			}
			for _, s := range []Side{v.Egress, v.Ingress} {
				if (s.Missing == "") != s.Allowed || (s.Applies && s.Allowed) != (len(s.Rules) > 0) {
					t.Errorf("inconsistent side %+v", s)
				}
			}
			if got := m.judge(test.c); !reflect.DeepEqual(got, verdictOf(v)) {
				t.Errorf("model says %+v, evaluator %+v", got, v)
			}
		})
	}
}

func TestEvaluateExplains(t *testing.T) {
	p, vifs := tiers(t, Options{})
	v := Evaluate(p, vifs, Connection{party(1, "10.0.1.1"), party(2, "10.0.1.2"), ipTCP, 8080})
	want := Verdict{
		Allowed: true,
		Egress:  Side{Applies: true, Allowed: true, Rules: []string{"default/web/toApp"}},
		Ingress: Side{Applies: true, Allowed: true, Rules: []string{"default/app/fromWeb"}},
	}
	if !reflect.DeepEqual(v, want) {
		t.Errorf("got %+v", v)
	}
	for _, test := range []struct {
		c               Connection
		egress, ingress string
	}{
		{
			Connection{party(2, "10.0.1.2"), party(5, "10.0.1.6"), ipTCP, 81},
			"no egress rule in the groups of VM default/app1 (app) allows TCP port 81 to 10.0.1.6",
			"no ingress rule in the groups of VM default/both (web, app) allows TCP port 81 from 10.0.1.2",
		},
		{
			Connection{party(4, "10.0.1.5"), party(20, "10.0.1.50"), ipICMP, 0},
			"VM default/lost is in no group that exists; nobody defines nowhere",
			"no manifest describes tap-stranger: nothing is allowed",
		},
		{
			Connection{party(1, "10.0.1.2"), party(99, "10.0.1.50"), ipICMP, 0},
			"10.0.1.2 is not an address of VM default/web1",
			"there is no VM port with OpenFlow port 99",
		},
	} {
		v := Evaluate(p, vifs, test.c)
		if v.Egress.Missing != test.egress || v.Ingress.Missing != test.ingress {
			t.Errorf("%v:\n%s\n%s", test.c, v.Egress.Missing, v.Ingress.Missing)
		}
	}
}

func TestEvaluateDefaultContents(t *testing.T) {
	out := Connection{party(3, "10.0.1.4"), party(0, "8.8.8.8"), ipTCP, 80}
	own := Connection{party(0, "10.0.1.77"), party(3, "10.0.1.4"), ipTCP, 22}
	vpc := Connection{party(0, "10.0.2.77"), party(3, "10.0.1.4"), ipTCP, 22}
	foreign := Connection{party(0, "10.0.9.77"), party(3, "10.0.1.4"), ipTCP, 22}
	for content, want := range map[DefaultContent][]bool{
		OwnSubnet:  {true, true, false, false},
		WholeVPC:   {true, true, true, false},
		EgressOnly: {true, false, false, false},
		Nothing:    {false, false, false, false},
	} {
		p, vifs := tiers(t, Options{DefaultContent: content})
		m := p.Resolve(vifs)
		var got []bool
		for _, c := range []Connection{out, own, vpc, foreign} {
			v := Evaluate(p, vifs, c)
			got = append(got, v.Allowed)
			if !reflect.DeepEqual(m.judge(c), verdictOf(v)) {
				t.Errorf("%v, %v: model and evaluator differ", content, c)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: got %v, want %v", content, got, want)
		}
	}
}

func TestDefaultGroupManifestReplacesTheBuiltIn(t *testing.T) {
	p := load(t, Options{DefaultGroup: "base"},
		sg("default", "base", "name: ssh, direction: Ingress, protocol: TCP, port: 22"),
		sg("default", "default-sto-1", "direction: Ingress"),
		vm("default", "a", "10.0.0.1", "", ""), vm("ns2", "b", "10.0.0.2", "", ""))
	vifs := vifsOf("a", "b")
	for _, test := range []struct {
		c     Connection
		allow bool
	}{
		{Connection{party(0, "1.1.1.1"), party(1, "10.0.0.1"), ipTCP, 22}, true},
		{Connection{party(0, "1.1.1.1"), party(1, "10.0.0.1"), ipTCP, 23}, false},
		{Connection{party(1, "10.0.0.1"), party(0, "1.1.1.1"), ipTCP, 22}, false},
		{Connection{party(2, "10.0.0.2"), party(0, "1.1.1.1"), ipTCP, 22}, true}, // built in, in its namespace
		{Connection{party(0, "1.1.1.1"), party(2, "10.0.0.2"), ipTCP, 22}, false},
	} {
		if got := Evaluate(p, vifs, test.c); got.Allowed != test.allow {
			t.Errorf("%v: %+v", test.c, got)
		}
	}
}

// linkLocalOf is the link-local address of the MAC that vifsOf gives a port.
func linkLocalOf(ofport uint16) string { return fmt.Sprintf("fe80::ff:fe00:%x", ofport) }
