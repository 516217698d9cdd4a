package policy

import "cmp"

// Then is the change that c and, after it, next make together. A thing that
// ends as it began may still be in it.
func (c ModelChange) Then(next ModelChange) ModelChange {
	return ModelChange{
		Endpoints: then(c.Endpoints, next.Endpoints, func(a, b *Endpoint) int { return cmp.Compare(a.OFPort, b.OFPort) }),
		Groups:    then(c.Groups, next.Groups, func(a, b *RuleGroup) int { return cmp.Compare(a.ID, b.ID) }),
		Members: then(c.Members, next.Members, func(a, b *Member) int {
			return cmp.Or(cmp.Compare(a.VPC, b.VPC), a.Addr.Compare(b.Addr))
		}),
	}
}

// then joins two sorted lists of changes.
func then[T any](first, second []Change[T], compare func(a, b *T) int) []Change[T] {
	if len(first) == 0 {
		return second
	}
	var out []Change[T]
	for len(first) > 0 && len(second) > 0 {
		switch n := compare(first[0].any(), second[0].any()); {
		case n < 0:
			out, first = append(out, first[0]), first[1:]
		case n > 0:
			out, second = append(out, second[0]), second[1:]
		default:
			if ch := (Change[T]{first[0].Before, second[0].After}); ch.Before != nil || ch.After != nil {
				out = append(out, ch)
			}
			first, second = first[1:], second[1:]
		}
	}
	return append(append(out, first...), second...)
}

// any is the thing as it is, or as it was if it is gone.
func (c Change[T]) any() *T {
	if c.After != nil {
		return c.After
	}
	return c.Before
}
