// Package vswitch follows one Open vSwitch bridge in the Open_vSwitch database
// and tells, in immutable snapshots, which interfaces the bridge has, what each
// of them is (a VM port, trusted infrastructure, or unidentified) and whether
// policy can be enforced on it.
//
// The meaning of the columns is defined in ovs-vswitchd.conf.db(5); the
// external_ids that an integrator writes are those of Open vSwitch's
// integration guide (iface-id, attached-mac, vm-id) and the vm-uuid of OpenStack Nova.
//
// [Client.Run] connects, by package ovsdb, and delivers a [Snapshot] on
// [Client.Snapshots] whenever the bridge has changed. It is level-triggered: a
// database update only wakes it up, and the snapshot is built from all the
// rows of that moment. [Client.Sync] is the barrier that makes everything
// committed before the call visible. [Client.Prepare] writes the little that
// this project needs from the bridge. Bridge.controller is never written,
// because setting or removing a controller flushes every flow.
//
// [QuirksOf] knows what versions of Open vSwitch do otherwise than documented.
package vswitch
