package dirsource

import (
	"time"
)

// wait is a file that is being written.
type wait struct {
	first, last time.Time // event
	poll        time.Duration
	leased      bool
	hint        hint
}

// limit is when it is read anyway.
func (a *wait) limit(debounce time.Duration) time.Time { return a.first.Add(maxDebounce * debounce) }

// due returns when to look at it again.
func (a *wait) due(debounce time.Duration) time.Time {
	at := a.last.Add(debounce)
	if a.leased {
		at = a.last.Add(min(a.poll, debounce))
	}
	if limit := a.limit(debounce); at.After(limit) {
		return limit
	}
	return at
}

// schedule sets the timer for the files that are waited for.
func (w *Watcher) schedule() {
	if len(w.waiting) == 0 {
		w.timer.Stop()
		return
	}
	var next time.Time
	for _, a := range w.waiting {
		if due := a.due(w.opts.Debounce); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	w.timer.Reset(time.Until(next))
}

// look looks at the files that t names and at those that may have changed with
// them.
func (w *Watcher) look(t todo) {
	h, now := complete, time.Now()
	var more map[string]bool
	switch {
	case t.force:
		h, more = forced, w.scanner.unannounced()
	case t.links:
		more = make(map[string]bool, len(w.scanner.links))
		for name := range w.scanner.links {
			more[name] = false
		}
	}
	jobs := make([]job, 0, len(t.names)+len(more))
	for name, verify := range more {
		if _, ok := t.names[name]; !ok {
			jobs = append(jobs, job{name: name, hint: h, verify: verify})
		}
	}
	for name, known := range t.names {
		if a := w.waiting[name]; t.force || a != nil && !now.Before(a.limit(w.opts.Debounce)) {
			known = forced
		}
		jobs = append(jobs, job{name: name, hint: known, verify: true})
	}
	changes, ok := w.probe(jobs, &t.first)
	for range 4 { // links may follow links; a ring of them ends as well
		followers := w.scanner.followers(t.names)
		if !ok || len(followers) == 0 {
			break
		}
		jobs = jobs[:0]
		for _, name := range followers {
			t.names[name] = h
			jobs = append(jobs, job{name: name, hint: h})
		}
		var more []FileChange
		more, ok = w.probe(jobs, &t.first)
		changes = merge(changes, more)
	}
	w.emit(changes, w.err, t.first)
	if !ok {
		w.rescan(false, h, t.first)
	}
}

// probe looks at some files. It is not ok if the directory is not there or is
// another one. first becomes the first event of a file that was waited for.
func (w *Watcher) probe(jobs []job, first *time.Time) (changes []FileChange, ok bool) {
	changes, late, err := w.scanner.look(jobs)
	if err != nil {
		return nil, false
	}
	before := make(map[string]*wait)
	for _, j := range jobs {
		if a := w.waiting[j.name]; a != nil {
			before[j.name] = a
			delete(w.waiting, j.name)
		}
	}
	w.await(before, late, first)
	return changes, true
}

// await remembers which files are being written, some of which were before.
func (w *Watcher) await(before map[string]*wait, late []result, first *time.Time) {
	now := time.Now()
	for _, r := range late {
		a := before[r.name]
		if a == nil {
			a = &wait{first: *first, poll: firstPoll, hint: written}
		}
		a.last, a.leased = now, r.leased
		w.waiting[r.name] = a
		delete(before, r.name)
	}
	for _, a := range before {
		if a.first.Before(*first) {
			*first = a.first
		}
	}
}

// rescan looks at the whole directory.
func (w *Watcher) rescan(full bool, h hint, first time.Time) {
	w.endSweep()
	w.scans.Add(1)
	if !w.ready {
		h = forced // the first snapshot has every file
	}
	// Watch first, read then: what changes in between is announced.
	_, watchErr := w.watch()
	changes, late, err := w.scanner.scan(full, h)
	read := err == nil
	if read {
		before := w.waiting
		w.waiting = make(map[string]*wait, len(late))
		w.await(before, late, &first)
		err = watchErr // readable but not watched: only the resync sees changes
	}
	w.report(err)
	if read || w.ready {
		w.emit(changes, err, first)
	} else {
		w.err = err
	}
	w.retry.Stop()
	if w.err != nil || !w.ready {
		w.retry.Reset(min(retryMissing, w.opts.Resync))
	}
	w.schedule()
}
