package dirwatch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/ovs-sg/ovs-sg/policy"
)

// The defaults of Options.
const (
	DefaultDebounce = 5 * time.Millisecond
	DefaultResync   = 30 * time.Second
)

// maxDebounce is how many times Debounce a burst of events is waited for.
const maxDebounce = 10

// retryMissing is how often a directory that is not there is looked for, in
// case nothing announces its return.
const retryMissing = time.Second

// Options are the settings of a Watcher. The zero value is usable.
type Options struct {
	// Debounce is how long after the last event the directory is read;
	// DefaultDebounce if zero. Never longer than ten times that after the
	// first.
	Debounce time.Duration
	// Resync is how often every file is read without any event;
	// DefaultResync if zero.
	Resync time.Duration
	// Report, if not nil, is told when the directory cannot be read or watched,
	// once for each reason, and with nil when it can again. It is called by
	// Run and must not call the Watcher.
	Report func(error)
}

// Snapshot is the content of the whole directory. It is not changed after it
// was sent and shares memory with others.
type Snapshot struct {
	// Seq counts the snapshots of a Watcher, from 1.
	Seq uint64
	// Files are sorted by name. One that cannot be read says so and has its
	// last content.
	Files []policy.File
	// Err says why the directory could not be read; Files are then the ones of
	// the snapshot before.
	Err error
	// First is when the first event came that led to this snapshot or to one
	// that was never received because this one took its place.
	First time.Time
}

// Watcher watches one directory. Its methods may be called from any goroutine.
type Watcher struct {
	dir, parent string
	opts        Options
	snapshots   chan Snapshot
	syncs       chan chan syncReply
	done        chan struct{}

	// The rest belongs to Run.
	fs       *fsnotify.Watcher
	watched  map[string]identity // directories that fs watches
	scanner  scanner
	last     Snapshot
	ready    bool // the directory was read once
	reported string
	first    time.Time // of the first event not yet acted upon
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
		scanner:   scanner{dir: abs},
	}, nil
}

// Snapshots returns the channel of snapshots. It holds one; a newer one takes
// the place of one that was not received. The first comes once the directory
// could be read. It is never closed.
func (w *Watcher) Snapshots() <-chan Snapshot { return w.snapshots }

// Sync reads every file of the directory now and returns the Seq of a snapshot
// that has everything that was written before the call; it may have been sent
// long ago. It waits for Run. The error is the directory's, the context's, or
// that Run has ended.
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

// Run watches until ctx ends and returns its error, or that watching cannot be
// set up. It may be called once.
func (w *Watcher) Run(ctx context.Context) error {
	defer close(w.done)
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.dir, err)
	}
	defer fs.Close()
	w.fs = fs

	resync := time.NewTicker(w.opts.Resync)
	defer resync.Stop()
	pending := time.NewTimer(0) // the first look at the directory
	defer pending.Stop()
	full := true
	look := func() {
		w.look(full)
		full = false
		pending.Stop()
		if w.last.Err != nil || !w.ready {
			pending.Reset(min(retryMissing, w.opts.Resync))
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-fs.Events:
			if !ok {
				return fmt.Errorf("watch %s: events have ended", w.dir)
			}
			if w.concerns(e) {
				pending.Reset(w.wait(time.Now()))
			}
		case <-fs.Errors: // such as an overflow: events are lost
			full = true
			pending.Reset(w.wait(time.Now()))
		case <-pending.C:
			look()
		case <-resync.C:
			full = true
			look()
		case reply := <-w.syncs:
			full = true
			look()
			reply <- syncReply{w.last.Seq, w.last.Err}
		}
	}
}

// concerns reports whether e is about the directory or something in it, and
// notes when the directory itself came or went.
func (w *Watcher) concerns(e fsnotify.Event) bool {
	if e.Name == w.dir {
		if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) || e.Has(fsnotify.Create) {
			delete(w.watched, w.dir)
		}
		return true
	}
	return filepath.Dir(e.Name) == w.dir
}

// wait returns how long to wait from now for more events.
func (w *Watcher) wait(now time.Time) time.Duration {
	if w.first.IsZero() {
		w.first = now
	}
	left := maxDebounce*w.opts.Debounce - now.Sub(w.first)
	return max(0, min(w.opts.Debounce, left))
}

// look reads the directory and sends a snapshot if something has changed.
func (w *Watcher) look(full bool) {
	if w.first.IsZero() {
		w.first = time.Now()
	}
	defer func() { w.first = time.Time{} }()
	// Watch first, read then: what changes in between is announced.
	watchErr := w.watch()
	files, err := w.scanner.scan(full)
	if err == nil {
		err = watchErr // readable but not watched: only the resync sees changes
	} else {
		files = w.last.Files
	}
	w.report(err)
	if !w.ready && err != nil && files == nil {
		w.last.Err = err
		return
	}
	if w.ready && sameError(err, w.last.Err) && sameFiles(files, w.last.Files) {
		return
	}
	w.ready = true
	w.last = Snapshot{Seq: w.last.Seq + 1, Files: files, Err: err, First: w.first}
	w.send(w.last)
}

// send puts s in place of a snapshot that was not received.
func (w *Watcher) send(s Snapshot) {
	select {
	case old := <-w.snapshots:
		s.First = old.First
	default:
	}
	w.snapshots <- s // Run is the only sender, so there is room
}

// watch makes sure that the directory and its parent are watched as they are
// now: the same path may have become another directory.
func (w *Watcher) watch() error {
	list := w.fs.WatchList()
	var err error
	for _, dir := range []string{w.parent, w.dir} {
		var id identity
		fi, statErr := os.Stat(dir)
		if statErr == nil {
			id = identify(fi).place()
		}
		if was, ok := w.watched[dir]; ok && was == id && slices.Contains(list, dir) {
			continue
		}
		delete(w.watched, dir)
		if slices.Contains(list, dir) {
			_ = w.fs.Remove(dir) // it may be gone by itself meanwhile
		}
		if statErr != nil {
			continue // the scan says so
		}
		if addErr := w.fs.Add(dir); addErr == nil {
			w.watched[dir] = id
		} else if dir == w.dir {
			err = fmt.Errorf("watch %s: %w", dir, addErr)
		}
	}
	return err
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
