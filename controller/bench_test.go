package controller

import (
	"fmt"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// bigPolicy is the shape peers are measured with: one group that refers to
// itself, with six rules, and so many members, a hundred of them local.
func bigPolicy(members, local int) (*policy.Policy, []policy.VIF) {
	group := policy.File{Name: "group.yaml", Data: []byte(`apiVersion: networking.evroclabs.net/v1alpha1
kind: SecurityGroup
metadata: {name: all}
spec:
  rules:
  - {direction: Egress}
  - {direction: Ingress, protocol: TCP, port: 22, remote: {securityGroupRef: {name: all}}}
  - {direction: Ingress, protocol: TCP, port: 80, remote: {securityGroupRef: {name: all}}}
  - {direction: Ingress, protocol: TCP, port: 443, remote: {securityGroupRef: {name: all}}}
  - {direction: Ingress, protocol: UDP, port: 53, remote: {securityGroupRef: {name: all}}}
  - {direction: Ingress, protocol: ICMP, remote: {securityGroupRef: {name: all}}}
`)}
	objects := make([]policy.Objects, 0, members+1)
	add := func(f policy.File) {
		o, problems := policy.Decode(f)
		if len(problems) > 0 {
			panic(problems[0])
		}
		objects = append(objects, o)
	}
	add(group)
	var vifs []policy.VIF
	for i := range members {
		add(policy.File{Name: fmt.Sprintf("vm%d.yaml", i), Data: []byte(fmt.Sprintf(`apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: vm%d}
spec:
  networking:
    interfaces: [{macAddress: "02:00:00:%02x:%02x:%02x", ipAddresses: [10.%d.%d.%d]}]
    securityGroups: {securityGroupMemberships: [{name: all}]}
`, i, i>>16, i>>8&0xff, i&0xff, i>>16, i>>8&0xff, i&0xff))})
		if i < local {
			vifs = append(vifs, policy.VIF{Name: fmt.Sprintf("tap%d", i), OFPort: uint16(i + 1), IfaceID: fmt.Sprintf("vm%d", i)})
		}
	}
	p, problems := policy.New(objects, policy.Options{})
	if len(problems) > 0 {
		panic(problems[0])
	}
	return p, vifs
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		p, vifs := bigPolicy(n, 100)
		m := p.Resolve(vifs)
		in := flows.Input{Model: m, Infra: []flows.InfraPort{{OFPort: 200}}}
		set, err := flows.Compile(in)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("resolve/members=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				p.Resolve(vifs)
			}
		})
		b.Run(fmt.Sprintf("compile/members=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := flows.Compile(in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(set.Len()), "flows")
		})
		b.Run(fmt.Sprintf("diff/members=%d", n), func(b *testing.B) {
			other := set.Clone()
			b.ReportAllocs()
			for range b.N {
				flows.Diff(set, other)
			}
		})
		b.Run(fmt.Sprintf("grants/members=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				flows.NewGrants(m)
			}
		})
		b.Run(fmt.Sprintf("owners/members=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				flows.Owners(set)
			}
		})
	}
}
