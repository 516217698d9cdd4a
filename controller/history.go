package controller

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/policy"
)

// history is what the loop remembers of changes, for the log and the status.
type history struct {
	applied, failed int                // attempts that the switch confirmed, and others
	since           time.Time          // when the change began that is being made; zero if none is
	what            []string           // its units and ports
	last            control.LastChange // the last one that was made; Time is zero if there was none
}

// begin notes when a change began; the earliest time counts until report. The
// zero time is now.
func (h *history) begin(t time.Time) {
	if t.IsZero() {
		t = time.Now()
	}
	if h.since.IsZero() || t.Before(h.since) {
		h.since = t
	}
}

// maxWhat is how many units and ports a change names.
const maxWhat = 50

// note adds a unit or a port to the change that is being made.
func (h *history) note(format string, args ...any) {
	switch len(h.what) {
	case maxWhat:
		h.what = append(h.what, "...")
	case maxWhat + 1:
	default:
		h.what = append(h.what, fmt.Sprintf(format, args...))
	}
}

// revisions notes units of which another revision is in force.
func (h *history) revisions(changes []policy.RevisionChange) {
	for _, c := range changes {
		switch {
		case c.Before == nil:
			h.note("+%s", c.Name)
		case c.After == nil:
			h.note("-%s", c.Name)
		default:
			h.note("~%s", c.Name)
		}
	}
}

// ports notes VM ports that came, changed or went.
func (h *history) ports(before, after host) {
	old := map[string]policy.VIF{}
	for _, v := range before.vifs {
		old[v.Name] = v
	}
	for _, v := range after.vifs {
		was, ok := old[v.Name]
		switch {
		case !ok:
			h.note("plug %s", v.Name)
		case was != v:
			h.note("change %s", v.Name)
		}
		delete(old, v.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		h.note("unplug %s", name)
	}
}

// report ends the change that is being made and logs it. flows is the number of
// flows installed. A change that is held leaves no trace but its end.
func (h *history) report(log *zap.Logger, o outcome, flows int, held bool) {
	h.applied++
	var took time.Duration
	if !h.since.IsZero() {
		took = time.Since(h.since)
	}
	what, d := h.what, o.delta
	h.since, h.what = time.Time{}, nil
	if d.Empty() && (len(what) == 0 || held) {
		return // nothing happened, or nothing yet
	}
	h.last = control.LastChange{
		Time: time.Now(), What: what, Added: len(d.Add), Modified: len(d.Modify), Deleted: len(d.Delete),
		Took: took, Compile: o.compiled, Switch: o.applied - o.compiled,
	}
	if d.Empty() {
		log.Info("no flow changes", zap.Strings("change", what), zap.Duration("took", took))
		return
	}
	log.Info("enforced",
		zap.Strings("change", what),
		zap.Int("added", len(d.Add)), zap.Int("modified", len(d.Modify)), zap.Int("deleted", len(d.Delete)),
		zap.Int("flows", flows),
		zap.Duration("took", took), zap.Duration("compile", o.compiled), zap.Duration("switch", o.applied-o.compiled))
}

// lastChange returns the last change that was made, or nil.
func (h *history) lastChange() *control.LastChange {
	if h.last.Time.IsZero() {
		return nil
	}
	last := h.last
	return &last
}
