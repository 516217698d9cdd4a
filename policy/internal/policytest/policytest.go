// Package policytest writes and loads manifests for tests.
package policytest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// Load returns the policy of manifest files with the given contents, each under
// the name f.yaml. It fails the test on errors.
func Load(t testing.TB, opts policy.Options, sources ...string) *policy.Policy {
	t.Helper()
	var all []policy.Objects
	var errs []policy.Problem
	for _, s := range sources {
		o, problems := manifest.Decode(manifest.File{Name: "f.yaml", Data: []byte(s)})
		all, errs = append(all, o), append(errs, problems...)
	}
	p, more := policy.New(all, opts)
	if errs = append(errs, more...); len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

// VM returns a VirtualMachine manifest with one interface; addrs and groups are
// separated by commas or spaces.
func VM(namespace, name, addrs, subnet, groups string) string {
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

// Group returns a SecurityGroup manifest; each rule is a flow mapping without
// its braces.
func Group(namespace, name string, rules ...string) string {
	s := "apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec:\n  rules:\n"
	for _, r := range rules {
		s += "  - {" + r + "}\n"
	}
	return s + "---\n"
}

// Subnet returns a Subnet manifest. Fields whose arguments are empty are left
// out.
func Subnet(namespace, name, v4, v6, vpc string) string {
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

// VMFile returns the manifest of the i-th of many VMs, with all the fields that a
// manifest usually has. The content depends on version.
func VMFile(i, version int) manifest.File {
	name := fmt.Sprintf("vm-%06d", i)
	return manifest.File{Name: name + ".yaml", Data: fmt.Appendf(nil, `apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata:
  name: %s
  namespace: shop
  uid: 5f0c1a2b-0000-4000-8000-%012d
  labels: {version: "%d"}
spec:
  networking:
    interfaces:
    - id: %s
      macAddress: 02:00:%02x:%02x:%02x:01
      ipAddresses: [10.%d.%d.%d]
      subnetRef: {name: s%d}
    securityGroups:
      securityGroupMemberships:
      - name: g%d
      - name: g%d
`, name, i, version, name, byte(i>>16), byte(i>>8), byte(i), i/62500, i/250%250, i%250+1, i/62500, i%200, (i*7+1)%200)}
}

// Fleet returns n VMs in a file each and a file with their subnets and groups,
// and the VM ports of a host with 200 of the VMs.
func Fleet(n int) ([]manifest.File, []policy.VIF) {
	var text strings.Builder
	for i := range 4 {
		text.WriteString(Subnet("shop", fmt.Sprintf("s%d", i), fmt.Sprintf("10.%d.0.0/16", i), "", ""))
	}
	for i := range 200 {
		text.WriteString(Group("shop", fmt.Sprintf("g%d", i),
			fmt.Sprintf("direction: Ingress, protocol: TCP, port: %d, remote: {securityGroupRef: {name: g%d}}", 1000+i, (i+1)%200), "direction: Egress"))
	}
	files := []manifest.File{{Name: "groups.yaml", Data: []byte(text.String())}}
	var vifs []policy.VIF
	for i := range n {
		files = append(files, VMFile(i, 0))
		if len(vifs) < 200 && i%(max(n, 400)/200) == 1 {
			vifs = append(vifs, policy.VIF{Name: fmt.Sprintf("tap%d", i), OFPort: uint16(len(vifs) + 1), IfaceID: fmt.Sprintf("vm-%06d", i)})
		}
	}
	return files, vifs
}

// Sizes runs a benchmark with several numbers of VMs.
func Sizes(b *testing.B, f func(b *testing.B, n int)) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { f(b, n) })
	}
}

// Lines fails the test unless got and want have the same lines.
func Lines(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
