package dirsource

import (
	"context"
	"os"
	"time"
)

// raiser makes the sentinel, if it can be had.
func (w *Watcher) raiser() {
	if w.sentinel != nil {
		_ = w.fs.Remove(w.sentinel.dir)
		w.sentinel.remove()
	}
	// RUNTIME_DIRECTORY is what systemd gives a service.
	w.sentinel, _ = newSentinel(w.fs, w.opts.Private, os.Getenv("RUNTIME_DIRECTORY"),
		os.Getenv("XDG_RUNTIME_DIR"), "/run", os.TempDir())
}

// sync answers a Sync, and whoever else asks for one already.
func (w *Watcher) sync(ctx context.Context, reply chan syncReply) {
	replies := []chan syncReply{reply}
	for more := true; more; {
		select {
		case reply := <-w.syncs:
			replies = append(replies, reply)
		default:
			more = false
		}
	}
	first := time.Now()
	other, err := w.watch()
	if other || err != nil || w.err != nil || !w.ready || !w.trusted || !w.catchUp(ctx) || w.todo.all {
		w.todo = todo{}
		if ctx.Err() == nil {
			w.rescan(true, forced, first)
		}
	} else {
		t := w.touch()
		t.force = true
		for name := range w.waiting {
			t.names[name] = forced
		}
		w.act()
	}
	for _, reply := range replies {
		if err := ctx.Err(); err != nil {
			reply <- syncReply{err: err}
		} else {
			reply <- syncReply{w.seq, w.err}
		}
	}
}

// catchUp takes in all the events of what has happened until now. It says
// whether that could be done.
func (w *Watcher) catchUp(ctx context.Context) bool {
	if w.sentinel == nil {
		w.raiser()
	}
	if w.sentinel == nil {
		return false
	}
	path, err := w.sentinel.raise()
	if err != nil { // somebody has tidied up
		w.raiser()
		return false
	}
	patience := time.NewTimer(syncPatience)
	defer patience.Stop()
	for !w.ended {
		select {
		case e, ok := <-w.fs.Events:
			if e.Name == path {
				return true
			}
			w.note(e, ok)
		case <-w.fs.Errors:
			w.lost()
			return false
		case <-patience.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return false
}
