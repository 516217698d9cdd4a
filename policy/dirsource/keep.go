package dirsource

import (
	"cmp"
	"slices"
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
}

func (b keeping) compareSeq(seq uint64) int { return cmp.Compare(b.seq, seq) }

// patience is how long accepted contents wait to be in force before they are
// written all the same; it is not used if changes may be held. Writing them at once
// would delay the change, and not writing them while the switch is away would lose
// them at a restart.
const patience = 10 * time.Second

// keeper writes to the store, in a goroutine of its own: a disk must not hold up
// changes. What an update adds and removes is written when it is allowed, or after
// the patience of the keeper.
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
	one := keeping{seq: k.waiting[to-1].seq}
	one.changed, one.removed = fold(k.waiting[from:to])
	k.waiting = slices.Replace(k.waiting, from, to, one)
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

// run writes until stop.
func (k *keeper) run() {
	for range k.wake {
		batches, stopped := k.take()
		if changed, removed := fold(batches); len(changed)+len(removed) > 0 {
			if err := k.store.Save(changed, removed); err != nil {
				k.log.Error("save accepted files", zap.Error(err))
			}
		}
		if stopped {
			return
		}
	}
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

// fold returns what the batches add and remove together, sorted by name.
func fold(batches []keeping) (changed []File, removed []string) {
	if len(batches) == 1 {
		return batches[0].changed, batches[0].removed
	}
	last := map[string]*File{} // nil: removed
	for _, b := range batches {
		for i := range b.changed {
			last[b.changed[i].Name] = &b.changed[i]
		}
		for _, name := range b.removed {
			last[name] = nil
		}
	}
	for name, f := range last {
		if f == nil {
			removed = append(removed, name)
		} else {
			changed = append(changed, *f)
		}
	}
	slices.SortFunc(changed, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(removed)
	return changed, removed
}
