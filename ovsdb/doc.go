// Package ovsdb keeps a copy of a few tables of an OVSDB server (RFC 7047),
// such as ovsdb-server(1), and runs transactions on them. It knows no schema:
// the tables are Go structs whose fields name columns.
//
// [Client.Run] connects, monitors the columns, connects again when the
// connection breaks, and calls back whenever the copy may have changed.
// [Client.Picture] reads the copy as it was between two transactions,
// [Client.Transact] runs a transaction, and [Client.Sync] is the barrier that
// makes everything committed before visible.
//
// The protocol, the decoding and the copy are libovsdb's client (v0.8.1). This
// package adds what that client lacks:
//
//   - A consistent picture. Libovsdb's List and Get lock one table at a time,
//     so two calls may see two halves of a transaction.
//   - A new libovsdb client, with one monitor, for each connection. Libovsdb's
//     own reconnecting loses the rows of several monitors, only logs why it
//     fails, and panics when its back-off ends. A new client reads everything
//     anew: some 10 ms for 100 ports, 100 ms for 1,000.
//   - Signs of life with a deadline. Libovsdb's WithInactivityCheck may panic
//     or wait for ever. Every call ends with its connection.
//   - The end of a connection whose update cannot be applied. Libovsdb only
//     logs the update.
//   - A monitor of the columns that the structs name, and no others.
//
// Libovsdb decodes messages in a goroutine of its own, where no caller can
// recover a panic. These messages end the process, and no ovsdb-server sends
// them: an update without parameters, a message with neither a method nor an
// id, a row without contents, and a set, map or UUID that lacks its second
// element. Only somebody who may replace the server's socket can send them.
package ovsdb
