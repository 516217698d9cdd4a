package pipeline

import (
	"math/bits"

	"github.com/ovs-sg/ovs-sg/policy"
)

// portMask is a set of L4 ports: those whose bits under mask equal value.
type portMask struct{ value, mask uint16 }

// portMasks splits a range into the fewest prefixes that cover exactly it.
func portMasks(r policy.PortRange) []portMask {
	var out []portMask
	for first, last := uint32(r.First), uint32(r.Last); first <= last; {
		// The largest aligned block that starts at first and ends by last.
		n := bits.TrailingZeros32(first | 1<<16)
		if fit := bits.Len32(last-first+1) - 1; fit < n {
			n = fit
		}
		out = append(out, portMask{uint16(first), uint16(0xffff << n)})
		first += 1 << n
	}
	return out
}
