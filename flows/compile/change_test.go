package compile_test

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// changeOf returns what differs between two models.
func changeOf(a, b *policy.Model) policy.ModelChange {
	type place struct{ vpc, addr string }
	return policy.ModelChange{
		Endpoints: changes(a.Endpoints, b.Endpoints, func(e policy.Endpoint) uint16 { return e.OFPort }, cmp.Compare),
		Groups:    changes(a.Groups, b.Groups, func(g policy.RuleGroup) string { return g.ID }, cmp.Compare),
		Members: changes(a.Members, b.Members, func(m policy.Member) place { return place{m.VPC, m.Addr.String()} },
			func(a, b place) int { return cmp.Or(cmp.Compare(a.vpc, b.vpc), cmp.Compare(a.addr, b.addr)) }),
	}
}

func changes[T any, K comparable](a, b []T, key func(T) K, compare func(K, K) int) []policy.Change[T] {
	all := map[K]policy.Change[T]{}
	for i := range a {
		all[key(a[i])] = policy.Change[T]{Before: &a[i]}
	}
	for i := range b {
		ch := all[key(b[i])]
		if ch.After = &b[i]; ch.Before != nil && reflect.DeepEqual(*ch.Before, *ch.After) {
			delete(all, key(b[i]))
			continue
		}
		all[key(b[i])] = ch
	}
	keys := make([]K, 0, len(all))
	for k := range all {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	out := make([]policy.Change[T], 0, len(all))
	for _, k := range keys {
		out = append(out, all[k])
	}
	return out
}
