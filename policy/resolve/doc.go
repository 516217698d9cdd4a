// Package resolve works out what one host has to enforce: it joins the objects
// of a policy with the VM ports of the host to a policy.Model.
//
// A [Resolver] keeps the model up to date: it takes revisions that change, and
// returns the difference that they make, at a cost that depends on what a change
// concerns. [Once] is a Resolver fed once, for a policy that does not change.
//
// A port belongs to an interface by its iface-id, else by its vm-id; ports are
// taken in the order of OFPort, all iface-ids first, and an interface belongs to
// one port only. A port without interface is an Endpoint that is not Known.
//
// An address in a VPC, an interface id or a uid that several VMs or interfaces
// claim belongs to the first of them, by VM key, then by interface id. The others
// go without it, and each of them is a warning.
//
// The package is pure. Property tests compare it with policy.Evaluate, which
// shares no code with it, and compare a Resolver after a history of changes with
// a new one.
package resolve
