package dirsource

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// retryMissing is how often a directory that is not there is looked for, in
	// case nothing announces its return.
	retryMissing = time.Second
	// firstPoll is when a file that is being written is looked at again, if no
	// event says that it is closed. It doubles until it is Options.Debounce.
	firstPoll = 500 * time.Microsecond
	// syncPatience is how long Sync waits for the sentinel.
	syncPatience = time.Second
	// slice is how many files a sweep reads between two looks at the events,
	// and queue how many events are taken before acting upon them.
	slice = 32
	queue = 4096
)

// todo is what events have told and nobody has looked at yet.
type todo struct {
	names map[string]hint
	links bool // something changed that symbolic links may lead over
	all   bool // anything may have changed
	full  bool // and even what looks the same is to be read
	force bool // everything is wanted now, announced or not
	first time.Time
}

// Run watches until ctx ends and returns its error, or that watching cannot be
// set up. It may be called once.
func (w *Watcher) Run(ctx context.Context) error {
	defer close(w.done)
	fs, err := fsnotify.NewBufferedWatcher(queue)
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.dir, err)
	}
	defer fs.Close()
	w.fs, w.closes = fs, newCloses()
	defer w.closes.stop()
	w.raiser()
	defer func() {
		if w.sentinel != nil {
			w.sentinel.remove()
		}
	}()
	defer w.endSweep()

	resync := time.NewTicker(w.opts.Resync)
	defer resync.Stop()
	w.timer, w.retry = time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	defer w.timer.Stop()
	defer w.retry.Stop()
	always := make(chan struct{})
	close(always)

	w.rescan(true, forced, time.Now())
	for !w.ended {
		var next chan struct{}
		if w.sweep != nil {
			next = always
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-fs.Events:
			w.note(e, ok)
		case <-fs.Errors: // such as an overflow: events are lost
			w.lost()
		case name := <-w.closes.names:
			w.closed(name)
		case <-w.timer.C: // act finds out what is due
		case <-w.retry.C:
			w.touch().all = true
		case <-resync.C:
			w.startSweep()
			continue
		case <-next:
			w.drain()
			w.act()
			w.stepSweep()
			continue
		case reply := <-w.syncs:
			w.sync(ctx, reply)
			continue
		}
		w.drain()
		w.act()
	}
	return fmt.Errorf("watch %s: events have ended", w.dir)
}

// touch returns todo, in which there is something now.
func (w *Watcher) touch() *todo {
	if w.todo.first.IsZero() {
		w.todo.first = time.Now()
		w.todo.names = make(map[string]hint)
	}
	return &w.todo
}

// note takes an event in; what it is about is not looked at yet.
func (w *Watcher) note(e fsnotify.Event, ok bool) {
	if !ok {
		w.ended = true
		return
	}
	if e.Name == w.dir {
		if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) || e.Has(fsnotify.Create) {
			delete(w.watched, w.dir)
		}
		w.touch().all = true
		return
	}
	name, ok := inside(w.dir, e.Name)
	if !ok {
		return
	}
	if !IsManifest(name) {
		if len(w.scanner.links) > 0 {
			w.touch().links = true
		}
		return
	}
	t := w.touch()
	switch {
	case e.Has(fsnotify.Write):
		t.names[name] = written
	case e.Has(fsnotify.Create):
		t.names[name] = created
	case e.Has(fsnotify.Remove), e.Has(fsnotify.Rename):
		t.names[name] = complete
	default:
		if _, ok := t.names[name]; !ok {
			t.names[name] = complete
			if a := w.waiting[name]; a != nil {
				t.names[name] = a.hint
			}
		}
	}
}

// inside returns the name of a file by its path in dir.
func inside(dir, path string) (string, bool) {
	n := len(dir)
	if dir != "/" {
		n++
	}
	if len(path) <= n || path[:len(dir)] != dir || path[n-1] != '/' {
		return "", false
	}
	return path[n:], true
}

// closed notes that somebody has written a file and closed it.
func (w *Watcher) closed(name string) { w.touch().names[name] = complete }

// lost notes that events are lost.
func (w *Watcher) lost() {
	t := w.touch()
	t.all, t.full = true, true
}

// drain takes in the events that have come already, so that a burst of them is
// looked at once.
func (w *Watcher) drain() {
	for n, idle := 0, 0; idle < 3 && n < queue && !w.ended; n++ {
		select {
		case e, ok := <-w.fs.Events:
			w.note(e, ok)
			idle = 0
		case <-w.fs.Errors:
			w.lost()
			idle = 0
		case name := <-w.closes.names:
			w.closed(name)
			idle = 0
		default:
			idle++
			runtime.Gosched() // to who reads them from the kernel
		}
	}
}

// act looks at what events have told, and at files that were waited for long
// enough.
func (w *Watcher) act() {
	now := time.Now()
	for name, a := range w.waiting {
		if _, ok := w.todo.names[name]; ok {
			continue
		}
		switch debounce := w.opts.Debounce; {
		case !now.Before(a.limit(debounce)):
			w.touch().names[name] = forced
		case now.Before(a.due(debounce)):
		case a.leased:
			w.touch().names[name] = a.hint
			a.poll *= 2
		default:
			w.touch().names[name] = complete
		}
	}
	t := w.todo
	w.todo = todo{}
	switch {
	case t.all || t.names != nil && (w.err != nil || !w.ready):
		w.rescan(t.full, complete, t.first)
	case len(t.names) > 0 || t.links || t.force:
		w.look(t)
	}
	w.schedule()
}
