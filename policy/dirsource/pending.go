package dirsource

import (
	"errors"
	"maps"
	"time"
)

// writeState says whether a file may still be being written, as far as events
// tell.
type writeState uint8

const (
	touched  writeState = iota // it has changed, and may be being written
	complete                   // it was renamed into place, closed by its writer or waited for
)

// pending says which files have to be looked at.
type pending struct {
	files  map[string]writeState // by name
	links  bool                  // something that symbolic links lead over has changed
	all    bool                  // any file may have changed
	verify bool                  // read every file, even those that seem the same
	force  bool                  // read also what is being written
	first  time.Time             // the first event; zero if nothing is pending
}

// some returns what is pending, so that the caller can add to it.
func (w *Watcher) some() *pending {
	if w.pending.first.IsZero() {
		w.pending.first = time.Now()
	}
	return &w.pending
}

// note adds a file to what is pending.
func (w *Watcher) note(name string, state writeState) {
	p := w.some()
	if p.files == nil {
		p.files = make(map[string]writeState)
	}
	p.files[name] = max(p.files[name], state)
}

// progress is a file that may be being written. The last content of the file
// stays in force until the file is complete.
type progress struct {
	first, last time.Time // event
	removed     bool      // the file is gone, but that may be half of a rename
	pass        uint32    // the pass over the directory that has last found it so
}

// limit returns when the file is read, complete or not.
func (f *progress) limit(debounce time.Duration) time.Time {
	return f.first.Add(maxDebounce * debounce)
}

// due returns when the file is read if no more events come. It is the limit if
// the end of writing is announced.
func (f *progress) due(debounce time.Duration, announced bool) time.Time {
	limit := f.limit(debounce)
	if at := f.last.Add(debounce); !announced && at.Before(limit) {
		return at
	}
	return limit
}

// flushPending reads the files that events have named and the files that have
// been waited for long enough.
func (w *Watcher) flushPending() {
	now := time.Now()
	for name, f := range w.inProgress {
		if !now.Before(f.due(w.opts.Debounce, w.completions.watching())) {
			w.note(name, complete)
		} else if f.removed {
			w.note(name, touched)
		}
	}
	p := w.pending
	w.pending = pending{}
	switch {
	case p.first.IsZero():
	case p.all || w.err != nil || !w.ready:
		w.rescan(p)
	case w.scanner.linked > 0 && p.mayMoveLinks():
		w.rescan(p)
	case len(p.files) > 0:
		w.readPending(p)
	}
	w.schedule()
}

// mayMoveLinks reports whether linked files may have changed: a complete file may
// have other names, or something that a symbolic link leads over has changed.
func (p *pending) mayMoveLinks() bool {
	if p.links {
		return true
	}
	for _, state := range p.files {
		if state == complete {
			return true
		}
	}
	return false
}

// plan returns how to look at each file. A file that differs although no event
// has named it is waited for too, because its event is on its way.
func (w *Watcher) plan(p pending) func(name string) job {
	return func(name string) job {
		state, named := p.files[name]
		done := named && state == complete
		return job{
			name: name, verify: p.verify || done, wait: !p.force && !done,
			named: named || w.inProgress[name] != nil,
		}
	}
}

// readPending reads the files that events have named.
func (w *Watcher) readPending(p pending) {
	plan, jobs := w.plan(p), make([]job, 0, len(p.files))
	for name := range p.files {
		jobs = append(jobs, plan(name))
	}
	results, err := w.scanner.readFiles(jobs)
	if err != nil {
		w.rescan(p)
		return
	}
	linked := w.scanner.linked
	w.emit(w.take(results, &p), w.err, p.first)
	if w.scanner.linked > linked { // other names of these files are not known as such
		w.rescan(pending{first: p.first})
	}
}

// rescan looks at the whole directory.
func (w *Watcher) rescan(p pending) {
	// The directory is watched before it is read, so that an event announces
	// what changes meanwhile.
	other, watchErr := w.watch()
	p.force = p.force || other || !w.ready
	results, err := w.scanner.scan(w.plan(p))
	read, held := err == nil, errors.Is(err, errEmptied)
	w.unread = err
	if held {
		w.unread = nil // a snapshot tells of it
	}
	w.unseen = !read && (w.unseen || held && !w.ready)
	var changes []FileChange
	if read {
		changes = w.take(results, &p)
		// A new file that is gone again is not among the results.
		maps.DeleteFunc(w.inProgress, func(_ string, f *progress) bool { return f.pass < w.scanner.pass })
		err = watchErr // readable but not watched: only the resync sees changes
	} else {
		clear(w.inProgress) // what differs is found when the directory is back
	}
	w.report(err)
	if read || held || w.ready {
		w.emit(changes, err, p.first)
	} else {
		w.err = err
	}
	w.retry.Stop()
	if w.err != nil || !w.ready {
		w.retry.Reset(min(retryMissing, w.opts.Resync))
	}
	w.schedule()
}

// take remembers the results, except those of files that may be being written. It
// returns the changes and sets p.first to the first event that led to them.
func (w *Watcher) take(results []result, p *pending) []FileChange {
	now := time.Now()
	var removed []result
	var ready []result
	done := func(r result) {
		if f := w.inProgress[r.name]; f != nil {
			delete(w.inProgress, r.name)
			if f.first.Before(p.first) {
				p.first = f.first
			}
		}
		if r.verdict != same {
			ready = append(ready, r)
		}
	}
	for _, r := range results {
		switch {
		case r.verdict == unfinished:
			w.await(r.name, p, now).removed = false
		case r.verdict == gone && !p.force && p.files[r.name] != complete:
			removed = append(removed, r)
			if f := w.inProgress[r.name]; f != nil {
				f.removed = true
			}
		default:
			done(r)
		}
	}
	// While a file is in progress, a removal may be half of a rename to it.
	writing := w.writing()
	for _, r := range removed {
		if _, known := w.scanner.entries[r.name]; known && writing {
			w.await(r.name, p, now).removed = true
		} else {
			done(r)
		}
	}
	return w.scanner.remember(ready)
}

// writing reports whether any file may be being written.
func (w *Watcher) writing() bool {
	for _, f := range w.inProgress {
		if !f.removed {
			return true
		}
	}
	return false
}

// await puts a file in progress, or leaves it there.
func (w *Watcher) await(name string, p *pending, now time.Time) *progress {
	f := w.inProgress[name]
	if f == nil {
		f = &progress{first: p.first, last: now}
		w.inProgress[name] = f
	} else if _, named := p.files[name]; named {
		f.last = now
	}
	f.pass = w.scanner.pass
	return f
}

// schedule sets the timer for the files in progress.
func (w *Watcher) schedule() {
	if len(w.inProgress) == 0 {
		w.timer.Stop()
		return
	}
	var next time.Time
	for _, f := range w.inProgress {
		if due := f.due(w.opts.Debounce, w.completions.watching()); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	w.timer.Reset(time.Until(next))
}
