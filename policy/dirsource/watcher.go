package dirsource

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// The defaults of Options.
const (
	DefaultDebounce = 5 * time.Millisecond
	DefaultResync   = 30 * time.Second
)

// maxDebounce is the longest time that a file is waited for while it is being
// written, in units of Options.Debounce.
const maxDebounce = 10

// Options are the settings of a Watcher. The zero value is usable.
type Options struct {
	// Debounce bounds the wait for a file that is being written. The file is
	// read once it is closed, or ten times Debounce after the first event,
	// whichever is earlier. If the kernel does not announce the closing, it is
	// also read when Debounce has passed without an event. DefaultDebounce if
	// zero.
	Debounce time.Duration
	// Resync is the interval at which every file is read without any event.
	// DefaultResync if zero.
	Resync time.Duration
	// Report, if not nil, is called when the directory cannot be read or
	// watched, once for each reason, and with nil when it can again. Run calls
	// it; it must not call the Watcher.
	Report func(error)
}

// Snapshot holds the files that have changed in the directory since the snapshot
// before. The receiver may keep it.
type Snapshot struct {
	// Seq numbers the snapshots of a Watcher from 1. A snapshot that was not
	// received is merged into the next, so numbers may be left out.
	Seq uint64
	// Changes are sorted by name; those of the first snapshot are all the
	// files. A file that cannot be read has the reason in File.Unreadable and
	// keeps the content that it had.
	Changes []FileChange
	// Err says why the directory could not be read; no file changes then. It
	// wraps errEmptied if the directory waits for a release.
	Err error
	// First is the time of the first event that led to this snapshot or to one
	// that was merged into it.
	First time.Time

	place  identity // of the directory that was read last, in this run or before
	unseen bool     // no directory was read yet, because the first waits for a release
}

// Watcher watches one directory. Its methods may be called from any goroutine.
type Watcher struct {
	dir, parent string
	opts        Options
	snapshots   chan Snapshot
	syncs       chan chan syncReply
	releases    chan chan bool
	done        chan struct{}

	// The rest belongs to Run.
	fs          *fsnotify.Watcher   // nil while the kernel grants no inotify instance
	watched     map[string]identity // directories that fs watches
	completions *completions
	scanner     *scanner
	pending     pending
	inProgress  map[string]*progress // files that may be being written
	sweep       *sweep
	seq         uint64
	err         error
	unread      error    // why the directory could not be read, the last time
	ready       bool     // a snapshot was sent
	unseen      bool     // as in Snapshot
	place       identity // as in the last snapshot
	ended       bool     // no more events will come
	reported    string
	timer       *time.Timer // fires when one of inProgress is due
	retry       *time.Timer // fires when an unreadable directory is tried again
}

type syncReply struct {
	seq uint64
	err error
}

// NewWatcher returns a Watcher of dir, which need not exist yet. The Watcher does
// nothing before Run.
func NewWatcher(dir string, opts Options) (*Watcher, error) {
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
		snapshots:  make(chan Snapshot, 1),
		syncs:      make(chan chan syncReply),
		releases:   make(chan chan bool),
		done:       make(chan struct{}),
		watched:    make(map[string]identity),
		inProgress: make(map[string]*progress),
		scanner:    newScanner(abs),
	}, nil
}

// Snapshots returns the channel of snapshots, which holds one. A snapshot that
// was not received is merged into the next. The first snapshot is sent once the
// directory could be read, or waits for a release. The channel is never closed.
func (w *Watcher) Snapshots() <-chan Snapshot { return w.snapshots }

// Sync returns the Seq of a snapshot that holds everything that was written to
// the directory before the call. That snapshot may have been received already. A
// file that is being written is in it with the content that the file has at the
// time. Content that was written through a memory mapping may be missing. Sync
// waits until Run is running; it returns the reason why the directory cannot be
// read, the error of ctx, or an error if Run has returned.
func (w *Watcher) Sync(ctx context.Context) (uint64, error) {
	reply := make(chan syncReply, 1)
	select {
	case w.syncs <- reply:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-w.done:
		return 0, errors.New("directory is no longer watched")
	}
	r := <-reply // Run replies to each request that it has received
	return r.seq, r.err
}

// Release takes the directory as it is, if it waits for that: see Snapshot.Err. It
// reports whether the directory did. A snapshot tells of the directory when Release
// returns.
func (w *Watcher) Release(ctx context.Context) (released bool, err error) {
	reply := make(chan bool, 1)
	select {
	case w.releases <- reply:
		return <-reply, nil // Run replies to each request that it has received
	case <-ctx.Done():
		return false, ctx.Err()
	case <-w.done:
		return false, errors.New("directory is no longer watched")
	}
}

// release answers a Release.
func (w *Watcher) release(reply chan bool) {
	held := w.scanner.empty != identity{}
	if held {
		w.scanner.released = w.scanner.empty
		w.rescan(pending{first: time.Now()})
	}
	reply <- held
}

// answerSyncs looks at every file, and answers a Sync and all others that wait.
func (w *Watcher) answerSyncs(reply chan syncReply) {
	replies := []chan syncReply{reply}
	for more := true; more; {
		select {
		case reply := <-w.syncs:
			replies = append(replies, reply)
		default:
			more = false
		}
	}
	p := *w.some()
	w.pending = pending{}
	p.force = true
	w.rescan(p)
	for _, reply := range replies {
		reply <- syncReply{w.seq, w.unread}
	}
}

// emit sends a snapshot if anything has changed.
func (w *Watcher) emit(changes []FileChange, err error, first time.Time) {
	if w.ready && len(changes) == 0 && sameError(err, w.err) && w.scanner.place == w.place {
		return
	}
	w.ready, w.err, w.place = true, err, w.scanner.place
	w.seq++
	w.send(Snapshot{Seq: w.seq, Changes: changes, Err: err, First: first, place: w.place, unseen: w.unseen})
}

// send sends s, merged with the snapshot before if that was not received.
func (w *Watcher) send(s Snapshot) {
	select {
	case old := <-w.snapshots:
		s.Changes = merge(old.Changes, s.Changes)
		if old.First.Before(s.First) {
			s.First = old.First
		}
	default:
	}
	w.snapshots <- s // does not block: Run is the only sender
}

// merge merges two lists sorted by name. The later change of a file wins.
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

// report calls Options.Report if the reason why the directory cannot be read
// has changed.
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
