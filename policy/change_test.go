package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	v := func(sum byte) *Revision {
		if sum == 0 {
			return nil
		}
		return &Revision{Sum: [32]byte{sum}}
	}
	change := func(name string, before, after byte) RevisionChange {
		return RevisionChange{Name: name, Before: v(before), After: v(after)}
	}
	print := func(cs []RevisionChange) []string {
		sum := func(v *Revision) byte {
			if v == nil {
				return 0
			}
			return v.Sum[0]
		}
		var out []string
		for _, c := range cs {
			out = append(out, fmt.Sprintf("%s %d-%d", c.Name, sum(c.Before), sum(c.After)))
		}
		return out
	}
	a := []RevisionChange{change("a", 0, 1), change("b", 1, 2), change("c", 1, 2), change("d", 1, 0), change("e", 0, 1), change("g", 1, 2)}
	b := []RevisionChange{change("b", 2, 3), change("c", 2, 1), change("d", 0, 1), change("e", 1, 0), change("f", 5, 6), change("g", 2, 0), change("h", 0, 1)}
	wantLines(t, print(Merge(a, b)), []string{"a 0-1", "b 1-3", "f 5-6", "g 1-0", "h 0-1"})
	wantLines(t, print(Invert(a[:2])), []string{"a 1-0", "b 2-1"})
	wantLines(t, print(Merge(nil, a[:1])), []string{"a 0-1"})
	wantLines(t, print(Merge(a, Invert(a))), nil)
}

func TestCompose(t *testing.T) {
	const nothing = "-"
	// The test writes a change as kind, name, before and after.
	change := func(lines ...string) (c ModelChange) {
		for _, line := range lines {
			var what, was, now, key string
			if _, err := fmt.Sscan(line, &what, &key, &was, &now); err != nil {
				t.Fatal(err)
			}
			switch what {
			case "port":
				one := func(mac string) *Endpoint {
					if mac == nothing {
						return nil
					}
					return &Endpoint{OFPort: uint16(key[0]), VIF: mac}
				}
				c.Endpoints = append(c.Endpoints, Change[Endpoint]{one(was), one(now)})
			case "group":
				one := func(rule string) *RuleGroup {
					if rule == nothing {
						return nil
					}
					return &RuleGroup{ID: key, Rules: []ResolvedRule{{Name: rule}}}
				}
				c.Groups = append(c.Groups, Change[RuleGroup]{one(was), one(now)})
			case "member":
				one := func(group string) *Member {
					if group == nothing {
						return nil
					}
					vpc, addr, _ := strings.Cut(key, "@")
					return &Member{VPC: vpc, Addr: netip.MustParseAddr(addr), Groups: []string{group}}
				}
				c.Members = append(c.Members, Change[Member]{one(was), one(now)})
			}
		}
		return c
	}
	print := func(c ModelChange) (out []string) {
		word := func(there bool, f func() string) string {
			if !there {
				return nothing
			}
			return f()
		}
		for _, x := range c.Endpoints {
			out = append(out, fmt.Sprintf("port %c %s %s", rune(x.any().OFPort), word(x.Before != nil, func() string { return x.Before.VIF }),
				word(x.After != nil, func() string { return x.After.VIF })))
		}
		for _, x := range c.Groups {
			out = append(out, fmt.Sprintf("group %s %s %s", x.any().ID, word(x.Before != nil, func() string { return x.Before.Rules[0].Name }),
				word(x.After != nil, func() string { return x.After.Rules[0].Name })))
		}
		for _, x := range c.Members {
			out = append(out, fmt.Sprintf("member %s@%s %s %s", x.any().VPC, x.any().Addr, word(x.Before != nil, func() string { return x.Before.Groups[0] }),
				word(x.After != nil, func() string { return x.After.Groups[0] })))
		}
		return out
	}
	first := []string{
		"port a m -", "port b m n", "port c - m", "port d m n", "port f m n",
		"group a x -", "group b x y", "group d - x",
		"member v@10.0.0.1 g -", "member v@10.0.0.2 g h", "member w@10.0.0.1 - g",
	}
	second := []string{
		"port a - o", "port b n o", "port c m -", "port d n -", "port e m n", "port g - m",
		"group a - y", "group c x y", "group d x -",
		"member v@10.0.0.1 - h", "member v@10.0.0.3 g h", "member w@10.0.0.1 g h",
	}
	both := []string{
		"port a m o", "port b m o", "port d m -", "port e m n", "port f m n", "port g - m",
		"group a x y", "group b x y", "group c x y",
		"member v@10.0.0.1 g h", "member v@10.0.0.2 g h", "member v@10.0.0.3 g h", "member w@10.0.0.1 - h",
	}
	wantLines(t, print(change(first...).Compose(change(second...))), both)
	wantLines(t, print(change(first...).Compose(ModelChange{})), first)
	wantLines(t, print(ModelChange{}.Compose(change(second...))), second)
	wantLines(t, print(change("member v@10.0.0.1 g h").Compose(change("member w@10.0.0.1 g h"))), []string{"member v@10.0.0.1 g h", "member w@10.0.0.1 g h"})
}

func wantLines(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
