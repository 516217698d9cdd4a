package main

import (
	"context"
	"os"
	"runtime/debug"
)

// settledPercent is the percentage of GOGC once the first policy is in force.
const settledPercent = 50

// saveMemory waits until the first policy is in force. From then on the agent
// allocates little, so saveMemory trades processor time for memory, and returns
// to the system what the start needed. Where the environment sets GOGC or
// GOMEMLIMIT, saveMemory leaves the collector's settings alone.
func saveMemory(ctx context.Context, settled <-chan struct{}) error {
	select {
	case <-settled:
	case <-ctx.Done():
		return nil
	}
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(settledPercent)
	}
	debug.FreeOSMemory()
	return nil
}
