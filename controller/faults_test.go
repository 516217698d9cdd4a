package controller

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"sync"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
)

// faults makes one kind of operation fail a few times.
type faults struct {
	mu   sync.Mutex
	op   string
	left int
	seen int
}

func (f *faults) arm(op string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.op, f.left, f.seen = op, n, 0
}

func (f *faults) at(op string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op != f.op || f.left == 0 {
		return nil
	}
	f.left--
	f.seen++
	return errors.New(op + " failed")
}

// failures returns how often an operation has failed since arm.
func (f *faults) failures() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// config puts the faults in front of all that a controller works with.
func (f *faults) config(c *Config) {
	dial := c.Dial
	c.Dial = func(ctx context.Context, datapathType string) (Switch, error) {
		if err := f.at("dial"); err != nil {
			return nil, err
		}
		conn, err := dial(ctx, datapathType)
		return faultySwitch{conn, f}, err
	}
	c.Database, c.Daemon = faultyDatabase{c.Database, f}, faultyDaemon{f}
}

type faultySwitch struct {
	Switch
	f *faults
}

func (s faultySwitch) DumpAll(ctx context.Context) (ours, foreign *flows.Set, err error) {
	if err := s.f.at("dump"); err != nil {
		return nil, nil, err
	}
	return s.Switch.DumpAll(ctx)
}

func (s faultySwitch) Apply(ctx context.Context, d flows.Delta) error {
	if err := s.f.at("apply before"); err != nil {
		return err
	}
	if err := s.Switch.Apply(ctx, d); err != nil {
		return err
	}
	return s.f.at("apply after")
}

func (s faultySwitch) Barrier(ctx context.Context) error {
	if err := s.f.at("barrier"); err != nil {
		return err
	}
	select {
	case <-s.Done(): // the fake would answer all the same
		return errors.New("the connection ended")
	default:
		return s.Switch.Barrier(ctx)
	}
}

func (s faultySwitch) Nudge(ctx context.Context) error {
	if err := s.f.at("nudge"); err != nil {
		return err
	}
	return s.Switch.Nudge(ctx)
}

func (s faultySwitch) NoFlood(ctx context.Context, ports map[uint32]bool) error {
	if err := s.f.at("no-flood"); err != nil {
		return err
	}
	return s.Switch.NoFlood(ctx, ports)
}

func (s faultySwitch) FlushZone(ctx context.Context, zone uint16) error {
	if err := s.f.at("flush zone"); err != nil {
		return err
	}
	return s.Switch.FlushZone(ctx, zone)
}

func (s faultySwitch) FlushAddr(ctx context.Context, zone uint16, addr netip.Addr) error {
	if err := s.f.at("flush addr"); err != nil {
		return err
	}
	return s.Switch.FlushAddr(ctx, zone, addr)
}

type faultyDatabase struct {
	Database
	f *faults
}

func (d faultyDatabase) Prepare(ctx context.Context) (vswitch.Prepared, error) {
	if err := d.f.at("prepare"); err != nil {
		return vswitch.Prepared{}, err
	}
	return d.Database.Prepare(ctx)
}

type faultyDaemon struct{ f *faults }

func (d faultyDaemon) Describe(context.Context) (version, features string, err error) {
	return "3.1.0", "", d.f.at("describe")
}

func (d faultyDaemon) LimitConnections(context.Context, string, map[uint16]uint32) error {
	return d.f.at("limit connections")
}

func (d faultyDaemon) FullZones(context.Context, string) ([]uint16, error) {
	return nil, d.f.at("read limits")
}

func (d faultyDaemon) FlushFDB(context.Context) error { return d.f.at("flush fdb") }

func (d faultyDaemon) SmallFragments(context.Context, string) error {
	return d.f.at("small fragments")
}

func (d faultyDaemon) Turn(context.Context) error { return d.f.at("turn") }

func (d faultyDaemon) AwaitRound(ctx context.Context, nudge, _ func(context.Context) error) error {
	if err := d.f.at("round"); err != nil {
		return err
	}
	return nudge(ctx)
}

func (d faultyDaemon) Purge(context.Context) error { return d.f.at("purge") }

// TestErrorsAnywhere: whatever fails for a while, at the start or in between, a
// wait ends when the newest inputs are in force, and nothing is left of the
// error.
func TestErrorsAnywhere(t *testing.T) {
	bridge := vswitch.Bridge{Name: "br0", Exists: true, FailMode: "secure"}
	for _, op := range []string{"prepare", "dial", "dump", "no-flood", "flush zone", "flush addr", "apply before", "apply after", "flush fdb", "describe", "turn", "round", "nudge", "barrier"} {
		for _, atStart := range []bool{false, true} {
			t.Run(op+map[bool]string{false: ", later", true: ", at the start"}[atStart], func(t *testing.T) {
				f := &faults{}
				r := newRigWith(t, newFakeSwitch(), newMemorySource(false), f.config)
				first := state{twoVMs([]string{"far 10.0.0.9 b"}, fromB, ssh), twoPorts}
				next := state{twoVMs(nil, fromB), twoPorts[:2]}
				set := func(s state) {
					t.Helper()
					r.db.send(bridge, s.ports)
					r.put(s.policy)
					r.wait()
				}
				set(first)
				if atStart { // another VM's flows are there, too
					r.stop()
					f.arm(op, 3)
					r.start()
				} else {
					f.arm(op, 3)
					r.sw.hangUp()
				}
				set(next)
				if f.failures() == 0 {
					t.Error("nothing failed")
				}
				f.arm("", 0)
				r.asFresh(next)
				if s := r.status(); s.State != "enforcing" || s.Reason != "" || len(s.Warnings) > 0 {
					t.Errorf("status %q, %q, %v", s.State, s.Reason, s.Warnings)
				}
				r.sw.mu.Lock()
				noFlood := maps.Clone(r.sw.noFlood)
				r.sw.mu.Unlock()
				if want := map[uint32]bool{1: false, 2: true}; !maps.Equal(noFlood, want) {
					t.Errorf("NO_FLOOD %v, want %v", noFlood, want)
				}
				set(first)
				r.asFresh(first)
			})
		}
	}
}
