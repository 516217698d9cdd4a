package openflow

import (
	"fmt"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
)

func BenchmarkEncodeFlowMod(b *testing.B) {
	enc, err := newFlowModEncoder(1)
	if err != nil {
		b.Fatal(err)
	}
	f := many(1)[0]
	buf := make([]byte, 0, chunk)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = enc.append(buf[:0], f, Add, 1)
	}
	b.SetBytes(int64(len(buf)))
}

// The figures are those of the whole round trip; the switch takes most of the
// time.
func BenchmarkApplyAndDump(b *testing.B) {
	for _, n := range []int{1000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, c := dummy(b)
			ctx := testContext(b)
			fs := many(n)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Apply(ctx, flows.Delta{Add: fs}); err != nil {
					b.Fatal(err)
				}
				s, err := c.Dump(ctx)
				if err != nil || s.Len() != n {
					b.Fatal(s.Len(), err)
				}
				if err := c.Apply(ctx, flows.Delta{Delete: fs}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
