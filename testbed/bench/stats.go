package main

import (
	"cmp"
	"math"
	"slices"
)

// quantile returns the value below which the share q of all lies, by nearest
// rank; zero of nothing.
func quantile[T cmp.Ordered](all []T, q float64) T {
	var zero T
	if len(all) == 0 {
		return zero
	}
	s := slices.Sorted(slices.Values(all))
	return s[min(max(int(math.Ceil(q*float64(len(s))))-1, 0), len(s)-1)]
}

func median[T cmp.Ordered](all []T) T { return quantile(all, 0.5) }

// ratioOf returns the ratio of the medians of two series. The series are measured
// in turns, so that a slow phase of the machine slows both.
func ratioOf[T ~int64 | ~float64](ours, limit []T) float64 {
	if m := median(limit); m > 0 {
		return float64(median(ours)) / float64(m)
	}
	return 0
}
