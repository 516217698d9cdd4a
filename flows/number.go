package flows

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// hash64 is the hash that numbers and cookies are made of: the same on every
// machine and in every release.
func hash64(s string) uint64 {
	h := sha256.Sum256([]byte(s))
	return binary.BigEndian.Uint64(h[:])
}

// numbers gives every key a number of its own, never 0: the key's hash, so
// that it stays the same whatever else there is, or, if a smaller key has
// that one, the next that is free.
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

// numbering keeps what numbers gives up to date while keys come and go. When
// two keys have the same hash, it is spoilt: the order of all keys decides
// then.
type numbering struct {
	hash     func(string) uint64
	byKey    map[string]*numbered
	byNumber map[uint32]*numbered
	idle     []*numbered // not in use any more, kept until sweep
	spoilt   bool
}

// numbered is a key in use and its number.
type numbered struct {
	key    string
	number uint32
	uses   int
}

func newNumbering(hash func(string) uint64) *numbering {
	return &numbering{hash: hash, byKey: map[string]*numbered{}, byNumber: map[uint32]*numbered{}}
}

// take counts a use of a key; began says that it is the first.
func (n *numbering) take(key string) (x *numbered, began bool) {
	x = n.byKey[key]
	if x == nil {
		x = &numbered{key: key, number: uint32(n.hash(key))}
		if x.number == 0 || n.byNumber[x.number] != nil {
			n.spoilt = true
		}
		n.byKey[key], n.byNumber[x.number] = x, x
	}
	x.uses++
	return x, x.uses == 1
}

// drop takes a use back; ended says that it was the last. The number is free
// after the next sweep.
func (n *numbering) drop(x *numbered) (ended bool) {
	if x.uses--; x.uses > 0 {
		return false
	}
	n.idle = append(n.idle, x)
	return true
}

// sweep frees the numbers that are not used.
func (n *numbering) sweep() {
	for _, x := range n.idle {
		if x.uses == 0 && n.byKey[x.key] == x {
			delete(n.byKey, x.key)
			delete(n.byNumber, x.number)
		}
	}
	n.idle = n.idle[:0]
}

// of is the number of a key in use; 0 if it is not.
func (n *numbering) of(key string) uint32 {
	if x := n.byKey[key]; x != nil {
		return x.number
	}
	return 0
}
