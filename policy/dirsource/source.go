package dirsource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Config is what a Source works with. Dir must be set.
type Config struct {
	Dir      string // of the manifests; it need not exist yet
	StateDir string // of the accepted copies; empty: nothing is kept across restarts
	// Guarded says that a change may be held back after it was delivered. What
	// was in force in an earlier run is delivered first then, and a change is
	// kept only when it is enforced.
	Guarded bool
	Watch   Options
	Logger  *zap.Logger
}

// Source is a policy directory as a policy.Source: each manifest file is a
// unit. A file that is refused keeps its last accepted revision in force, also
// across restarts if there is a state directory.
type Source struct {
	cfg     Config
	log     *zap.Logger
	watcher *Watcher
	keeper  *keeper // nil without a state directory
	updates chan policy.Update

	mu        sync.Mutex
	tracker   Tracker
	judged    uint64      // Seq of the snapshot that tracker has seen
	delivered atomic.Bool // the tracker has seen the whole directory
	unseen    atomic.Bool // the tracker has not, and the copies are delivered as the policy

	left atomic.Pointer[[]string] // the copies that were left out, and why

	// The rest belongs to the goroutine of Run.
	stored map[string]bool // files in the state directory, until the first update
	place  identity        // of the policy directory, as the keeper knows it
	err    string          // why the directory cannot be read or is held, as it was logged
}

// New returns a source that delivers nothing before Run. It reads the state
// directory; the error says why that is impossible.
func New(cfg Config) (*Source, error) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	watcher, err := NewWatcher(cfg.Dir, cfg.Watch)
	if err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, log: cfg.Logger, watcher: watcher, updates: make(chan policy.Update)}
	if cfg.StateDir == "" {
		return s, nil
	}
	store, err := OpenStore(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	wait := patience
	if cfg.Guarded {
		wait = 0 // for the release, however long that takes
	}
	s.keeper = newKeeper(store, wait, cfg.Logger)
	files := store.Files()
	s.stored = make(map[string]bool, len(store.sums))
	for name := range store.sums {
		s.stored[name] = true
	}
	s.place = store.place
	watcher.scanner.place, watcher.scanner.kept = store.place, len(files) > 0
	s.tracker.Restore(files)
	s.leaveOut(store.damaged)
	return s, nil
}

// leaveOut warns of copies that were left out.
func (s *Source) leaveOut(copies []string) {
	if len(copies) == 0 {
		return
	}
	const most = 20
	var list []string
	if before := s.left.Load(); before != nil {
		list = slices.Clone(*before)
	}
	for i, c := range copies {
		text := c + "; the copy was left out"
		if i == most {
			text = fmt.Sprintf("%d more copies were left out", len(copies)-most)
		}
		s.log.Warn("state directory", zap.String("copy", text))
		list = append(list, "state directory: "+text)
		if i == most {
			break
		}
	}
	s.left.Store(&list)
}

// String implements policy.Source.
func (s *Source) String() string { return "policy directory" }

// Updates implements policy.Source.
func (s *Source) Updates() <-chan policy.Update { return s.updates }

// Sync implements policy.Source. It fails while the directory cannot be read,
// and after Run has ended.
func (s *Source) Sync(ctx context.Context) (uint64, error) { return s.watcher.Sync(ctx) }

// Status implements policy.Source.
func (s *Source) Status(most int) (policy.SourceStatus, bool) {
	var status policy.SourceStatus
	status.Unsaved, status.Warnings = s.stateStatus()
	if !s.delivered.Load() && !s.unseen.Load() {
		return status, false // without waiting for the first reading
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Seq = s.judged
	if !s.delivered.Load() {
		status.Units = s.copies()
		status.Kept = len(status.Units)
		return status, true
	}
	refused := s.tracker.Refused()
	status.Accepted, status.Units = s.tracker.Len()-len(refused), refused
	for _, f := range refused {
		if f.State == policy.Kept {
			status.Kept++
		} else {
			status.Rejected++
		}
	}
	if status.Accepted <= most {
		status.Units = s.tracker.Status()
	}
	return status, true
}

// copies returns the state of the files whose copies are in force while the
// directory is held.
func (s *Source) copies() (units []policy.UnitStatus) {
	for _, r := range s.tracker.Revisions() {
		p := policy.Problem{Pos: policy.Position{File: r.Name}, Reason: "is not in the policy directory, which is held"}
		units = append(units, policy.UnitStatus{Name: r.Name, State: policy.Kept, Errors: []policy.Problem{p}})
	}
	return units
}

// stateStatus tells how the state directory is.
func (s *Source) stateStatus() (unsaved int, warnings []string) {
	if left := s.left.Load(); left != nil {
		warnings = slices.Clone(*left)
	}
	if s.keeper == nil {
		return 0, warnings
	}
	out := s.keeper.state()
	if out.why != "" {
		warnings = append(warnings, fmt.Sprintf("state directory: %d files could not be saved, and are tried again: %s; after a restart an older version of them may count",
			out.files, out.why))
	}
	return out.files, warnings
}

// Release implements policy.Source.
func (s *Source) Release(ctx context.Context) (bool, error) { return s.watcher.Release(ctx) }

// Enforced implements policy.Source.
func (s *Source) Enforced(seq uint64) {
	if s.keeper != nil {
		s.keeper.allow(seq)
	}
}

// Run delivers updates until ctx ends, and returns its error. What may be kept
// is in the state directory when Run returns.
func (s *Source) Run(ctx context.Context) error {
	var working sync.WaitGroup
	defer working.Wait()
	if s.keeper != nil {
		working.Go(s.keeper.run)
		defer s.keeper.stop()
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan error, 1)
	working.Go(func() { watched <- s.watcher.Run(watch) })
	return s.deliver(watched)
}

// deliver delivers what the watcher finds until it has ended, and returns why it
// has. Updates wait in a queue of deliver's own: they could not be taken out of
// a buffered channel again without a receiver between them.
func (s *Source) deliver(watched <-chan error) error {
	var queue []policy.Update
	if s.cfg.Guarded && len(s.stored) > 0 {
		queue = enqueue(queue, policy.Update{Changes: s.tracker.Restored().Revisions, Restored: true})
	}
	for {
		var out chan<- policy.Update
		var next policy.Update
		if len(queue) > 0 {
			out, next = s.updates, queue[0]
		}
		select {
		case err := <-watched:
			return err
		case snapshot := <-s.watcher.Snapshots():
			queue = enqueue(queue, s.take(snapshot))
		case out <- next:
			queue = slices.Delete(queue, 0, 1) // which lets go of what it holds
			if s.keeper != nil {
				s.keeper.received(next.Seq)
			}
		}
	}
}

// take judges what has changed in the directory and returns the outcome.
func (s *Source) take(snapshot Snapshot) policy.Update {
	u := policy.Update{Seq: snapshot.Seq, Since: snapshot.First, Err: snapshot.Err}
	if errors.Is(u.Err, errEmptied) {
		u.Held, u.Err = u.Err.Error(), nil
	}
	if err := errorText(snapshot.Err); err != s.err {
		if s.err = err; u.Held != "" {
			s.log.Warn(s.String()+" held until ovs-sg release", zap.String("reason", err))
		} else if err != "" {
			s.log.Error(s.String(), zap.String("error", err))
		}
	}
	var change Change
	switch first := !s.delivered.Load(); {
	case snapshot.unseen:
		s.mu.Lock()
		change, s.judged = s.tracker.Restored(), snapshot.Seq // what was in force stays so
		s.unseen.Store(true)
		s.mu.Unlock()
	case first || len(snapshot.Changes) > 0:
		s.mu.Lock()
		change, s.judged = s.tracker.Update(snapshot.Changes), snapshot.Seq
		var gone []string
		if first {
			gone = s.vanished(change.Revisions)
		}
		s.keep(snapshot, change, gone)
		s.delivered.Store(true)
		s.mu.Unlock()
	default:
		s.keep(snapshot, Change{}, nil)
	}
	s.leaveOut(s.tracker.takeUndecoded())
	for _, f := range change.Status {
		for _, p := range f.Errors {
			s.log.Error("manifest refused: " + p.Error())
		}
	}
	u.Changes = change.Revisions
	return u
}

// vanished returns the stored files that have no revision in force after the first
// look at the policy directory.
func (s *Source) vanished(first []policy.RevisionChange) (gone []string) {
	for _, c := range first {
		delete(s.stored, c.Name)
	}
	for name := range s.stored {
		if !s.tracker.InForce(name) {
			gone = append(gone, name)
		}
	}
	s.stored = nil
	return gone
}

// keep hands the contents that were accepted to the keeper, and which directory
// they are of.
func (s *Source) keep(snapshot Snapshot, change Change, removed []string) {
	if s.keeper == nil {
		return
	}
	var place identity
	if snapshot.place != s.place {
		place = snapshot.place
	}
	var changed []File
	for i, c := range change.Revisions {
		if c.After == nil {
			removed = append(removed, c.Name)
		} else {
			changed = append(changed, File{Name: c.Name, Data: change.Data[i]})
		}
	}
	if b := (keeping{snapshot.Seq, changed, removed, place}); !b.empty() {
		s.keeper.add(b)
	}
	if place != (identity{}) {
		s.place = place
	}
}

// enqueue adds an update to those that were not received. It becomes one with
// the last of these, unless that is what was restored.
func enqueue(queue []policy.Update, u policy.Update) []policy.Update {
	n := len(queue)
	if n == 0 || queue[n-1].Restored {
		return append(queue, u)
	}
	old := queue[n-1]
	u.Changes = policy.Merge(old.Changes, u.Changes)
	if !old.Since.IsZero() && (u.Since.IsZero() || old.Since.Before(u.Since)) {
		u.Since = old.Since
	}
	queue[n-1] = u
	return queue
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
