// Package unixctl talks to the control socket of an Open vSwitch daemon, as
// ovs-appctl(8) does: JSON-RPC 1.0 over a Unix stream socket, where a command
// is the method, its arguments are strings, and its result is text.
//
// The package is meant for ovs-vswitchd, whose socket [Find] finds: for example
// revalidator/purge, revalidator/wait, "fdb/flush BRIDGE", ofproto/trace and
// dpctl/dump-flows (ovs-vswitchd(8), "Runtime Management Commands"). A [Client]
// is one connection, which serves any number of calls, one after the other; a
// [Vswitchd] connects again when ovs-vswitchd has restarted; a [Tracer] reads
// what ofproto/trace says.
package unixctl
