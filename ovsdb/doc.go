// Package ovsdb follows one Open vSwitch bridge in the Open_vSwitch database
// and tells, in immutable snapshots, which interfaces it has and what each of
// them is: a VM port, trusted infrastructure, or unidentified.
//
// The facts come from ovsdb-server over the protocol of RFC 7047; what the
// columns mean is defined in ovs-vswitchd.conf.db(5), and the external_ids
// that an integrator writes are those of Open vSwitch's integration guide
// (iface-id, iface-status, attached-mac, vm-id).
//
// A [Client] owns the connection: [Client.Run] connects, monitors the columns
// it needs, reconnects for ever, and delivers a [Snapshot] on
// [Client.Snapshots] whenever the picture changed. It is level-triggered: a
// database update only wakes it up, and the snapshot is built from all the
// rows that are known then. [Client.Sync] is the barrier that makes "whatever
// was committed before this call" visible. [Client.Prepare] writes the little
// that this project needs from the bridge. Bridge.controller is never
// written, because setting or removing a controller flushes every flow.
//
// # Why not libovsdb's client
//
// The wire types (rows, sets, maps, operations, schemas, monitor requests)
// are libovsdb's; the connection and the row store are not, for three reasons
// measured with libovsdb v0.8.1 and Open vSwitch 3.1.0:
//
//   - A picture made of several List calls is torn, because each takes the
//     lock for one table. With transactions that change a port's tag together
//     with its interface's iface-id, List(Port) then List(Interface) saw one
//     without the other at 924 of 2,000 transactions: a VM in the network of
//     another. TestSnapshotsAreNotTorn demands none.
//   - A reconnect happens inside the client, without a callback, and reads
//     are answered from the old cache meanwhile. An update that cannot be
//     applied is at most logged.
//   - An update notification without parameters ends the process: it panics
//     in a goroutine that nobody can guard.
//
// Here one goroutine reads the connection; it applies an update to all tables
// under one lock, before it looks at the next message. So a snapshot never
// shows half a transaction, and since ovsdb-server sends the updates of a
// session before any transaction's reply on it, whoever has seen the reply
// has all that was committed before the request ([Client.Sync]). An update
// that does not make sense ends the session: the next one starts from the
// whole contents.
package ovsdb
