// Package ovsdb keeps a copy of a few tables of an OVSDB server (RFC 7047),
// such as ovsdb-server(1), and runs transactions on them. It knows no schema:
// the tables are Go structs whose fields name columns.
//
// A [Client] owns the connection: [Client.Run] connects, monitors the columns,
// watches over the connection and connects again, for ever. [Client.Changed]
// rings whenever the copy may have changed, [Client.Picture] reads the copy as
// it was between two transactions, [Client.Transact] runs a transaction, and
// [Client.Sync] is the barrier that makes everything committed before visible.
//
// # What libovsdb does and what this package adds
//
// The protocol, the decoding and the copy are libovsdb's client (v0.8.1). Each
// connection gets a new client with one monitor, and a client that lost its
// connection is thrown away. Libovsdb's own reconnecting is not used: several
// monitors lose rows over it, the reasons for its failures are only logged,
// and a back-off that ends panics. A new client starts from the whole contents
// of the database, which takes some 10 ms for 100 ports and 100 ms for 1,000.
// This package adds:
//
//   - A consistent picture. List and Get lock one table at a time, so two
//     calls may see two halves of a transaction. [Client.Picture] reads all
//     tables twice and accepts what did not change in between.
//   - Signs of life. Libovsdb's WithInactivityCheck may panic or wait for ever,
//     so this package sends echo requests of its own, with a deadline. Every
//     call ends with the connection that it was made on.
//   - Updates that libovsdb cannot apply end the connection, and the next one
//     reads everything anew. Libovsdb itself only logs them.
//   - Only the columns that the structs name are monitored. A monitor without
//     a list of columns gets all of them, statistics included.
//
// # What cannot be guarded
//
// Libovsdb decodes messages in a goroutine of its own, where no caller can
// recover a panic. These messages end the process, and no ovsdb-server sends
// them: an update without parameters, a message with neither a method nor an
// id, a row without contents, and a set, map or UUID that lacks its second
// element. Only somebody who may replace the server's socket can send them.
package ovsdb
