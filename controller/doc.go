// Package controller is the loop of the agent: it makes the switch enforce the
// policy of a source on the ports that OVSDB shows.
//
// The loop takes in updates of the source and snapshots of the bridge, resolves
// what is desired, has the compiler say which flows change with it, applies the
// change as one bundle and confirms it. Its parts are a type each: desired (the
// resolver, and the guard that holds a change back), enforcer (the connection,
// the compiler, what has to be forgotten), waits and history. Only the goroutine
// of Run touches them; other goroutines have the loop run a function.
//
// The loop is level-triggered: every attempt works towards the newest inputs.
// Nothing is written to the switch before the source has delivered the whole
// policy and OVSDB the first snapshot. What is installed is known from what the
// switch acknowledged; after any doubt it is read back.
package controller
