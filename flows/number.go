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
