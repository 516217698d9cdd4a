package policy

import "slices"

// several is a map to one value or more, small where most keys have one.
type several[K, V comparable] struct {
	first map[K]V
	rest  map[K][]V // those behind the first
}

func newSeveral[K, V comparable]() several[K, V] {
	return several[K, V]{first: make(map[K]V), rest: make(map[K][]V)}
}

// add puts v behind those that k has.
func (s several[K, V]) add(k K, v V) {
	if _, taken := s.first[k]; taken {
		s.rest[k] = append(s.rest[k], v)
	} else {
		s.first[k] = v
	}
}

// remove takes v away once, if k has it; the next one follows up.
func (s several[K, V]) remove(k K, v V) {
	rest := s.rest[k]
	switch {
	case s.first[k] != v:
		if i := slices.Index(rest, v); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		}
	case len(rest) > 0:
		s.first[k], rest = rest[0], rest[1:]
	default:
		delete(s.first, k)
		return
	}
	if len(rest) > 0 {
		s.rest[k] = rest
	} else {
		delete(s.rest, k)
	}
}
