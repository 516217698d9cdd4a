package main

import (
	"fmt"
	"strings"
)

// The standard shape: one group, all, whose rules refer to itself, and a file
// for each member. A hundred members are local.
const local = 100

const groupHead = `apiVersion: networking.evroclabs.net/v1alpha1
kind: SecurityGroup
metadata: {name: all}
spec:
  rules:
`

// groupFile returns the group with the six rules that peers are measured with,
// and with more rules, each a line of YAML.
func groupFile(more ...string) string {
	rules := []string{
		"{direction: Egress}",
		selfRule("TCP", 22), selfRule("TCP", 80), selfRule("TCP", 443), selfRule("UDP", 53),
		"{direction: Ingress, protocol: ICMP, remote: {securityGroupRef: {name: all}}}",
	}
	return groupHead + "  - " + strings.Join(append(rules, more...), "\n  - ") + "\n"
}

func selfRule(protocol string, port int) string {
	return fmt.Sprintf("{direction: Ingress, protocol: %s, port: %d, remote: {securityGroupRef: {name: all}}}", protocol, port)
}

// cidrRule returns a rule that lets one prefix in on one port.
func cidrRule(protocol string, port int, prefix string) string {
	return fmt.Sprintf("{direction: Ingress, protocol: %s, port: %d, remote: {address: {IPAddressOrCIDR: %s}}}", protocol, port, prefix)
}

func vmName(i int) string { return fmt.Sprintf("vm%d", i) }
func vmMAC(i int) string {
	return fmt.Sprintf("02:00:00:%02x:%02x:%02x", i>>16&0xff, i>>8&0xff, i&0xff)
}
func memberFile(i int) string { return vmName(i) + ".yaml" }

// vmAddr returns the address of a member in a net; a changed member has the same
// address in another net.
func vmAddr(net, i int) string { return fmt.Sprintf("%d.%d.%d.%d", net, i>>16&0xff, i>>8&0xff, i&0xff) }

// member returns the manifest of a VM in the group.
func member(i, net int) string {
	return fmt.Sprintf(`apiVersion: compute.evroclabs.net/v1alpha1
kind: VirtualMachine
metadata: {name: %s}
spec:
  networking:
    interfaces: [{macAddress: "%s", ipAddresses: [%s]}]
    securityGroups: {securityGroupMemberships: [{name: all}]}
`, vmName(i), vmMAC(i), vmAddr(net, i))
}
