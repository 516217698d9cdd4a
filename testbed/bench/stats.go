package main

import (
	"cmp"
	"math"
	"slices"
)

// quantile is the value below which the share q of all lies, by nearest rank;
// zero of nothing.
func quantile[T cmp.Ordered](all []T, q float64) T {
	var zero T
	if len(all) == 0 {
		return zero
	}
	s := slices.Sorted(slices.Values(all))
	return s[min(max(int(math.Ceil(q*float64(len(s))))-1, 0), len(s)-1)]
}

func median[T cmp.Ordered](all []T) T { return quantile(all, 0.5) }

// ratioOf is the median of the ratios of two series that were measured in
// turns: what slows the machine for a while slows both of a pair.
func ratioOf[T ~int64 | ~float64](ours, limit []T) float64 {
	var rs []float64
	for i := range min(len(ours), len(limit)) {
		if limit[i] > 0 {
			rs = append(rs, float64(ours[i])/float64(limit[i]))
		}
	}
	return median(rs)
}
