// Package flows is the vocabulary of OpenFlow flows: fields, matches, actions,
// flows, sets of flows and what differs between two sets, with the tables,
// registers, causes and cookies of the pipeline.
//
// Flows are values in the wire form of OpenFlow 1.4 with Open vSwitch's
// extensions, and print as ovs-ofctl prints them, so that what is compared, sent,
// read back and shown is one thing.
//
// Package pipeline makes the flows of each table; package compile makes the flows
// of a host out of a model, and keeps them up to date; package openflow exchanges
// flows with the switch.
package flows
