package resolve

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/policytest"
)

// lines prints the parts of a model that a test compares: endpoints, members and
// problems.
func linesOf(m *policy.Model) []string {
	var out []string
	for _, e := range m.Endpoints {
		if !e.Known {
			out = append(out, fmt.Sprintf("%d %s unknown mac=%s groups=%v", e.OFPort, e.VIF, e.MAC, e.Groups))
			continue
		}
		out = append(out, fmt.Sprintf("%d %s vm=%s mac=%s addrs=%v vpc=%s subnets=%v groups=%v",
			e.OFPort, e.VIF, e.VM, e.MAC, e.Addrs, e.VPC, e.Subnets, e.Groups))
	}
	for _, x := range m.Members {
		out = append(out, fmt.Sprintf("member %s %s %s %s %v", x.VPC, x.Addr, x.VM, x.Interface, x.Groups))
	}
	for _, p := range m.Problems {
		out = append(out, p.Error())
	}
	return out
}

func texts(ps []policy.Problem) []string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Error())
	}
	return out
}

func TestResolveGroups(t *testing.T) {
	p, vifs := tiers(t, policy.Options{})
	m := once(p, vifs)
	var got []string
	for _, g := range m.Groups {
		got = append(got, g.ID)
		for _, r := range g.Rules {
			got = append(got, fmt.Sprintf("  %s %s %s %s %s %s %v %s", r.Group, r.Name, r.Direction, r.Protocol, r.Ports,
				r.Remote.Kind, r.Remote.Prefixes, r.Remote.Group))
		}
	}
	policytest.Lines(t, got, []string{
		"default/any",
		"  default/any #0 Ingress All all anywhere [] ",
		"  default/any #1 Egress All all anywhere [] ",
		"default/app",
		"  default/app fromWeb Ingress TCP 8000-8999 members [] default/web",
		"  default/app ping Ingress ICMP all anywhere [] ",
		"  default/app dns Egress UDP 53 prefixes [10.0.0.0/8] ",
		"  default/app nobody Ingress UDP all members [] default/empty",
		"  default/app b Egress TCP 22 prefixes [10.0.2.0/24] ",
		"  default/app fromDefault Ingress TCP 9999 members [] default/default-sto-1",
		"default/default-sto-1[default/a]",
		"  default/default-sto-1 all-egress Egress All all anywhere [] ",
		"  default/default-sto-1 own-subnet Ingress All all prefixes [10.0.1.0/24 fd00:1::/64] ",
		"default/empty",
		"default/web",
		"  default/web http Ingress TCP 80 anywhere [] ",
		"  default/web toApp Egress TCP 8080 members [] default/app",
		"  default/web toAll6 Egress All all prefixes [::/0] ",
	})
	if got := m.Endpoints[3]; got.VM.Name != "lost" || got.Groups != nil {
		t.Errorf("lost has %v", got.Groups)
	}
	policytest.Lines(t, texts(warnings(p)), []string{
		"f.yaml:9:71: spec.rules[3].remote.securityGroupRef.name: no security group default/gone: rule gone allows nothing",
		"f.yaml:10:15: spec.networking.securityGroups.securityGroupMemberships[0].name: no security group default/nowhere: it allows the VM nothing",
		"f.yaml:10:67: spec.rules[4].remote.subnetRef.name: no subnet default/gone: rule goneToo allows nothing",
	})
}

func TestResolveVPC(t *testing.T) {
	tests := []struct {
		name, src string
		want      []string
		problems  []string // of the policy, parts
	}{
		{
			"no subnet", policytest.VM("default", "x", "10.0.0.1", "", "g"),
			[]string{"1 tap-x vm=default/x mac=02:00:00:00:00:01 addrs=[10.0.0.1] vpc=default/default subnets=[] groups=[]", "member default/default 10.0.0.1 default/x x []"},
			[]string{"no security group default/g"},
		},
		{
			"longest prefix", policytest.Subnet("default", "wide", "10.0.0.0/8", "", "w") + policytest.Subnet("default", "narrow", "10.0.0.0/24", "", "n") + policytest.VM("default", "x", "10.0.0.1", "", ""),
			[]string{"1 tap-x vm=default/x mac=02:00:00:00:00:01 addrs=[10.0.0.1] vpc=default/n subnets=[default/narrow] groups=[default/default-sto-1[default/narrow]]", "member default/n 10.0.0.1 default/x x [default/default-sto-1]"},
			nil,
		},
		{
			"ambiguous", policytest.Subnet("default", "s1", "10.0.0.0/24", "", "v1") + policytest.Subnet("default", "s2", "10.0.0.0/24", "", "v2") + policytest.VM("default", "x", "10.0.0.1", "", ""),
			[]string{"1 tap-x vm=default/x mac=02:00:00:00:00:01 addrs=[10.0.0.1] vpc= subnets=[] groups=[default/default-sto-1[]]"},
			[]string{"several VPCs (default/v1, default/v2)"},
		},
		{
			"subnetRef settles it", policytest.Subnet("default", "s1", "10.0.0.0/24", "", "v1") + policytest.Subnet("default", "s2", "10.0.0.0/24", "", "v2") + policytest.VM("default", "x", "10.0.0.1", "s2", ""),
			[]string{"1 tap-x vm=default/x mac=02:00:00:00:00:01 addrs=[10.0.0.1] vpc=default/v2 subnets=[default/s2] groups=[default/default-sto-1[default/s2]]", "member default/v2 10.0.0.1 default/x x [default/default-sto-1]"},
			nil,
		},
		{
			"two subnets of one VPC", policytest.Subnet("default", "s1", "10.0.0.0/24", "", "") + policytest.Subnet("default", "s2", "", "fd00::/64", "") + policytest.VM("default", "x", "10.0.0.1 fd00::1", "", ""),
			[]string{
				"1 tap-x vm=default/x mac=02:00:00:00:00:01 addrs=[10.0.0.1 fd00::1] vpc=default/default subnets=[default/s1 default/s2] groups=[default/default-sto-1[default/s1,default/s2]]",
				"member default/default 10.0.0.1 default/x x [default/default-sto-1]", "member default/default fd00::1 default/x x [default/default-sto-1]",
			},
			nil,
		},
		{
			"other namespaces do not count", policytest.Subnet("other", "s", "10.0.0.0/24", "", "v") + policytest.VM("default", "x", "10.0.0.1", "", ""),
			[]string{"1 tap-x vm=default/x mac=02:00:00:00:00:01 addrs=[10.0.0.1] vpc=default/default subnets=[] groups=[default/default-sto-1[]]", "member default/default 10.0.0.1 default/x x [default/default-sto-1]"},
			nil,
		},
		{
			"subnetRef to nothing", policytest.VM("default", "x", "10.0.0.1", "s", ""),
			[]string{"1 tap-x vm=default/x mac=02:00:00:00:00:01 addrs=[10.0.0.1] vpc= subnets=[] groups=[default/default-sto-1[]]"},
			[]string{"no subnet default/s: interface \"x\" is in no VPC"},
		},
		{
			"address outside its subnet", policytest.Subnet("default", "s", "10.0.0.0/24", "", "") + policytest.VM("default", "x", "10.9.0.1", "s", ""),
			[]string{"1 tap-x vm=default/x mac=02:00:00:00:00:01 addrs=[10.9.0.1] vpc=default/default subnets=[default/s] groups=[default/default-sto-1[default/s]]", "member default/default 10.9.0.1 default/x x [default/default-sto-1]"},
			[]string{"address 10.9.0.1 of interface \"x\" is outside its subnet default/s"},
		},
		{
			"an address belongs to the first", policytest.VM("default", "a", "10.0.0.1 10.0.0.2", "", "") + policytest.VM("default", "x", "10.0.0.1 10.0.0.3", "", ""),
			[]string{
				"1 tap-x vm=default/x mac=02:00:00:00:00:01 addrs=[10.0.0.3] vpc=default/default subnets=[] groups=[default/default-sto-1[]]",
				"member default/default 10.0.0.1 default/a a [default/default-sto-1]", "member default/default 10.0.0.2 default/a a [default/default-sto-1]", "member default/default 10.0.0.3 default/x x [default/default-sto-1]",
			},
			[]string{"address 10.0.0.1 of interface \"x\" is already used by VM default/a in VPC default/default: refused"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := policytest.Load(t, policy.Options{}, test.src)
			policytest.Lines(t, linesOf(once(p, vifsOf("x"))), test.want)
			got := texts(warnings(p))
			if len(got) != len(test.problems) {
				t.Fatalf("problems %q", got)
			}
			for i, want := range test.problems {
				if !strings.Contains(got[i], want) {
					t.Errorf("problem %q, want %q", got[i], want)
				}
			}
		})
	}
}

func TestResolveIdentity(t *testing.T) {
	mac := func(last byte) policy.MAC { return policy.MAC{2, 0, 0, 0, 0, last} }
	one := "apiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: one, uid: u1}\nspec: {networking: {interfaces: [{id: i1, ipAddresses: [10.0.0.1]}], securityGroups: {securityGroupMemberships: [{name: g}]}}}\n---\n"
	two := "apiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: two, uid: u2}\nspec:\n  networking:\n    interfaces:\n    - {id: i2, macAddress: 02:00:00:00:00:21, ipAddresses: [10.0.0.2]}\n    - {id: i3, macAddress: 02:00:00:00:00:22, ipAddresses: [10.0.0.3]}\n    securityGroups: {securityGroupMemberships: [{name: g}]}\n---\n"
	g := policytest.Group("default", "g")
	three := policytest.VM("else", "x1", "10.0.0.1 10.0.0.9", "", "g")
	const elsewhere = "2 p2 vm=else/x1 mac=02:00:00:00:00:02 addrs=[%s] vpc=else/default subnets=[] groups=[]"
	known := func(port int, vm, mac, addr string) string {
		return fmt.Sprintf("%d p%d vm=default/%s mac=%s addrs=[%s] vpc=default/default subnets=[] groups=[default/g]", port, port, vm, mac, addr)
	}
	tests := []struct {
		name string
		vifs []policy.VIF
		want []string // without members
	}{
		{"by iface-id", []policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "i1", MAC: mac(9)}}, []string{known(1, "one", "02:00:00:00:00:09", "10.0.0.1")}},
		{"by vm-id", []policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "?", VMID: "u1"}}, []string{known(1, "one", "00:00:00:00:00:00", "10.0.0.1")}},
		{"by vm-id and MAC", []policy.VIF{{Name: "p1", OFPort: 1, VMID: "u2", MAC: mac(0x22)}}, []string{known(1, "two", "02:00:00:00:00:22", "10.0.0.3")}},
		{
			"vm-id with several interfaces and no such MAC",
			[]policy.VIF{{Name: "p1", OFPort: 1, VMID: "u2", MAC: mac(0x99)}},
			[]string{"1 p1 unknown mac=02:00:00:00:00:99 groups=[]", `VIF p1: vm-id "u2" is that of a VM with several interfaces and attached-mac 02:00:00:00:00:99 does not say which: refused`},
		},
		{"nobody", []policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "x", VMID: "y", MAC: mac(1)}}, []string{"1 p1 unknown mac=02:00:00:00:00:01 groups=[]"}},
		{"no ids at all", []policy.VIF{{Name: "p1", OFPort: 1, MAC: mac(1)}}, []string{"1 p1 unknown mac=02:00:00:00:00:01 groups=[]"}},
		{
			"manifest's MAC",
			[]policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "i2"}, {Name: "p2", OFPort: 2, IfaceID: "i3", MAC: mac(0x22)}},
			[]string{known(1, "two", "02:00:00:00:00:21", "10.0.0.2"), known(2, "two", "02:00:00:00:00:22", "10.0.0.3")},
		},
		{
			"manifest's MAC is another than the port's",
			[]policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "i2", MAC: mac(9)}},
			[]string{"1 p1 unknown mac=02:00:00:00:00:09 groups=[]", "VIF p1: attached-mac 02:00:00:00:00:09 differs from macAddress 02:00:00:00:00:21 of VM default/two: refused"},
		},
		{
			"and a second port has the MAC",
			[]policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "i2", MAC: mac(9)}, {Name: "p2", OFPort: 2, IfaceID: "i2", MAC: mac(0x21)}},
			[]string{"1 p1 unknown mac=02:00:00:00:00:09 groups=[]", known(2, "two", "02:00:00:00:00:21", "10.0.0.2"), "VIF p1: attached-mac 02:00:00:00:00:09 differs from macAddress 02:00:00:00:00:21 of VM default/two: refused"},
		},
		{
			"the MAC is another port's attached-mac",
			[]policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "i2"}, {Name: "p2", OFPort: 2, MAC: mac(0x21)}},
			[]string{known(1, "two", "00:00:00:00:00:00", "10.0.0.2"), "2 p2 unknown mac=02:00:00:00:00:21 groups=[]", "VIF p1: MAC 02:00:00:00:00:21 is already used by p2 in the same VLAN: refused"},
		},
		{
			"second port of an interface",
			[]policy.VIF{{Name: "p2", OFPort: 2, IfaceID: "i1", MAC: mac(2)}, {Name: "p1", OFPort: 1, IfaceID: "i1", MAC: mac(1)}},
			[]string{known(1, "one", "02:00:00:00:00:01", "10.0.0.1"), "2 p2 unknown mac=02:00:00:00:00:02 groups=[]", `VIF p2: is a second port of interface "i1" of VM default/one, which has port p1: refused`},
		},
		{
			"iface-id comes before vm-id",
			[]policy.VIF{{Name: "p1", OFPort: 1, VMID: "u1", MAC: mac(1)}, {Name: "p2", OFPort: 2, IfaceID: "i1", MAC: mac(2)}},
			[]string{"1 p1 unknown mac=02:00:00:00:00:01 groups=[]", known(2, "one", "02:00:00:00:00:02", "10.0.0.1"), `VIF p1: is a second port of interface "i1" of VM default/one, which has port p2: refused`},
		},
		{
			"same address in one VLAN, in another VPC",
			[]policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "i1", MAC: mac(1)}, {Name: "p2", OFPort: 2, IfaceID: "x1", MAC: mac(2)}},
			[]string{known(1, "one", "02:00:00:00:00:01", "10.0.0.1"), fmt.Sprintf(elsewhere, "10.0.0.9"),
				"VIF p2: address 10.0.0.1 is already used by p1 in the same VLAN: refused"},
		},
		{
			"and in two VLANs",
			[]policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "i1", MAC: mac(1)}, {Name: "p2", OFPort: 2, Tag: 7, IfaceID: "x1", MAC: mac(2)}},
			[]string{known(1, "one", "02:00:00:00:00:01", "10.0.0.1"), fmt.Sprintf(elsewhere, "10.0.0.1 10.0.0.9")},
		},
		{
			"same MAC in one VLAN",
			[]policy.VIF{{Name: "p1", OFPort: 1, MAC: mac(1)}, {Name: "p2", OFPort: 2, MAC: mac(1)}, {Name: "p3", OFPort: 3, Tag: 7, MAC: mac(1)}},
			[]string{"1 p1 unknown mac=02:00:00:00:00:01 groups=[]", "2 p2 unknown mac=00:00:00:00:00:00 groups=[]", "3 p3 unknown mac=02:00:00:00:00:01 groups=[]", "VIF p2: MAC 02:00:00:00:00:01 is already used by p1 in the same VLAN: refused"},
		},
		{
			"same OFPort",
			[]policy.VIF{{Name: "p2", OFPort: 1, IfaceID: "i1"}, {Name: "p1", OFPort: 1, MAC: mac(1)}, {Name: "p0"}},
			[]string{"1 p1 unknown mac=02:00:00:00:00:01 groups=[]", "VIF p0: has no OpenFlow port: ignored", "VIF p2: OpenFlow port 1 is already that of p1: ignored"},
		},
		{
			"multicast MAC",
			[]policy.VIF{{Name: "p1", OFPort: 1, MAC: policy.MAC{1, 0, 0, 0, 0, 1}}},
			[]string{"1 p1 unknown mac=00:00:00:00:00:00 groups=[]", "VIF p1: attached-mac 01:00:00:00:00:01 is a multicast address: refused"},
		},
		{
			"vm-id of another",
			[]policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "i1", VMID: "u2"}},
			[]string{known(1, "one", "00:00:00:00:00:00", "10.0.0.1"), `VIF p1: vm-id "u2" is not the uid of VM default/one, whose iface-id it has`},
		},
	}
	p := policytest.Load(t, policy.Options{}, one+two+three+g)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := slices.DeleteFunc(linesOf(once(p, test.vifs)), func(s string) bool { return strings.HasPrefix(s, "member ") })
			policytest.Lines(t, got, test.want)
		})
	}
}

func TestResolveSharedIDs(t *testing.T) {
	src := policytest.VM("b", "x", "10.0.0.2", "", "") + policytest.VM("a", "x", "10.0.0.1", "", "")
	src += strings.Replace(policytest.VM("c", "y", "10.0.0.3", "", ""), "name: y", "uid: u, name: y", 1) + strings.Replace(policytest.VM("c", "z", "10.0.0.4", "", ""), "name: z", "uid: u, name: z", 1)
	p := policytest.Load(t, policy.Options{}, src)
	m := once(p, []policy.VIF{{Name: "p1", OFPort: 1, IfaceID: "x"}, {Name: "p2", OFPort: 2, VMID: "u"}})
	if m.Endpoints[0].VM != (policy.Key{Namespace: "a", Name: "x"}) || m.Endpoints[1].VM != (policy.Key{Namespace: "c", Name: "y"}) || len(m.Members) != 4 {
		t.Errorf("got %v", linesOf(m))
	}
	got := strings.Join(texts(warnings(p)), "\n")
	for _, want := range []string{`id "x" is already used by VM a/x`, `"u" is already the uid of VM c/y`} {
		if !strings.Contains(got, want) {
			t.Errorf("problems %s, want %s", got, want)
		}
	}
}

func TestEmpty(t *testing.T) {
	p, _ := policy.New(nil, policy.Options{})
	m, problems := Once(p, nil)
	if len(problems)+len(m.Endpoints)+len(m.Groups)+len(m.Members)+len(m.Problems) > 0 {
		t.Errorf("empty policy gives %+v, %v", m, problems)
	}
}
