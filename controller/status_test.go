package controller

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/policy"
)

// slowSource delivers an update only when deliver is called.
type slowSource struct {
	*memorySource
	out   chan policy.Update
	asked atomic.Pointer[func()] // called by Status, if set
}

func (s *slowSource) Updates() <-chan policy.Update { return s.out }

func (s *slowSource) Status(all bool) (policy.SourceStatus, bool) {
	status, ok := s.memorySource.Status(all)
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
	src := &slowSource{memorySource: newMemorySource(false), out: make(chan policy.Update)}
	r := newRigWith(t, newFakeSwitch(), src, nil)
	r.put(twoVMs(nil, ssh))
	src.deliver()
	r.db.send(secure, twoPorts)
	r.wait()
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
