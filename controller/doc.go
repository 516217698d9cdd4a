// Package controller is the loop of the agent: snapshots of the policy
// directory and of the bridge come in, the flows they call for are compiled,
// compared with what is installed, applied as one bundle and confirmed.
//
// It is level-triggered: every round works from the newest snapshots alone.
// Nothing is written to the switch before the first full directory scan and
// the first OVSDB snapshot are in. What is installed is known from what the
// switch acknowledged; after any doubt it is read back.
package controller
