package dirsource

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// retryMissing is the interval at which Run looks at a directory that is
	// missing or cannot be watched.
	retryMissing = time.Second
	// queue is how many events are taken in before their files are read.
	queue = 4096
)

// Run watches until ctx ends and returns its error. While the kernel grants no
// inotify instance, Run looks at every file once a second instead. Run may be
// called once.
func (w *Watcher) Run(ctx context.Context) error {
	defer close(w.done)
	w.completions = noCompletions() // until watch has an instance for fsnotify
	defer func() {
		w.completions.stop()
		if w.fs != nil {
			w.fs.Close()
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

	w.rescan(pending{verify: true, force: true, first: time.Now()})
	for !w.ended {
		var sweeping chan struct{}
		if w.sweep != nil {
			sweeping = always
		}
		events, lost := w.events()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-events:
			w.event(e, ok)
		case <-lost: // events are lost, for example by an overflow
			w.eventsLost()
		case <-w.completions.ready:
			w.takeEvents()
			w.completions.again()
		case <-w.timer.C: // flushPending finds out which file is due
		case <-w.retry.C:
			w.some().all = true
		case <-resync.C:
			w.startSweep()
		case <-sweeping:
			w.takeEvents()
			w.flushPending()
			if w.sweep != nil {
				w.stepSweep()
			}
		case reply := <-w.syncs:
			w.answerSyncs(reply)
		case reply := <-w.releases:
			w.release(reply)
		}
		w.takeEvents()
		w.flushPending()
	}
	return fmt.Errorf("watch %s: events have ended", w.dir)
}

// takeEvents takes in the events that have come already, so that a burst of
// them leads to one snapshot.
func (w *Watcher) takeEvents() {
	events, lost := w.events()
	for n, idle := 0, 0; idle < 3 && n < queue && !w.ended; n++ {
		select {
		case e, ok := <-events:
			w.event(e, ok)
			idle = 0
		case <-lost:
			w.eventsLost()
			idle = 0
		default:
			idle++
			runtime.Gosched() // to the goroutine of fsnotify that reads events
		}
	}
	// Completions are read last, so that they include those of the files whose
	// creation was announced.
	w.completions.read(func(name string) { w.note(name, complete) })
}

// events returns the channels of fsnotify, which are nil without an inotify
// instance.
func (w *Watcher) events() (events <-chan fsnotify.Event, lost <-chan error) {
	if w.fs == nil {
		return nil, nil
	}
	return w.fs.Events, w.fs.Errors
}

func (w *Watcher) eventsLost() {
	p := w.some()
	p.all, p.verify = true, true
}

// event takes in an event, without looking at the file.
func (w *Watcher) event(e fsnotify.Event, ok bool) {
	if !ok {
		w.ended = true
		return
	}
	if e.Name == w.dir {
		if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) || e.Has(fsnotify.Create) {
			delete(w.watched, w.dir)
		}
		w.some().all = true
		return
	}
	name, ok := inside(w.dir, e.Name)
	if !ok {
		return
	}
	if w.scanner.linked > 0 && (!IsManifest(name) || e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)) {
		w.some().links = true
	}
	switch {
	case !IsManifest(name):
	case e.Op != fsnotify.Chmod:
		w.note(name, touched)
	case w.inProgress[name] == nil:
		if _, noted := w.pending.files[name]; !noted {
			w.note(name, complete)
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
