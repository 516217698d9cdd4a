// Package unixctl talks to the control socket of an Open vSwitch daemon, as
// ovs-appctl(8) does: JSON-RPC 1.0 over a Unix stream socket, where a command
// is the method, its arguments are strings, and its result is text.
//
// It is meant for ovs-vswitchd, whose socket [Find] finds: for example
// revalidator/purge, revalidator/wait, "fdb/flush BRIDGE", ofproto/trace and
// dpctl/dump-flows (ovs-vswitchd(8), "Runtime Management Commands"). One
// connection serves any number of calls, one after the other.
package unixctl
