// Package compile makes the flows of a host out of a model, and keeps them up to
// date while the model changes.
//
// [Compiler] is the product: it takes the changes of the model and returns the
// changes of the flows. [Full] makes all flows at once; it is the reference that
// the tests hold the Compiler against, and what the Compiler falls back to when
// numbers collide.
//
// Both give numbers to classes, VPCs, sets of groups and conjunctions (ids.go) and
// have the flows made by package pipeline. The Compiler also gives out the epochs
// (epochs.go), which it reads back from the flows in force after a restart
// (readback.go).
package compile
