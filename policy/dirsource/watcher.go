package dirsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
)

// The defaults of Options.
const (
	DefaultDebounce = 5 * time.Millisecond
	DefaultResync   = 30 * time.Second
)

// maxDebounce is how many times Debounce a file that is being written is waited
// for.
const maxDebounce = 10

// Options are the settings of a Watcher. The zero value is usable.
type Options struct {
	// Debounce is for a file that is being written: it is read once it is
	// closed; if that cannot be found out, this long after the last event;
	// DefaultDebounce if zero. Never longer than ten times that after the
	// first event.
	Debounce time.Duration
	// Resync is how often every file is read without any event;
	// DefaultResync if zero.
	Resync time.Duration
	// Private is where Run makes a directory for itself, which tells Sync that
	// all events before have come. If it is empty or of no use, the usual
	// places for such things are tried.
	Private string
	// Report, if not nil, is told when the directory cannot be read or watched,
	// once for each reason, and with nil when it can again. It is called by
	// Run and must not call the Watcher.
	Report func(error)
}

// Snapshot says what has changed in the directory since the snapshots before.
// It belongs to who receives it.
type Snapshot struct {
	// Seq counts the snapshots of a Watcher, from 1. One that was not received
	// is part of the next, so that numbers may be left out.
	Seq uint64
	// Changes are sorted by name; those of the first are all the files. A file
	// that cannot be read says so and keeps the content it had.
	Changes []FileChange
	// Err says why the directory could not be read; no file changes then.
	Err error
	// First is when the first event came that led to this snapshot or to one
	// that became part of it.
	First time.Time
}

// Watcher watches one directory. Its methods may be called from any goroutine.
type Watcher struct {
	dir, parent string
	opts        Options
	snapshots   chan Snapshot
	syncs       chan chan syncReply
	done        chan struct{}
	scans       atomic.Int64 // of the whole directory

	// The rest belongs to Run.
	fs       *fsnotify.Watcher
	watched  map[string]identity // directories that fs watches
	closes   *closes
	trusted  bool // the filesystem announces every change
	sentinel *sentinel
	scanner  *scanner
	todo     todo
	waiting  map[string]*wait // files that are being written
	sweep    *sweep
	seq      uint64
	err      error
	ready    bool // the directory was read once
	ended    bool // there will be no more events
	reported string
	timer    *time.Timer // when one of waiting is due
	retry    *time.Timer // when a directory is tried again that could not be read
}

type syncReply struct {
	seq uint64
	err error
}

// New returns a Watcher of dir, which need not exist yet. Nothing happens
// before Run.
func New(dir string, opts Options) (*Watcher, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	if opts.Debounce <= 0 {
		opts.Debounce = DefaultDebounce
	}
	if opts.Resync <= 0 {
		opts.Resync = DefaultResync
	}
	return &Watcher{
		dir: abs, parent: filepath.Dir(abs), opts: opts,
		snapshots: make(chan Snapshot, 1),
		syncs:     make(chan chan syncReply),
		done:      make(chan struct{}),
		watched:   make(map[string]identity),
		waiting:   make(map[string]*wait),
		scanner:   newScanner(abs),
	}, nil
}

// Snapshots returns the channel of snapshots. It holds one; one that was not
// received is merged into the next. The first comes once the directory could be
// read. It is never closed.
func (w *Watcher) Snapshots() <-chan Snapshot { return w.snapshots }

// Sync returns the Seq of a snapshot that has everything that was written
// before the call; it may have been sent long ago. A file that somebody still
// has open for writing is in it as it is now. It waits for Run. The error is
// the directory's, the context's, or that Run has ended.
func (w *Watcher) Sync(ctx context.Context) (uint64, error) {
	reply := make(chan syncReply, 1)
	select {
	case w.syncs <- reply:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-w.done:
		return 0, errors.New("directory is no longer watched")
	}
	r := <-reply // Run answers what it has taken
	return r.seq, r.err
}

// emit sends a snapshot if something has changed.
func (w *Watcher) emit(changes []FileChange, err error, first time.Time) {
	if w.ready && len(changes) == 0 && sameError(err, w.err) {
		return
	}
	w.ready, w.err = true, err
	w.seq++
	w.send(Snapshot{Seq: w.seq, Changes: changes, Err: err, First: first})
}

// send makes s follow, or take in, a snapshot that was not received.
func (w *Watcher) send(s Snapshot) {
	select {
	case old := <-w.snapshots:
		s.Changes = merge(old.Changes, s.Changes)
		if old.First.Before(s.First) {
			s.First = old.First
		}
	default:
	}
	w.snapshots <- s // Run is the only sender, so there is room
}

// merge joins two lists sorted by name. What is later wins.
func merge(before, after []FileChange) []FileChange {
	if len(before) == 0 {
		return after
	}
	if len(after) == 0 {
		return before
	}
	out := make([]FileChange, 0, len(before)+len(after))
	for len(before) > 0 && len(after) > 0 {
		c := cmp.Compare(before[0].File.Name, after[0].File.Name)
		if c < 0 {
			out = append(out, before[0])
		} else {
			out = append(out, after[0])
			after = after[1:]
		}
		if c <= 0 {
			before = before[1:]
		}
	}
	return append(append(out, before...), after...)
}

// report tells of a new reason why the directory cannot be read.
func (w *Watcher) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != w.reported && w.opts.Report != nil {
		w.opts.Report(err)
	}
	w.reported = text
}

func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Error() == b.Error()
}
