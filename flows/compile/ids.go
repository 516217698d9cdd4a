package compile

import "slices"

// numbers returns a different number for every key, never 0. The number is the
// key's hash, which does not depend on the other keys; if a smaller key has that
// number, it is the next number that is free.
func numbers(keys []string, hash func(string) uint64) map[string]uint32 {
	keys = slices.Clone(keys)
	slices.Sort(keys)
	out := make(map[string]uint32, len(keys))
	used := map[uint32]bool{0: true}
	for _, k := range slices.Compact(keys) {
		n := uint32(hash(k))
		for used[n] {
			n++
		}
		used[n] = true
		out[k] = n
	}
	return out
}

// idPool keeps the numbers that numbers gives up to date while keys come and go.
// When two keys have the same hash, the pool needs a full compile: the order of all
// keys decides then.
type idPool struct {
	hash     func(string) uint64
	byKey    map[string]*pooledID
	byNumber map[uint32]*pooledID
	idle     []*pooledID // not in use any more, kept until sweep
	collided bool        // two keys had the same hash, or a key had the hash 0
}

// pooledID is a key in use and its number.
type pooledID struct {
	key    string
	number uint32
	uses   int
}

func newIDPool(hash func(string) uint64) *idPool {
	return &idPool{hash: hash, byKey: map[string]*pooledID{}, byNumber: map[uint32]*pooledID{}}
}

// acquire counts a use of a key; began says that it is the first use.
func (p *idPool) acquire(key string) (x *pooledID, began bool) {
	x = p.byKey[key]
	if x == nil {
		x = &pooledID{key: key, number: uint32(p.hash(key))}
		if x.number == 0 || p.byNumber[x.number] != nil {
			p.collided = true
		}
		p.byKey[key], p.byNumber[x.number] = x, x
	}
	x.uses++
	return x, x.uses == 1
}

// release ends one use of a key; ended says that it was the last use. The number
// is free after the next sweep.
func (p *idPool) release(x *pooledID) (ended bool) {
	if x.uses--; x.uses > 0 {
		return false
	}
	p.idle = append(p.idle, x)
	return true
}

// sweep frees the numbers that are not used.
func (p *idPool) sweep() {
	for _, x := range p.idle {
		if x.uses == 0 && p.byKey[x.key] == x {
			delete(p.byKey, x.key)
			delete(p.byNumber, x.number)
		}
	}
	p.idle = p.idle[:0]
}

// of returns the number of a key in use, 0 if the key is not in use.
func (p *idPool) of(key string) uint32 {
	if x := p.byKey[key]; x != nil {
		return x.number
	}
	return 0
}
