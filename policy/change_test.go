package policy

import (
	"fmt"
	"testing"
)

func TestMerge(t *testing.T) {
	v := func(sum byte) *Version {
		if sum == 0 {
			return nil
		}
		return &Version{Sum: [32]byte{sum}}
	}
	change := func(name string, before, after byte) VersionChange {
		return VersionChange{Name: name, Before: v(before), After: v(after), Data: []byte{after}}
	}
	print := func(cs []VersionChange) []string {
		sum := func(v *Version) byte {
			if v == nil {
				return 0
			}
			return v.Sum[0]
		}
		var out []string
		for _, c := range cs {
			out = append(out, fmt.Sprintf("%s %d-%d %v", c.Name, sum(c.Before), sum(c.After), c.Data))
		}
		return out
	}
	a := []VersionChange{change("a", 0, 1), change("b", 1, 2), change("c", 1, 2), change("d", 1, 0), change("e", 0, 1), change("g", 1, 2)}
	b := []VersionChange{change("b", 2, 3), change("c", 2, 1), change("d", 0, 1), change("e", 1, 0), change("f", 5, 6), change("g", 2, 0), change("h", 0, 1)}
	wantLines(t, print(Merge(a, b)), []string{"a 0-1 [1]", "b 1-3 [3]", "f 5-6 [6]", "g 1-0 [0]", "h 0-1 [1]"})
	wantLines(t, print(Invert(a[:2])), []string{"a 1-0 []", "b 2-1 []"})
	wantLines(t, print(Merge(nil, a[:1])), []string{"a 0-1 [1]"})
	wantLines(t, print(Merge(a, Invert(a))), nil)
}
