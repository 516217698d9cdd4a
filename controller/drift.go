package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/flows"
)

// The enforcer installs differences to what it believes to be in the switch. This
// file is about others who change the switch: how it is noticed, and how the
// switch is read back and the difference taken for one to put right.

const (
	// countInterval is how often the flows are counted.
	countInterval = 2 * time.Second
	// lookInterval is how often everything is read back from a switch that
	// tells of changes by others.
	lookInterval = 5 * time.Minute
	// lookShare is the part of the time that looking may take on a switch that
	// tells nothing.
	lookShare = 100
	// maxLookPause is how long a doubt waits at most, when there are many.
	maxLookPause = 500 * time.Millisecond
)

// watch is what is known of changes by others.
type watch struct {
	// doubt says why the switch may not be as believed; empty if nothing says so.
	doubt string
	// told: the switch has told of changes of flows by others since the flows
	// were last read.
	told bool
	// lookedAt is when the switch was last read back, and took how long that
	// took.
	lookedAt time.Time
	took     time.Duration
	// found is the difference that is being put right; nil if there is none.
	found *control.Drift
	// last is the last difference that was put right at lastAt, count is how
	// many there were, and streak how many of them came one upon the other.
	last   control.Drift
	lastAt time.Time
	count  int
	streak int
}

const (
	// haste is how soon after a repair the next difference belongs to the same
	// streak.
	haste = 200 * time.Millisecond
	// fight is how many differences one upon the other make a fight, which is
	// over when there was none for truce.
	fight = 20
	truce = 2 * time.Second
)

// suspect notes that the switch may not be as believed.
func (w *watch) suspect(why string) {
	if w.doubt == "" {
		w.doubt = why
	}
}

// rest is the pause that follows a look, so that changes without end do not keep the
// switch and the agent busy with reading back.
func (w *watch) rest() time.Duration { return min(4*w.took, maxLookPause) }

// pause is how long the next look has to wait.
func (w *watch) pause() time.Duration { return time.Until(w.lookedAt.Add(w.rest())) }

// due says whether it is time to read the switch back without any doubt.
func (w *watch) due(watched bool) bool {
	interval := lookInterval
	if !watched {
		interval = min(max(lookShare*w.took, countInterval/2), lookInterval)
	}
	return time.Since(w.lookedAt) >= interval
}

// fought says whether somebody changes the switch again and again.
func (w *watch) fought() bool { return w.streak >= fight && time.Since(w.lastAt) < truce }

// putRight notes that the difference that was found, if any, is no more.
func (w *watch) putRight(log *zap.Logger) bool {
	if w.found == nil {
		return false
	}
	if w.found.Time.Sub(w.lastAt) < haste+w.rest() {
		w.streak++
	} else {
		w.streak = 1
	}
	w.last, w.found, w.lastAt = *w.found, nil, time.Now()
	w.last.Took = w.lastAt.Sub(w.last.Time)
	w.count++
	switch {
	case w.streak < fight:
		log.Warn("the switch was changed by somebody else and is put right", zap.Strings("what", w.last.What), zap.Duration("took", w.last.Took))
	case w.streak == fight:
		log.Error("somebody changes the switch again and again", zap.Strings("what", w.last.What))
	}
	return true
}

// report is the part of the status.
func (w *watch) report() *control.DriftStatus {
	s := &control.DriftStatus{Count: w.count}
	switch {
	case w.found != nil:
		s.Last = w.found
	case w.count > 0:
		last := w.last
		s.Last = &last
	default:
		return nil
	}
	return s
}

// suspect has the switch read back, at once unless that has just been done.
func (c *Controller) suspect(why string) {
	c.enforcer.watch.suspect(why)
	if pause := c.enforcer.watch.pause(); pause > 0 {
		c.look.Reset(pause)
	} else {
		c.change()
	}
}

// watch sees from time to time whether the switch is as it was left.
func (c *Controller) watch(ctx context.Context) {
	e := &c.enforcer
	if c.phase != settled || e.conn == nil {
		return
	}
	switch {
	case e.refused && c.cfg.Database.Status().Connected:
		c.suspect("the bridge was not prepared anew")
		return
	case e.watch.due(e.conn.Watched()):
		c.suspect("it was time to look")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ApplyTimeout)
	defer cancel()
	c.enforcer.activity.begin("waiting for the switch")
	err := e.count(ctx)
	if err == nil {
		e.readLimits(ctx, c.ports.Bridge.DatapathType)
	}
	c.enforcer.activity.end()
	switch {
	case err != nil && !errors.Is(ctx.Err(), context.Canceled):
		c.disconnected(err)
	case e.watch.doubt != "":
		c.suspect(e.watch.doubt)
	}
}

// compare is compareFlows for flows that have been read just now: if the switch has
// told of changes, there were some.
func (w *watch) compare(believed, ours, foreign *flows.Set) []string {
	differences := compareFlows(believed, ours, foreign)
	if w.told && len(differences) == 0 {
		differences = []string{"flows were changed, and changed back"}
	}
	w.told = false
	return differences
}

// look has the bridge prepared anew, reads the switch back and compares it with
// what the enforcer believes. If it finds a difference, it believes what it has read
// and reports false: the caller then makes what differs from what is desired. Connections that were made meanwhile are judged anew, and what NORMAL
// has learned is forgotten, because neither may be what the agent's flows allow;
// that is so too where the flows were changed and are as before.
func (e *enforcer) look(ctx context.Context) (agrees bool, err error) {
	why := e.watch.doubt
	e.watch.doubt = ""
	started := time.Now()
	defer func() {
		if err != nil {
			e.watch.suspect(why)
		}
		e.watch.lookedAt, e.watch.took = time.Now(), time.Since(started)
	}()
	missing, err := e.prepare(ctx, againTimeout)
	if err != nil {
		return false, err
	}
	e.drifted(missing)
	// What was told before the barrier the flows show. Later reports stay, for
	// another look.
	if err := e.conn.Barrier(ctx); err != nil {
		return false, err
	}
	select {
	case <-e.conn.Foreign():
		e.watch.told = true
	default:
	}
	ours, foreign, err := e.conn.DumpAll(ctx)
	if err != nil {
		return false, err
	}
	differences := e.watch.compare(e.installed, ours, foreign)
	e.noFlood = nil
	if len(missing)+len(differences) == 0 {
		return true, nil
	}
	e.flowsDrifted(differences)
	e.installed, e.foreign = ours, foreign
	return false, nil
}

// drifted notes differences that others have made.
func (e *enforcer) drifted(what []string) {
	if len(what) == 0 {
		return
	}
	if e.watch.found == nil {
		e.watch.found = &control.Drift{Time: time.Now()}
	}
	for _, w := range what {
		if found := e.watch.found; len(found.What) < maxWhat && !slices.Contains(found.What, w) {
			found.What = append(found.What, w)
		}
	}
	e.infra, e.revalidated = nil, false
}

// flowsDrifted notes differences of flows. Connections that were made with other
// flows are judged anew.
func (e *enforcer) flowsDrifted(what []string) {
	if len(what) == 0 {
		return
	}
	e.drifted(what)
	e.judgeAnew()
}

// judgeAnew has the rules of now judge all connections.
func (e *enforcer) judgeAnew() {
	e.compiler.RaiseAllEpochs()
	if e.compiler.Wrapped() {
		e.flushes.everything()
	}
}

// count compares the number of flows in each table with what is believed.
func (e *enforcer) count(ctx context.Context) error {
	got, err := e.conn.Counts(ctx)
	if err != nil {
		return err
	}
	want := make([]int, len(got))
	for f := range e.installed.All() {
		if int(f.Table) < len(want) {
			want[f.Table]++
		}
	}
	for t := range got {
		if got[t] != want[t] {
			e.watch.suspect(fmt.Sprintf("table %d (%s) has %d flows, not %d", t, flows.Table(t), got[t], want[t]))
		}
	}
	return nil
}

// intruders are the flows of others in the tables of the pipeline.
func intruders(foreign *flows.Set) []flows.Flow {
	var found []flows.Flow
	if foreign != nil {
		for f := range foreign.All() {
			if int(f.Table) < len(flows.Tables()) {
				found = append(found, f)
			}
		}
	}
	return found
}

// compareFlows says in words how the flows of the switch differ from those that
// are believed to be there.
func compareFlows(believed, ours, foreign *flows.Set) []string {
	d := flows.Diff(believed, ours) // what it would take to put the switch right
	alien := &flows.Set{}
	for _, f := range intruders(foreign) {
		alien.Put(f)
	}
	var out []string
	say := func(what string, fs []flows.Flow) {
		switch n := len(fs); {
		case n == 1:
			out = append(out, fmt.Sprintf("1 flow %s: %s", what, shortFlow(fs[0])))
		case n > 1:
			out = append(out, fmt.Sprintf("%d flows %s: %s", n, what, someFlows(fs)))
		}
	}
	say("gone", d.Add)
	say("changed", d.Modify)
	say("too many", d.Delete)
	say("of somebody else", alien.Sorted())
	return out
}

// someFlows names some flows.
func someFlows(fs []flows.Flow) string {
	const few = 3
	var texts []string
	for _, f := range fs[:min(len(fs), few)] {
		texts = append(texts, shortFlow(f))
	}
	if more := len(fs) - few; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, " | ")
}

// shortFlow is the text of a flow, which may be somebody else's and of any length.
func shortFlow(f flows.Flow) string {
	const enough = 400
	text := f.String()
	if len(text) > enough {
		text = fmt.Sprintf("%s... (%d bytes)", text[:enough], len(text))
	}
	return text
}

// portsMoved takes the switch's report that a port has come, gone or changed. A port
// that was removed and added again may look the same in OVSDB, but has lost its
// configuration.
func (c *Controller) portsMoved() {
	c.enforcer.noFlood = nil
	c.change()
}

// toldForeign takes the switch's report that somebody else has changed flows.
func (c *Controller) toldForeign() {
	c.enforcer.watch.told = true
	c.suspect("flows were changed by somebody else")
}
