package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

// While the directory is read for the first time, most of what is allocated is
// garbage at once, and time counts: collecting it is put off as long as memory
// stays below a limit. Afterwards little is allocated, and memory counts.
const (
	startPercent = 400
	startLimit   = 48 << 20 // bytes
	startPerFile = 3 << 10  // bytes more for each file
	laterPercent = 50
)

// collector is how the garbage collector is set. Those who set GOGC or
// GOMEMLIMIT know better.
type collector struct {
	set    bool
	before int64 // the limit
}

// saveTime is for the start, with so many files to read as the directory has.
func (c *collector) saveTime(dir string) {
	if c.set = os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == ""; !c.set {
		return
	}
	files := 0
	if d, err := os.Open(dir); err == nil {
		names, _ := d.Readdirnames(-1)
		files = len(names)
		d.Close()
	}
	debug.SetGCPercent(startPercent)
	c.before = debug.SetMemoryLimit(startLimit + int64(files)*startPerFile)
}

// saveMemory is for the time after the first policy is in force.
func (c *collector) saveMemory(ctx context.Context, settled <-chan struct{}) error {
	select {
	case <-settled:
	case <-ctx.Done():
		return nil
	}
	if c.set {
		debug.SetGCPercent(laterPercent)
		debug.SetMemoryLimit(c.before)
	}
	debug.FreeOSMemory()
	// What was accepted is written meanwhile, which needs it for longer.
	for _, pause := range []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second} {
		select {
		case <-time.After(pause):
			debug.FreeOSMemory()
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
