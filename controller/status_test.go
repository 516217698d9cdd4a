package controller

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// slowSource delivers an update only when deliver is called.
type slowSource struct {
	*memorySource
	out   chan policy.Update
	asked atomic.Pointer[func()] // called by Status, if set
}

func (s *slowSource) Updates() <-chan policy.Update { return s.out }

func (s *slowSource) Status(most int) (policy.SourceStatus, bool) {
	status, ok := s.memorySource.Status(most)
	if asked := s.asked.Swap(nil); asked != nil {
		go (*asked)()
	}
	return status, ok
}

// deliver delivers one update.
func (s *slowSource) deliver() { s.out <- <-s.memorySource.Updates() }

// TestStatusTellsOneStory: while an update of the source is under way, the units
// are not those of the update beside a state of before it.
func TestStatusTellsOneStory(t *testing.T) {
	src, r := slowRig(t)
	before := r.status()
	deliver := src.deliver
	src.asked.Store(&deliver)
	src.put("more.yaml", manifests(nil, map[string][]string{"more": {ssh}}))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := r.c.Status(ctx, true)
	if err != nil || len(s.Files) != 2 || (s.State != "enforcing" || s.Rounds != before.Rounds+1) {
		t.Errorf("%v, %d files, %s after %d rounds, %d before", err, len(s.Files), s.State, s.Rounds, before.Rounds)
	}
}

// TestSlowCompile: a compilation may take longer than a round with the switch may.
// It is not thrown away, and the status says what goes on.
func TestSlowCompile(t *testing.T) {
	const limit = 300 * time.Millisecond
	var compiled atomic.Int32
	slow, finish := atomic.Bool{}, make(chan struct{})
	r := newRigWith(t, newFakeSwitch(), newMemorySource(false), func(c *Config) {
		c.ApplyTimeout = limit
		c.compiling = func() {
			if compiled.Add(1); slow.Load() {
				<-finish
			}
		}
	})
	r.set(state{twoVMs(nil, ssh), twoPorts})
	before, n := r.installed(), compiled.Load()
	slow.Store(true)
	r.put(twoVMs(nil, fromB))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := testbed.Poll(ctx, time.Millisecond, func() (bool, error) {
		s, err := r.c.Status(ctx, true)
		text, ok := strings.CutPrefix(s.Reason, "compiling for ")
		took, _ := time.ParseDuration(text)
		return ok && s.State == "out of date" && took > limit, err
	}); err != nil {
		t.Fatalf("the status never says that it compiles: %+v", r.status())
	}
	slow.Store(false)
	close(finish)
	r.wait()
	if r.installed() == before || compiled.Load() != n+1 {
		t.Errorf("compiled %d times", compiled.Load()-n)
	}
	if s := r.status(); s.State != "enforcing" || s.Failures > 0 {
		t.Errorf("%s after %d failures", s.State, s.Failures)
	}
}

// TestStatusAsksOnce: one status is one reading of the units.
func TestStatusAsksOnce(t *testing.T) {
	src := &countedSource{memorySource: newMemorySource(false)}
	r := newRigWith(t, newFakeSwitch(), src, nil)
	r.set(state{twoVMs(nil, ssh), twoPorts})
	src.asked.Store(0)
	if s, err := r.c.Status(t.Context(), false); err != nil || len(s.Files) != 1 || src.asked.Load() != 1 {
		t.Errorf("%v: %d files, %d readings", err, len(s.Files), src.asked.Load())
	}
}

// countedSource counts the readings of its units.
type countedSource struct {
	*memorySource
	asked atomic.Int32
}

func (s *countedSource) Status(most int) (policy.SourceStatus, bool) {
	s.asked.Add(1)
	return s.memorySource.Status(most)
}

// slowRig is a rig with a slow source, whose first policy is in force.
func slowRig(t *testing.T) (*slowSource, *rig) {
	t.Helper()
	src := &slowSource{memorySource: newMemorySource(false), out: make(chan policy.Update)}
	r := newRigWith(t, newFakeSwitch(), src, nil)
	r.put(twoVMs(nil, ssh))
	src.deliver()
	r.db.send(secure, twoPorts)
	r.wait()
	return src, r
}

// TestStatusWhileSourceIsLate: where the loop hears nothing of an update that the
// units are of, the status comes all the same, and nobody is waited for afterwards.
func TestStatusWhileSourceIsLate(t *testing.T) {
	src, r := slowRig(t)
	src.put("more.yaml", manifests(nil, map[string][]string{"more": {ssh}}))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 3 {
		if s, err := r.c.Status(ctx, true); err != nil || len(s.Files) != 2 || s.State != "enforcing" {
			t.Errorf("%v: %d files, %s", err, len(s.Files), s.State)
		}
	}
	var left int
	src.deliver() // the loop's next turn drops what nobody waits for
	r.wait()
	if err := r.c.do(ctx, func() { left = len(r.c.asks) }); err != nil || left > 0 {
		t.Errorf("%v: %d requests are left", err, left)
	}
}
