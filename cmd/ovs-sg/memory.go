package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/ovs-sg/ovs-sg/controller"
)

// While the directory is read for the first time, most of what is allocated is
// garbage at once, and time counts: collecting it is put off as long as memory
// stays below a limit. Afterwards little is allocated, and memory counts.
const (
	startPercent = 400
	startLimit   = 192 << 20 // bytes
	laterPercent = 50
)

// saveTime has the garbage collector save time until the first policy is in
// force, and memory from then on. Those who set GOGC or GOMEMLIMIT know
// better.
func saveTime(ctx context.Context, c *controller.Controller) error {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	debug.SetGCPercent(startPercent)
	before := debug.SetMemoryLimit(startLimit)
	select {
	case <-c.Settled():
	case <-ctx.Done():
		return nil
	}
	debug.SetGCPercent(laterPercent)
	debug.SetMemoryLimit(before)
	debug.FreeOSMemory()
	// What was accepted is written meanwhile, which needs it once more.
	select {
	case <-time.After(2 * time.Second):
		debug.FreeOSMemory()
	case <-ctx.Done():
	}
	return nil
}
