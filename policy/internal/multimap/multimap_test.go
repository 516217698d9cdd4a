package multimap

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestMap holds a Map against a map of slices.
func TestMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var compare func(a, b int) int
		if rapid.Bool().Draw(t, "sorted") {
			compare = cmp.Compare[int]
		}
		m, want := New[string](compare), map[string][]int{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			k, v := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), rapid.IntRange(0, 3).Draw(t, "value")
			if rapid.Bool().Draw(t, "add") {
				m.Add(k, v)
				want[k] = append(want[k], v)
				if compare != nil {
					slices.Sort(want[k])
				}
			} else {
				m.Remove(k, v)
				if i := slices.Index(want[k], v); i >= 0 {
					want[k] = slices.Delete(want[k], i, i+1)
				}
			}
			keys, others := 0, 0
			for k, vs := range want {
				if got := slices.Collect(m.Values(k)); !slices.Equal(got, vs) {
					t.Fatalf("%s: %v, want %v", k, got, vs)
				}
				if first, ok := m.First(k); ok != (len(vs) > 0) || ok && first != vs[0] {
					t.Fatalf("%s: %v %v, want %v", k, first, ok, vs)
				}
				keys += min(len(vs), 1)
				others += max(len(vs)-1, 0)
			}
			for k, v := range m.Firsts() {
				if want[k][0] != v {
					t.Fatalf("%s: %v, want %v", k, v, want[k])
				}
				keys--
			}
			for k, v := range m.Others() {
				if !slices.Contains(want[k][1:], v) {
					t.Fatalf("%s: %v, want %v", k, v, want[k])
				}
				others--
			}
			if keys != 0 || others != 0 || len(m.rest) > len(m.first) {
				t.Fatalf("%v, want %v", m, want)
			}
		}
		for k, vs := range want {
			for _, v := range slices.Clone(vs) {
				m.Remove(k, v)
			}
		}
		if m.Len() > 0 || len(m.rest) > 0 {
			t.Fatalf("%v stays", m)
		}
	})
}
