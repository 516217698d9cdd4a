package dirsource

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// keeping is the files that one update adds to and removes from the state
// directory.
type keeping struct {
	seq     uint64
	changed []File
	removed []string
	place   identity // of the policy directory; zero: not known, or as before
}

func (b keeping) empty() bool {
	return len(b.changed)+len(b.removed) == 0 && b.place == identity{}
}

func (b keeping) compareSeq(seq uint64) int { return cmp.Compare(b.seq, seq) }

// patience is how long accepted contents wait to be in force before they are
// written all the same; it is not used if changes may be held. Writing them at once
// would delay the change, and not writing them while the switch is away would lose
// them at a restart.
const patience = 10 * time.Second

// The keeper tries again after firstRetry what it could not write, and then after
// twice the time, up to maxRetry.
const (
	firstRetry = 100 * time.Millisecond
	maxRetry   = 5 * time.Second
)

// slowDisk is how long writing may take without a warning.
const slowDisk = 10 * time.Second

// keeper writes to the store, in a goroutine of its own: a disk must not hold up
// changes. What an update adds and removes is written when it is allowed, or after
// the patience of the keeper. What cannot be written is tried again until it is.
type keeper struct {
	store    *Store
	log      *zap.Logger
	patience time.Duration // 0: without end
	wake     chan struct{} // of capacity one

	mu      sync.Mutex
	waiting []keeping // by seq
	allowed uint64    // what is up to this seq may be written
	timed   bool      // expire will be called
	stopped bool
	outage  outage
	writing time.Time // since when files are being written; zero if none are
}

// outage is what the keeper could not write. The zero value is none.
type outage struct {
	files int    // whose copies are not as they should be
	why   string // empty: no outage
}

func newKeeper(store *Store, patience time.Duration, log *zap.Logger) *keeper {
	return &keeper{store: store, log: log, patience: patience, wake: make(chan struct{}, 1)}
}

// add makes b wait until it is allowed.
func (k *keeper) add(b keeping) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.timed && k.patience > 0 {
		k.timed = true
		time.AfterFunc(k.patience, k.expire)
	}
	k.waiting = append(k.waiting, b)
}

// received notes that the update of seq was received. Nothing before seq is
// allowed alone from then on, so what waits up to there becomes one: while changes
// are held, contents that later ones replace take no memory.
func (k *keeper) received(seq uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	from, _ := slices.BinarySearchFunc(k.waiting, k.allowed+1, keeping.compareSeq)
	to, _ := slices.BinarySearchFunc(k.waiting, seq+1, keeping.compareSeq)
	if to-from < 2 {
		return
	}
	k.waiting = slices.Replace(k.waiting, from, to, fold(k.waiting[from:to]))
}

// expire allows all that waits.
func (k *keeper) expire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timed = false
	if n := len(k.waiting); n > 0 {
		k.allowed = max(k.allowed, k.waiting[n-1].seq)
		k.ring()
	}
}

// allow lets what is up to seq be written. It does not block.
func (k *keeper) allow(seq uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if seq <= k.allowed {
		return
	}
	k.allowed = seq
	k.ring()
}

// stop makes run return once everything is written that is allowed, or would be
// with time.
func (k *keeper) stop() {
	if k.patience > 0 {
		k.expire()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	k.ring()
}

func (k *keeper) ring() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run writes until stop. At stop it tries once more what it could not write.
func (k *keeper) run() {
	retry := time.NewTimer(maxRetry)
	retry.Stop()
	var left keeping // what is not written yet
	var wait time.Duration
	for {
		due := wait == 0
		select {
		case <-k.wake:
		case <-retry.C:
			due = true
		}
		batches, stopped := k.take()
		left = fold(append([]keeping{left}, batches...))
		if due || stopped {
			left = k.save(left)
		}
		switch down := k.state().why != ""; {
		case stopped:
			k.reportLost(left)
			return
		case !down:
			wait = 0
		case due:
			wait = min(max(2*wait, firstRetry), maxRetry)
			retry.Reset(wait)
		}
	}
}

// save writes b and returns what of it could not be written. It logs the
// beginning and the end of an outage.
func (k *keeper) save(b keeping) keeping {
	if b.empty() && k.state().why == "" {
		return b
	}
	k.mu.Lock()
	k.writing = time.Now()
	k.mu.Unlock()
	err := k.store.save(b)
	var now outage
	if err != nil {
		b = k.store.missing(b)
		now = outage{files: len(b.changed) + len(b.removed), why: firstLine(err)}
	} else {
		b = keeping{}
	}
	k.mu.Lock()
	before := k.outage
	k.outage, k.writing = now, time.Time{}
	k.mu.Unlock()
	switch {
	case err != nil && before.why == "":
		k.log.Error("save accepted files", zap.Int("files", now.files), zap.String("error", now.why),
			zap.String("next", "enforcing goes on, and the files are tried again"))
	case err == nil && before.why != "":
		k.log.Info("accepted files saved")
	}
	return b
}

// reportLost says what is not written at the end.
func (k *keeper) reportLost(b keeping) {
	if k.state().why == "" {
		return
	}
	names := slices.Clone(b.removed)
	for _, f := range b.changed {
		names = append(names, f.Name)
	}
	const most = 10
	files := strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		files += ", ..."
	}
	k.log.Error("accepted files not saved: their copies in the state directory are out of date, and are used after a start at which a file is broken",
		zap.Int("count", len(names)), zap.String("files", files), zap.String("error", k.state().why))
}

// state returns what could not be written.
func (k *keeper) state() outage {
	k.mu.Lock()
	defer k.mu.Unlock()
	if took := time.Since(k.writing); k.outage.why == "" && !k.writing.IsZero() && took > slowDisk {
		return outage{files: 1, why: "writing has taken " + took.Round(time.Second).String()}
	}
	return k.outage
}

// firstLine returns the first of several errors that are joined.
func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// take returns what is allowed.
func (k *keeper) take() (batches []keeping, stopped bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for n < len(k.waiting) && k.waiting[n].seq <= k.allowed {
		n++
	}
	batches, k.waiting = k.waiting[:n], slices.Clone(k.waiting[n:])
	return batches, k.stopped
}

// fold returns what the batches, which are sorted by seq, add and remove together,
// sorted by name.
func fold(batches []keeping) keeping {
	batches = slices.DeleteFunc(slices.Clone(batches), keeping.empty)
	if len(batches) == 0 {
		return keeping{}
	}
	one := batches[len(batches)-1]
	if len(batches) == 1 {
		return one
	}
	one.changed, one.removed = nil, nil
	last := map[string]*File{} // nil: removed
	for _, b := range batches {
		for i := range b.changed {
			last[b.changed[i].Name] = &b.changed[i]
		}
		for _, name := range b.removed {
			last[name] = nil
		}
		if b.place != (identity{}) {
			one.place = b.place
		}
	}
	for name, f := range last {
		if f == nil {
			one.removed = append(one.removed, name)
		} else {
			one.changed = append(one.changed, *f)
		}
	}
	slices.SortFunc(one.changed, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(one.removed)
	return one
}
