package dirsource

import (
	"io"
	"os"
	"time"
)

// sweepPart is how many files a sweep reads between two looks at the events.
const sweepPart = 32

// sweep is a resync under way: it reads every file, some at a time.
type sweep struct {
	dir  *os.File // nil once it is listed
	pass uint32
	rest []string // files that the directory did not list
}

// startSweep begins to read every file. If the directory is not the one that
// was read last, it is read at once.
func (w *Watcher) startSweep() {
	if w.sweep != nil {
		return
	}
	other, err := w.watch()
	if !other && err == nil && w.err == nil && w.ready {
		if d, err := os.Open(w.dir); err == nil {
			w.scanner.pass++
			w.sweep = &sweep{dir: d, pass: w.scanner.pass}
			return
		}
	}
	w.rescan(pending{verify: true, force: other, first: time.Now()})
}

func (w *Watcher) endSweep() {
	if w.sweep != nil && w.sweep.dir != nil {
		w.sweep.dir.Close()
	}
	w.sweep = nil
}

// stepSweep reads the next files. Files that have come, gone or been written
// since they were read last are left to flushPending, because their events are on
// their way: a sweep must not show half of a file, nor half of a rename.
func (w *Watcher) stepSweep() {
	s := w.sweep
	var names []string
	if s.dir != nil {
		list, err := listManifests(s.dir, sweepPart)
		for _, e := range list {
			w.scanner.mark(e.Name())
			names = append(names, e.Name())
		}
		if err != nil {
			s.dir.Close()
			s.dir, s.rest = nil, w.scanner.unlisted(s.pass)
		}
		if err != nil && err != io.EOF {
			w.endSweep()
			w.rescan(pending{verify: true, first: time.Now()})
			return
		}
	} else {
		n := min(sweepPart, len(s.rest))
		names, s.rest = s.rest[:n], s.rest[n:]
		if n == 0 {
			w.endSweep()
			return
		}
	}
	jobs := make([]job, 0, len(names))
	for _, name := range names {
		if w.inProgress[name] == nil {
			jobs = append(jobs, job{name: name, verify: true, wait: true})
		}
	}
	first := time.Now()
	results, err := w.scanner.readFiles(jobs)
	if err != nil {
		w.endSweep()
		w.rescan(pending{first: first})
		return
	}
	settled := results[:0]
	for _, r := range results {
		if r.verdict == gone || r.verdict == unfinished {
			w.note(r.name, touched)
		} else {
			settled = append(settled, r)
		}
	}
	w.emit(w.scanner.remember(settled), w.err, first)
}
