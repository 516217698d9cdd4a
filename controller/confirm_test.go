package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
)

// scriptedDaemon notes what it is asked for. With several types it cannot wait for
// a round.
type scriptedDaemon struct {
	types  int
	called []string
	nudged int

	mu                sync.Mutex
	version, features string
	err               error // of Describe
}

func (d *scriptedDaemon) Describe(context.Context) (version, features string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.version, d.features, d.err
}

func (d *scriptedDaemon) SmallFragments(context.Context, string) error { return nil }

func (d *scriptedDaemon) FlushFDB(context.Context) error { return nil }

func (d *scriptedDaemon) LimitConnections(context.Context, string, map[uint16]uint32) error {
	return nil
}

func (d *scriptedDaemon) FullZones(context.Context, string) ([]uint16, error) { return nil, nil }

func (d *scriptedDaemon) Turn(context.Context) error { return d.note("turn") }

func (d *scriptedDaemon) Purge(context.Context) error { return d.note("purge") }

func (d *scriptedDaemon) AwaitRound(ctx context.Context, nudge, _ func(context.Context) error) error {
	if d.types > 1 {
		return fmt.Errorf("several types: %w", errors.ErrUnsupported)
	}
	d.nudged++
	return errors.Join(nudge(ctx), d.note("round"))
}

func (d *scriptedDaemon) note(what string) error {
	d.called = append(d.called, what)
	return nil
}

// TestConfirm: two rounds end after the turn; a purge comes last, and only where it
// must be.
func TestConfirm(t *testing.T) {
	for _, c := range []struct {
		version string
		types   int
		want    []string
	}{
		{"4.0.0", 1, []string{"turn", "round", "round"}},
		{"3.1.0", 1, []string{"turn", "round", "round", "purge"}},
		{"", 1, []string{"turn", "round", "round", "purge"}},
		{"4.0.0", 2, []string{"turn", "purge"}},
		{"3.1.0", 2, []string{"turn", "purge", "turn", "purge"}},
	} {
		d := &scriptedDaemon{types: c.types}
		e := newEnforcer(Config{Daemon: d})
		e.conn, _ = newFakeSwitch().dial(t.Context(), "netdev")
		if err := e.confirm(t.Context(), vswitch.QuirksOf(c.version, "netdev").StaleMegaflows); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(d.called, c.want) {
			t.Errorf("version %q, %d types: %v, want %v", c.version, c.types, d.called, c.want)
		}
	}
}
