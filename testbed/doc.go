// Package testbed starts a private Open vSwitch with network namespaces as
// virtual machines and sends real packets between them. Tests, the
// demonstration and the measurements use it; nothing else imports it.
//
// An [OVS] is an ovsdb-server and an ovs-vswitchd in a temporary directory.
// The directory is their OVS_RUNDIR, so every Open vSwitch tool finds them
// through that one variable ([OVS.Env]) and the system's own instance is never
// touched. The ovs-vswitchd runs in a network namespace of its own, because
// two userspace ovs-vswitchd in one namespace quarrel over the device
// ovs-netdev. A [Host] is a namespace at the other end of a veth pair. An
// [Agent] is ovs-sg on such a switch.
//
// Nothing can be left behind, not even by kill -9: the namespaces have no
// name, they exist as long as this process holds them open, and their devices
// die with them; the daemons are killed by the kernel when this process ends.
// Only the temporary directory survives a crash.
//
// With [Options].Dummy the switch has simulated devices and needs no root:
// good for flows and ofproto/trace, but no packet travels and there is no real
// connection tracking.
package testbed
