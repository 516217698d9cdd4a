// Package multimap provides a map from a key to several values that takes little
// memory where most keys have one value.
package multimap

import (
	"iter"
	"slices"
)

// Map is a map from a key to one value or more, which are in order. Use New.
type Map[K, V comparable] struct {
	compare func(a, b V) int
	first   map[K]V
	rest    map[K][]V // the values behind the first
}

// New returns an empty Map. The values of a key are in the order of compare, or
// in that of insertion if compare is nil.
func New[K, V comparable](compare func(a, b V) int) Map[K, V] {
	return Map[K, V]{compare: compare, first: make(map[K]V), rest: make(map[K][]V)}
}

// Len returns the number of keys.
func (m Map[K, V]) Len() int { return len(m.first) }

// First returns the first value of a key; ok is false if the key has none.
func (m Map[K, V]) First(k K) (v V, ok bool) {
	v, ok = m.first[k]
	return v, ok
}

// Firsts iterates over the first value of each key, in no order of the keys.
func (m Map[K, V]) Firsts() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for k, v := range m.first {
			if !yield(k, v) {
				return
			}
		}
	}
}

// Others iterates over the values that are not the first of their key, in no
// order of the keys.
func (m Map[K, V]) Others() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for k, vs := range m.rest {
			for _, v := range vs {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// Values iterates over the values of a key in order.
func (m Map[K, V]) Values(k K) iter.Seq[V] {
	return func(yield func(V) bool) {
		if v, ok := m.first[k]; !ok || !yield(v) {
			return
		}
		for _, v := range m.rest[k] {
			if !yield(v) {
				return
			}
		}
	}
}

// Add adds v to the values of k. A value that is added twice is there twice.
func (m Map[K, V]) Add(k K, v V) {
	first, taken := m.first[k]
	if !taken {
		m.first[k] = v
		return
	}
	rest := m.rest[k]
	at := len(rest)
	if m.compare != nil {
		if m.compare(v, first) < 0 {
			m.first[k], v = v, first
		}
		at, _ = slices.BinarySearchFunc(rest, v, m.compare)
	}
	m.rest[k] = slices.Insert(rest, at, v)
}

// Remove removes v once from the values of k, if k has it.
func (m Map[K, V]) Remove(k K, v V) {
	rest := m.rest[k]
	switch first, ok := m.first[k]; {
	case !ok:
		return
	case first != v:
		if i := slices.Index(rest, v); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		}
	case len(rest) > 0:
		m.first[k], rest = rest[0], rest[1:]
	default:
		delete(m.first, k)
	}
	if len(rest) > 0 {
		m.rest[k] = rest
	} else {
		delete(m.rest, k)
	}
}
