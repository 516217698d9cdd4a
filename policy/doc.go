// Package policy is the security-group language: what a policy consists of, what
// it means, and what one host has to enforce of it.
//
// # Words
//
// Ingress is traffic towards a VM and egress is traffic from a VM, never
// towards or from a bridge. A connection is what conntrack tracks: protocol,
// originator address, responder address and, for a protocol with ports, the
// destination port. A remote is the other end of a connection, seen from the VM
// that the rule applies to.
//
// # Meaning
//
// A packet passes if and only if its connection is allowed now by an egress
// rule of its originator, if that is a local VM, and by an ingress rule of its
// responder, if that is a local VM. Replies and related ICMP errors pass
// because their connection is allowed; nothing else is remembered.
//
// A VM interface is allowed exactly the union of the rules of all its groups.
// No group or no rule allows nothing, in both directions; being in one group
// together allows nothing either.
//
//   - A rule has a direction, a protocol (TCP, UDP, ICMP, All; absent is All),
//     ports (only with TCP and UDP; absent is all) and a remote (an address or
//     CIDR, a security group or a subnet; absent is anywhere). An IPv4 CIDR
//     matches IPv4 only, an IPv6 CIDR IPv6 only. ICMP is ICMPv4 and ICMPv6.
//     All is every IP protocol.
//   - A group as remote stands for the addresses of its members in the VPC of
//     the VM whose rule it is, wherever they run. A subnet as remote stands for
//     its CIDR blocks.
//   - A rule whose remote group or subnet does not exist allows nothing.
//   - A VM that lists no group is in the default group of its namespace
//     ([Options]): the manifest of that name, or the built-in content. The
//     default group always exists, so a rule may name it as remote.
//   - A group that a VM lists and nobody defines gives it nothing, and such a
//     VM never falls back to the default group.
//
// # VPC of an interface
//
// An interface is in one VPC, written "namespace/name". With a subnetRef it is
// the VPC of that subnet. Without one each address takes the subnet of the
// namespace that holds it, longest prefix first, and the interface is in the
// VPC of these subnets; if no subnet holds any of its addresses it is in the
// VPC "namespace/default". If the answer is ambiguous or the subnetRef names
// nothing, the interface is in no VPC: it is nobody's member, and no group as
// remote matches anything for it.
//
// # Packages
//
// This package is the vocabulary: objects as manifests define them, the [Model]
// that one host has to enforce, and changes of both. Package manifest decodes
// YAML into [Objects]; package dirsource watches a directory, decides which
// revision of each file is in force and is a [Source] of these; package resolve
// joins the objects in force with the VM ports of a host to the Model.
//
// [Evaluate] judges single connections by the objects alone. It is the
// reference: slow, plain, written separately from package resolve, and compared
// with it by property tests.
//
// The package is pure: it opens no file, no socket and reads no clock.
package policy
