package controller

import (
	"fmt"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/dirsource"
	"github.com/ovs-sg/ovs-sg/policy/resolve"
)

// crowd is the shape peers are measured with: one group that refers to itself,
// with six rules, and so many members, a hundred of them local.
func crowd(members int) (changes []dirsource.FileChange, vifs []policy.VIF) {
	add := func(f dirsource.File) { changes = append(changes, dirsource.FileChange{File: f}) }
	add(dirsource.File{Name: "group.yaml", Data: []byte(`apiVersion: networking.evroclabs.net/v1alpha1
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
`)})
	for i := range members {
		add(crowdVM(i))
		if i < 100 {
			vifs = append(vifs, policy.VIF{Name: fmt.Sprintf("tap%d", i), OFPort: uint16(i + 1), IfaceID: fmt.Sprintf("vm%d", i)})
		}
	}
	return changes, vifs
}

func crowdVM(i int) dirsource.File {
	return dirsource.File{Name: fmt.Sprintf("vm%d.yaml", i), Data: []byte(fmt.Sprintf(`apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: vm%d}
spec:
  networking:
    interfaces: [{macAddress: "02:00:00:%02x:%02x:%02x", ipAddresses: [10.%d.%d.%d]}]
    securityGroups: {securityGroupMemberships: [{name: all}]}
`, i, i>>16, i>>8&0xff, i&0xff, i>>16, i>>8&0xff, i&0xff))}
}

// BenchmarkChange is all that is done for one file that comes or goes, from its
// content to the changes of flows.
func BenchmarkChange(b *testing.B) {
	for _, members := range []int{100, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			var tracker dirsource.Tracker
			resolver, compiler := resolve.New(policy.Options{}), compile.New()
			files, vifs := crowd(members)
			if _, _, err := compiler.Update(resolver.Update(tracker.Update(files).Revisions, vifs), flows.Host{}); err != nil {
				b.Fatal(err)
			}
			if _, err := compiler.Flows(); err != nil {
				b.Fatal(err)
			}
			one := crowdVM(200_000)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				change := dirsource.FileChange{File: one}
				if i%2 == 1 {
					change = dirsource.FileChange{File: dirsource.File{Name: one.Name}, Gone: true}
				}
				delta, ok, err := compiler.Update(resolver.Update(tracker.Update([]dirsource.FileChange{change}).Revisions, vifs), flows.Host{})
				if err != nil || !ok || delta.Empty() {
					b.Fatal(delta, ok, err)
				}
			}
		})
	}
}
