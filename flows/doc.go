// Package flows compiles what a host must enforce into OpenFlow flows.
//
// It is pure: a model goes in, a set of flows comes out, byte for byte the
// same for the same input. Flows are values in the wire form of OpenFlow 1.4
// with Open vSwitch's extensions, and print as ovs-ofctl prints them, so that
// what is compared, sent, read back and shown is one thing.
//
// A packet's way through the tables:
//
//	classify ─ spoof_guard ─ dispatch ─ track ─ role ─┐
//	   │           │            │         │      │    │
//	 (deny)      (deny)         └─ flood  │    (deny) │
//	                                 │    │           │
//	                               copy ──┘           │
//	   ┌──────────────────────────────────────────────┘
//	egress_est ─ egress_remote ─ egress_rules ─ (deny)
//	   │                            │
//	ingress_est ─ ingress_remote ─ ingress_rules ─ (deny)
//	   │                            │
//	commit ─ deliver ─ (flood)
//
// Ingress is towards the VM and egress from it, never relative to the bridge.
package flows
