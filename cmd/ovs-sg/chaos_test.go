package main

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	chaosFor  = flag.Duration("chaos", 0, "how long TestChaos goes on; by default some seconds")
	chaosWith = flag.Uint64("chaos-seed", 0, "what TestChaos and TestKilledAgent draw from; by default random")
)

// chaosSeed says what to repeat a run with.
func chaosSeed(t testing.TB) uint64 {
	seed := *chaosWith
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("-chaos-seed %d", seed)
	return seed
}

var _ = time.Second
