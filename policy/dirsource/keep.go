package dirsource

import (
	"cmp"
	"slices"
	"sync"

	"go.uber.org/zap"
)

// keeping is what an update adds to the state directory and removes from it.
type keeping struct {
	seq     uint64
	changed []File
	removed []string
}

// keeper writes batches to the store, in a goroutine of its own: a disk must not
// hold up changes. A batch is written when it is allowed.
type keeper struct {
	store *Store
	log   *zap.Logger
	wake  chan struct{} // of capacity one

	mu      sync.Mutex
	waiting []keeping // by seq
	allowed uint64    // batches up to this seq may be written
	stopped bool
}

func newKeeper(store *Store, log *zap.Logger) *keeper {
	return &keeper{store: store, log: log, wake: make(chan struct{}, 1)}
}

// add makes a batch wait until it is allowed.
func (k *keeper) add(b keeping) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiting = append(k.waiting, b)
}

// allow lets the batches up to seq be written. It does not block.
func (k *keeper) allow(seq uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if seq <= k.allowed {
		return
	}
	k.allowed = seq
	k.ring()
}

// stop makes run return once what is allowed is written.
func (k *keeper) stop() {
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

// run writes batches until stop.
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

// take returns the batches that are allowed.
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

// fold returns what the batches come to, one after the other, sorted by name.
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
