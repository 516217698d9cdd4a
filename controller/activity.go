package controller

import (
	"sync/atomic"
	"time"
)

// activity is what keeps the loop from answering. Status reads it while the loop
// does not answer.
type activity struct{ now atomic.Pointer[busy] }

// busy is one thing that takes time.
type busy struct {
	with  string // "waiting for the switch" or "compiling"
	since time.Time
}

// begin says what the loop does from now on.
func (a *activity) begin(with string) { a.now.Store(&busy{with, time.Now()}) }

// end says that the loop answers again.
func (a *activity) end() { a.now.Store(nil) }

// text says what keeps the loop, and for how long; empty if nothing does.
func (a *activity) text() string {
	b := a.now.Load()
	if b == nil {
		return ""
	}
	return b.with + " for " + time.Since(b.since).Round(time.Millisecond).String()
}
