package manifest

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/resolve"
)

// decodeOK decodes src and fails the test on any problem.
func decodeOK(t testing.TB, src string) policy.Objects {
	t.Helper()
	o, errs := Decode(File{Name: "f.yaml", Data: []byte(src)})
	for _, e := range errs {
		t.Errorf("unexpected: %v", e)
	}
	if len(errs) > 0 {
		t.Fatalf("in:\n%s", src)
	}
	return o
}

const worked = `# the worked example
apiVersion: networking.evroclabs.net/v1alpha1
kind: SecurityGroup
metadata: {name: appSG}
spec:
  rules:
  - name: allow8080WebInbound
    direction: Ingress
    protocol: TCP
    port: 8080
    remote:
      securityGroupRef: {name: webSG}
  - direction: Egress
    remote:
      address: {IPAddressOrCIDR: 10.1.2.3/8}
  - direction: Ingress
    protocol: UDP
    port: "1000-1100"
    remote: {subnetRef: {name: default-sto-1-a}}
  - direction: Ingress
    protocol: ICMP
    remote: {address: {ipAddressOrCIDR: "fd00::1"}}
  - {direction: Egress, protocol: All}
  - {direction: Egress, protocol: TCP, port: 1000, endPort: 1100}
---
# nothing here
---
apiVersion: networking.evroclabs.net/v1alpha1
kind: Subnet
metadata: {name: default-sto-1-a}
spec: {ipv4CidrBlock: 10.0.1.0/24, ipv6CidrBlock: "fd00:1::/64", vpcRef: {name: default}}
---
apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata:
  name: app
  uid: 5f0c
  labels: {tier: app}
  resourceVersion: "12"
  generation: 3
spec:
  networking:
    interfaces:
    - id: app
      macAddress: 02:00:0a:00:01:0b
      ipAddresses: ["fd00:1::b", 10.0.1.11]
      subnetRef: {name: default-sto-1-a}
    securityGroups:
      securityGroupMemberships:
      - name: appSG
      - name: allowSSHFromJumphostSG
---
apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: web, namespace: shop}
status:
  phase: Running
  networking: {privateIPv4Address: 10.0.1.12, ipv6Address: "", other: [1, {a: 3}]}
`

func TestDecodeWorkedExample(t *testing.T) {
	o := decodeOK(t, worked)
	if len(o.Groups) != 1 || len(o.Subnets) != 1 || len(o.VirtualMachines) != 2 {
		t.Fatalf("got %d groups, %d subnets, %d VMs", len(o.Groups), len(o.Subnets), len(o.VirtualMachines))
	}
	var rules []string
	for _, r := range o.Groups[0].Rules {
		rules = append(rules, fmt.Sprintf("%d:%d %s %s %s %s %s", r.Pos.Line, r.Pos.Column, r.Name, r.Direction, r.Protocol, r.Ports, r.Remote))
	}
	want := []string{
		"7:5 allow8080WebInbound Ingress TCP 8080 group default/webSG",
		"13:5 #1 Egress All all 10.0.0.0/8",
		"16:5 #2 Ingress UDP 1000-1100 subnet default/default-sto-1-a",
		"20:5 #3 Ingress ICMP all fd00::1/128",
		"23:5 #4 Egress All all anywhere",
		"24:5 #5 Egress TCP 1000-1100 anywhere",
	}
	if !reflect.DeepEqual(rules, want) {
		t.Errorf("rules:\n%s\nwant:\n%s", strings.Join(rules, "\n"), strings.Join(want, "\n"))
	}
	s := o.Subnets[0]
	if got := fmt.Sprint(s.Key, s.Prefixes, s.VPC); got != "default/default-sto-1-a [10.0.1.0/24 fd00:1::/64] default/default" {
		t.Errorf("subnet: %s", got)
	}
	app, web := o.VirtualMachines[0], o.VirtualMachines[1]
	if got := fmt.Sprint(app.Key, app.UID, app.Groups, app.Interfaces[0].ID, app.Interfaces[0].MAC, app.Interfaces[0].Addrs, app.Interfaces[0].Subnet); got !=
		"default/app5f0c[default/appSG default/allowSSHFromJumphostSG]app02:00:0a:00:01:0b [10.0.1.11 fd00:1::b] default/default-sto-1-a" {
		t.Errorf("app: %s", got)
	}
	if got := fmt.Sprint(web.Key, web.Groups, web.Interfaces[0].ID, web.Interfaces[0].Addrs); got != "shop/web []web[10.0.1.12]" {
		t.Errorf("web: %s", got)
	}
}

// ruleManifest returns a group manifest with one rule made of fields, written in flow
// style on line 4.
func ruleManifest(fields string) string {
	return "apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: g}\nspec: {rules: [{" + fields + "}]}\n"
}

func vmManifest(spec string) string {
	return "apiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: vm}\nspec: {networking: {" + spec + "}}\n"
}

func subnetManifest(spec string) string {
	return "apiVersion: networking.evroclabs.net/v1alpha1\nkind: Subnet\nmetadata: {name: s}\nspec: {" + spec + "}\n"
}

func TestDecodeRule(t *testing.T) {
	tests := []struct {
		fields string
		want   string // rule, or with a leading "!" part of the error
	}{
		{"direction: Ingress", "Ingress All all anywhere"},
		{"direction: Egress, protocol: All", "Egress All all anywhere"},
		{"protocol: TCP", "!spec.rules[0].direction: is required"},
		{"direction: ingress", `!spec.rules[0].direction: "ingress" must be Ingress or Egress`},
		{"direction: Ingress, protocol: tcp", `!spec.rules[0].protocol: "tcp" must be TCP, UDP, ICMP or All`},
		{"direction: Ingress, protocol: 6", "!spec.rules[0].protocol: must be a string"},
		{"direction: Ingress, protocol: null", "!spec.rules[0].protocol: must be a string, not nothing"},
		{"direction: Ingress, protocol: TCP, port: 80", "Ingress TCP 80 anywhere"},
		{`direction: Ingress, protocol: TCP, port: "80"`, "Ingress TCP 80 anywhere"},
		{"direction: Ingress, protocol: TCP, port: 1000-1100", "Ingress TCP 1000-1100 anywhere"},
		{"direction: Ingress, protocol: TCP, port: 1-65535", "Ingress TCP 1-65535 anywhere"},
		{"direction: Ingress, protocol: UDP, port: 1000, endPort: 1100", "Ingress UDP 1000-1100 anywhere"},
		{"direction: Ingress, protocol: UDP, port: 1000, endPort: 1000", "Ingress UDP 1000 anywhere"},
		{"direction: Ingress, protocol: TCP, port: 0", "!spec.rules[0].port"},
		{"direction: Ingress, protocol: TCP, port: 65536", "!spec.rules[0].port"},
		{"direction: Ingress, protocol: TCP, port: -1", "!spec.rules[0].port"},
		{"direction: Ingress, protocol: TCP, port: 0x50", "!spec.rules[0].port"},
		{"direction: Ingress, protocol: TCP, port: 080", "!spec.rules[0].port"},
		{"direction: Ingress, protocol: TCP, port: 8.5", "!spec.rules[0].port: must be a number"},
		{"direction: Ingress, protocol: TCP, port: [80]", "!spec.rules[0].port: must be a number"},
		{"direction: Ingress, protocol: TCP, port: null", "!spec.rules[0].port: must be a number"},
		{`direction: Ingress, protocol: TCP, port: ""`, "!spec.rules[0].port"},
		{"direction: Ingress, protocol: TCP, port: 1-2-3", "!spec.rules[0].port"},
		{"direction: Ingress, protocol: TCP, port: 0-5", "!spec.rules[0].port"},
		{"direction: Ingress, protocol: TCP, port: 1100-1000", "!spec.rules[0].port: range 1100-1000 is upside down"},
		{"direction: Ingress, protocol: TCP, port: 1100, endPort: 1000", "!spec.rules[0].endPort: 1000 is below port 1100"},
		{"direction: Ingress, protocol: TCP, port: 1-5, endPort: 9", "!spec.rules[0].endPort: port is a range already"},
		{"direction: Ingress, protocol: TCP, endPort: 9", "!spec.rules[0].endPort: needs port"},
		{"direction: Ingress, port: 80", "!spec.rules[0].port: only allowed with protocol TCP or UDP"},
		{"direction: Ingress, protocol: All, port: 80", "!spec.rules[0].port: only allowed with protocol TCP or UDP"},
		{"direction: Ingress, protocol: ICMP, port: 80, endPort: 81", "!spec.rules[0].endPort: only allowed with protocol TCP or UDP"},
		{"direction: Ingress, remote: {address: {IPAddressOrCIDR: 10.0.0.7}}", "Ingress All all 10.0.0.7/32"},
		{"direction: Ingress, remote: {address: {IPAddressOrCIDR: 0.0.0.0/0}}", "Ingress All all 0.0.0.0/0"},
		{`direction: Ingress, remote: {address: {IPAddressOrCIDR: "fd00::7/64"}}`, "Ingress All all fd00::/64"},
		{"direction: Ingress, remote: {address: {IPAddressOrCIDR: 10.0.0.0/33}}", "!spec.rules[0].remote.address.IPAddressOrCIDR"},
		{"direction: Ingress, remote: {address: {IPAddressOrCIDR: 10.0.0}}", "!spec.rules[0].remote.address.IPAddressOrCIDR"},
		{`direction: Ingress, remote: {address: {IPAddressOrCIDR: "fe80::1%eth0"}}`, "!has a zone"},
		{`direction: Ingress, remote: {address: {IPAddressOrCIDR: "::ffff:10.0.0.1"}}`, "!IPv4-mapped"},
		{`direction: Ingress, remote: {address: {IPAddressOrCIDR: "::ffff:10.0.0.0/104"}}`, "!IPv4-mapped"},
		{"direction: Ingress, remote: {address: {IPAddressOrCIDR: 10.0.0.1, ipAddressOrCIDR: 10.0.0.1}}", "!given twice"},
		{"direction: Ingress, remote: {address: {ipaddressorcidr: 10.0.0.1}}", "!did you mean IPAddressOrCIDR?"},
		{"direction: Ingress, remote: {address: {}}", "!spec.rules[0].remote.address.IPAddressOrCIDR: is required"},
		{"direction: Ingress, remote: {securityGroupRef: {name: a}}", "Ingress All all group default/a"},
		{"direction: Ingress, remote: {securityGroupRef: {}}", "!spec.rules[0].remote.securityGroupRef.name: is required"},
		{"direction: Ingress, remote: {securityGroupRef: {name: a, namespace: b}}", "!spec.rules[0].remote.securityGroupRef.namespace: unknown field"},
		{"direction: Ingress, remote: {securityGroupRef: {name: a/b}}", "!spec.rules[0].remote.securityGroupRef.name"},
		{"direction: Ingress, remote: {subnetRef: {name: a}}", "Ingress All all subnet default/a"},
		{"direction: Ingress, remote: {subnetRef: {name: a}, securityGroupRef: {name: b}}", "!only one of"},
		{"direction: Ingress, remote: {}", "!spec.rules[0].remote: needs one of"},
		{"direction: Ingress, remote: null", "!spec.rules[0].remote: must be a mapping, not nothing"},
		{"direction: Ingress, remote: any", "!spec.rules[0].remote: must be a mapping"},
		{"direction: Ingress, ports: 80", "!spec.rules[0].ports: unknown field"},
		{"direction: Ingress, Port: 80", "!did you mean port?"},
		{"direction: Ingress, direction: Egress", "!spec.rules[0].direction: given twice"},
		{`direction: Ingress, name: ""`, "!spec.rules[0].name: must not be empty"},
		{`direction: Ingress, name: "#0"`, "!spec.rules[0].name"},
		{`direction: Ingress, name: "a\nb"`, "!spec.rules[0].name"},
	}
	for _, test := range tests {
		t.Run(test.fields, func(t *testing.T) {
			o, errs := Decode(File{Name: "f.yaml", Data: []byte(ruleManifest(test.fields))})
			if want, bad := strings.CutPrefix(test.want, "!"); bad {
				wantProblem(t, errs, want)
				if len(o.Groups) != 0 {
					t.Error("objects returned in spite of errors")
				}
				return
			}
			if len(errs) > 0 {
				t.Fatalf("errors: %v", errs)
			}
			r := o.Groups[0].Rules[0]
			if got := fmt.Sprint(r.Direction, " ", r.Protocol, " ", r.Ports, " ", r.Remote); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func wantProblem(t *testing.T, errs []policy.Problem, want string) {
	t.Helper()
	for _, e := range errs {
		if strings.Contains(e.Error(), want) {
			return
		}
	}
	t.Errorf("got %v, want one with %q", errs, want)
}

func TestDecodeErrors(t *testing.T) {
	group := "apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\n"
	tests := []struct{ name, src, want string }{
		{"position", ruleManifest("direction: Ingress, protocol: ICMP, port: 80"), "f.yaml:4:59: spec.rules[0].port: only allowed"},
		{"second document", group + "metadata: {name: a}\nspec: {}\n---\n" + group + "metadata: {name: 7}\nspec: {}\n", "f.yaml:8:18: metadata.name: must be a string: put 7 in quotes"},
		{"not a mapping", "- a\n", "f.yaml:1:1: must be a mapping, not a list"},
		{"scalar", "hello\n", "must be a mapping"},
		{"no kind", "metadata: {name: a}\n", "f.yaml:1:1: kind: is required"},
		{"unknown kind", "apiVersion: v1\nkind: Pod\n", `f.yaml:2:7: kind: unknown kind "Pod"`},
		{"wrong version", "apiVersion: networking.evroclabs.net/v1\nkind: Subnet\nmetadata: {name: a}\nspec: {ipv4CidrBlock: 10.0.0.0/8}\n", `f.yaml:1:13: apiVersion: must be "networking.evroclabs.net/v1alpha1"`},
		{"version of another kind", "apiVersion: networking.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: a}\n", `must be "compute.evroclabs.net/v1alpha1"`},
		{"no name", group + "metadata: {}\nspec: {}\n", "metadata.name: is required"},
		{"no metadata", group + "spec: {}\n", "metadata: is required"},
		{"no spec", group + "metadata: {name: a}\n", "spec: is required"},
		{"empty name", group + "metadata: {name: \"\"}\nspec: {}\n", "metadata.name: must not be empty"},
		{"name with slash", group + "metadata: {name: a/b}\nspec: {}\n", "metadata.name"},
		{"bad namespace", group + "metadata: {name: a, namespace: null}\nspec: {}\n", "metadata.namespace"},
		{"unknown in metadata", group + "metadata: {name: a, nmae: b}\nspec: {}\n", "metadata.nmae: unknown field"},
		{"unknown at top", group + "metadata: {name: a}\nspec: {}\nrules: []\n", "f.yaml:5:1: rules: unknown field"},
		{"unknown in spec", group + "metadata: {name: a}\nspec: {rule: []}\n", "f.yaml:4:8: spec.rule: unknown field"},
		{"rules not a list", group + "metadata: {name: a}\nspec: {rules: {}}\n", "spec.rules: must be a list, not a mapping"},
		{"rule name twice", group + "metadata: {name: a}\nspec:\n  rules:\n  - {name: x, direction: Egress}\n  - {name: x, direction: Egress}\n", `f.yaml:7:12: spec.rules[1].name: "x" is already the name of the rule on line 6`},
		{"object twice", group + "metadata: {name: a}\nspec: {}\n---\n" + group + "metadata: {name: a}\nspec: {}\n", "f.yaml:6:1: metadata.name: SecurityGroup default/a is already defined at f.yaml:1:1"},
		{"field twice", group + "metadata: {name: a}\nmetadata: {name: b}\nspec: {}\n", "f.yaml:4:1: metadata: given twice; first on line 3"},
		{"alias", group + "metadata: {name: &a x}\nspec: {rules: *a}\n", "spec.rules: YAML aliases (*a) are not supported"},
		{"merge key", group + "metadata: {name: a, labels: {<<: {a: b}}}\nspec: {}\n", "field names must be plain strings"},
		{"complex key", group + "metadata: {name: a}\n? [a, b]\n: c\nspec: {}\n", "field names must be plain strings"},
		{"syntax", group + "metadata: {name: a\n", "not YAML"},
		{"tab", "a:\n\t- b\n", "f.yaml:2: not YAML"},
		{"deep", "kind: Subnet\na: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), "nested deeper than 32"},
		{"very deep", strings.Repeat("[", 100000), "not YAML"},
		{"large", strings.Repeat("#", MaxFileSize+1), "larger than"},
		{"status not a mapping", "apiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: a}\nstatus: x\n", "status: must be a mapping"},
		{"status address", "apiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: a}\nstatus: {networking: {privateIPv4Address: \"fd00::1\"}}\n", "of the other address family"},
		{"unknown in VM spec", "apiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: a}\nspec: {network: {}}\n", "spec.network: unknown field"},
		{"mac multicast", vmManifest("interfaces: [{macAddress: 01:00:5e:00:00:01}]"), "multicast"},
		{"mac zero", vmManifest(`interfaces: [{macAddress: "00:00:00:00:00:00"}]`), "no address"},
		{"mac nonsense", vmManifest("interfaces: [{macAddress: 02:00:00}]"), "interfaces[0].macAddress"},
		{"address with length", vmManifest("interfaces: [{ipAddresses: [10.0.0.1/24]}]"), "interfaces[0].ipAddresses[0]"},
		{"unspecified", vmManifest("interfaces: [{ipAddresses: [0.0.0.0]}]"), "unspecified"},
		{"loopback", vmManifest(`interfaces: [{ipAddresses: ["::1"]}]`), "loopback"},
		{"multicast", vmManifest("interfaces: [{ipAddresses: [224.0.0.1]}]"), "multicast"},
		{"broadcast", vmManifest("interfaces: [{ipAddresses: [255.255.255.255]}]"), "broadcast"},
		{"mapped", vmManifest(`interfaces: [{ipAddresses: ["::ffff:10.0.0.1"]}]`), "IPv4-mapped"},
		{"zone", vmManifest(`interfaces: [{ipAddresses: ["fe80::1%e"]}]`), "zone"},
		{"address twice", vmManifest("interfaces: [{ipAddresses: [10.0.0.1, 10.0.0.1]}]"), "ipAddresses[1]: 10.0.0.1 is listed twice"},
		{"second without id", vmManifest("interfaces: [{}, {}]"), "interfaces[1].id: is required"},
		{"id twice", vmManifest("interfaces: [{}, {id: vm}]"), `interfaces[1].id: "vm" is used by two`},
		{"group twice", vmManifest("securityGroups: {securityGroupMemberships: [{name: a}, {name: a}]}"), "a is listed twice"},
		{"membership not a ref", vmManifest("securityGroups: {securityGroupMemberships: [a]}"), "securityGroupMemberships[0]: must be a mapping"},
		{"subnet without block", subnetManifest("vpcRef: {name: a}"), "needs ipv4CidrBlock"},
		{"subnet family", subnetManifest("ipv6CidrBlock: 10.0.0.0/8"), "10.0.0.0/8 is not IPv6"},
		{"subnet family 4", subnetManifest(`ipv4CidrBlock: "fd00::/8"`), "fd00::/8 is not IPv4"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o, errs := Decode(File{Name: "f.yaml", Data: []byte(test.src)})
			wantProblem(t, errs, test.want)
			if !reflect.DeepEqual(o, policy.Objects{}) {
				t.Error("objects returned in spite of errors")
			}
		})
	}
}

func TestDecodeReportsAllErrorsInOrder(t *testing.T) {
	_, errs := Decode(File{Name: "f.yaml", Data: []byte(`apiVersion: networking.evroclabs.net/v1alpha1
kind: SecurityGroup
metadata: {name: g}
spec:
  rules:
  - direction: Up
    protocol: All
    port: 3
  - direction: Ingress
    bogus: 1
---
apiVersion: networking.evroclabs.net/v1alpha1
kind: Subnet
metadata: {name: s}
spec: {}
`)})
	var got []string
	for _, e := range errs {
		got = append(got, e.Error())
	}
	want := []string{
		`f.yaml:6:16: spec.rules[0].direction: "Up" must be Ingress or Egress`,
		`f.yaml:8:11: spec.rules[0].port: only allowed with protocol TCP or UDP`,
		`f.yaml:10:5: spec.rules[1].bogus: unknown field`,
		`f.yaml:15:7: spec: needs ipv4CidrBlock, ipv6CidrBlock or both`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDecodeBoundsItsReport(t *testing.T) {
	_, errs := Decode(File{Name: "f.yaml", Data: []byte(ruleManifest("direction: Egress") + strings.Repeat("---\na: b\n", 5000))})
	if len(errs) != maxProblems+1 {
		t.Errorf("got %d problems", len(errs))
	}
}

func TestDecodeEmpty(t *testing.T) {
	for _, src := range []string{"", "\n\n", "# only a comment\n", "---\n", "---\n---\n# x\n", "null\n", "\ufeff# bom\n"} {
		if o := decodeOK(t, src); !reflect.DeepEqual(o, policy.Objects{}) {
			t.Errorf("%q gives %v", src, o)
		}
	}
}

func TestDecodeDefaults(t *testing.T) {
	o := decodeOK(t, vmManifest("interfaces: [{}, {id: b, ipAddresses: [10.0.0.2]}]")+
		"status: {networking: {privateIPv4Address: 10.0.0.1, ipv6Address: \"fd00::1\"}}\n")
	var got []string
	for _, n := range o.VirtualMachines[0].Interfaces {
		got = append(got, fmt.Sprint(n.ID, n.Addrs))
	}
	if want := []string{"vm[10.0.0.1 fd00::1]", "b[10.0.0.2]"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	o = decodeOK(t, subnetManifest("ipv4CidrBlock: 10.0.0.9/8"))
	if got := o.Subnets[0]; got.VPC != (policy.Key{Namespace: "default", Name: "default"}) || got.Prefixes[0] != netip.MustParsePrefix("10.0.0.0/8") {
		t.Errorf("got %v", got)
	}
}

func TestDecodeHostileInputIsQuick(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		p := string(c - 1)
		bomb += fmt.Sprintf("%c: &%c [*%s,*%s,*%s,*%s,*%s,*%s,*%s,*%s,*%s]\n", c, c, p, p, p, p, p, p, p, p, p)
	}
	const big = 1 << 18
	for name, src := range map[string]string{
		"alias bomb":    bomb,
		"comments":      strings.Repeat("# a\n", big/4),
		"brackets":      strings.Repeat("[", big),
		"braces":        strings.Repeat("{", big),
		"list of lists": strings.Repeat("- ", big/2),
		"keys":          strings.Repeat("? ", big/2),
		"documents":     strings.Repeat("---\n", big/4),
		"quotes":        "a: \"" + strings.Repeat("\\n", big/2),
		"one line":      strings.Repeat("a", big),
		"anchors":       strings.Repeat("- &a\n", big/5),
		"indents":       indents(300),
		"colons":        strings.Repeat("a: ", big/3),
		"commas":        "[" + strings.Repeat("a,", big/2),
		"comment pairs": strings.Repeat("a: # b\n", big/7),
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan time.Duration, 1)
			go func() {
				start := time.Now()
				Decode(File{Name: "f.yaml", Data: []byte(src)})
				done <- time.Since(start)
			}()
			select {
			case d := <-done:
				t.Logf("%d bytes in %v", len(src), d)
			case <-time.After(20 * time.Second):
				t.Fatal("Decode hangs")
			}
		})
	}
}

func indents(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(worked))
	f.Add([]byte(ruleManifest("direction: Ingress, protocol: TCP, port: 1000, endPort: 1100")))
	f.Add([]byte(vmManifest("interfaces: [{id: a, macAddress: 02:00:00:00:00:01, ipAddresses: [10.0.0.1]}]")))
	f.Add([]byte(subnetManifest("ipv4CidrBlock: 10.0.0.0/8")))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? {a: b}\n: - [\n"))
	f.Add([]byte("!!binary a: !!set {? b}\n---\n%YAML 1.2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := File{Name: "f.yaml", Data: data}
		o, errs := Decode(file)
		for i, e := range errs {
			if e.Reason == "" || e.Pos.File != "f.yaml" || e.Warning {
				t.Errorf("bad problem %+v", e)
			}
			if i > 0 && errs[i-1].Compare(e) > 0 && i < maxProblems {
				t.Errorf("problems out of order: %v, %v", errs[i-1], e)
			}
		}
		if len(errs) > 0 && !reflect.DeepEqual(o, policy.Objects{}) {
			t.Error("objects in spite of errors")
		}
		p, dup := policy.New([]policy.Objects{o}, policy.Options{})
		if len(dup) > 0 {
			t.Errorf("duplicates within one file: %v", dup)
		}
		for _, g := range o.Groups {
			for _, r := range g.Rules {
				if r.Ports.First > r.Ports.Last || (r.Ports.First == 0 && !r.Ports.IsAll()) ||
					(r.Remote.Kind == policy.RemoteCIDR && r.Remote.Prefix != r.Remote.Prefix.Masked()) {
					t.Errorf("bad rule %+v", r)
				}
			}
		}
		resolve.Once(p, []policy.VIF{{Name: "a", OFPort: 1, IfaceID: "a"}})
	})
}
