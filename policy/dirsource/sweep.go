package dirsource

import (
	"io"
	"os"
	"time"
)

// sweep is a resync under way.
type sweep struct {
	dir  *os.File // nil when it is listed
	rest []string // files that were not in the list
}

// startSweep begins to read every file, a few at a time.
func (w *Watcher) startSweep() {
	if w.sweep != nil {
		return
	}
	other, _ := w.watch()
	d, err := os.Open(w.dir)
	if err != nil || other || w.err != nil || !w.ready {
		if err == nil {
			d.Close()
		}
		w.rescan(true, complete, time.Now())
		return
	}
	w.scanner.seen ^= flagSeen
	w.sweep = &sweep{dir: d}
}

func (w *Watcher) endSweep() {
	if w.sweep != nil && w.sweep.dir != nil {
		w.sweep.dir.Close()
	}
	w.sweep = nil
}

// stepSweep reads some more files.
func (w *Watcher) stepSweep() {
	s := w.sweep
	if s == nil {
		return // the directory has been read by now
	}
	var names []string
	if s.dir != nil {
		list, err := s.dir.Readdirnames(slice)
		for _, name := range list {
			if IsManifest(name) {
				names = append(names, name)
			}
		}
		if err != nil {
			s.dir.Close()
			s.dir = nil
			// What was not in the list is gone, or was renamed meanwhile.
			for name, e := range w.scanner.entries {
				if e.flags&flagSeen != w.scanner.seen {
					s.rest = append(s.rest, name)
				}
			}
			if err != io.EOF {
				w.rescan(true, complete, time.Now())
				return
			}
		}
	} else {
		n := min(slice, len(s.rest))
		names, s.rest = s.rest[:n], s.rest[n:]
		if n == 0 {
			w.sweep = nil
			return
		}
	}
	jobs := make([]job, 0, len(names))
	for _, name := range names {
		if w.waiting[name] == nil {
			jobs = append(jobs, job{name: name, hint: complete, verify: true})
		}
	}
	if len(jobs) == 0 {
		return
	}
	first := time.Now()
	changes, ok := w.probe(jobs, &first)
	w.emit(changes, w.err, first)
	if !ok {
		w.rescan(false, complete, first)
	}
	w.schedule()
}
