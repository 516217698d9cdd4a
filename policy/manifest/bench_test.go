package manifest_test

import (
	"testing"

	"github.com/ovs-sg/ovs-sg/policy/internal/policytest"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// BenchmarkDecodeFile is a file of 200 groups.
func BenchmarkDecodeFile(b *testing.B) {
	files, _ := policytest.Fleet(0)
	b.SetBytes(int64(len(files[0].Data)))
	for b.Loop() {
		if _, errs := manifest.Decode(files[0]); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

func BenchmarkDecodeVM(b *testing.B) {
	b.ReportAllocs()
	f := policytest.VMFile(7, 0)
	for b.Loop() {
		if _, errs := manifest.Decode(f); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

func BenchmarkDecodeAll(b *testing.B) {
	b.ReportAllocs()
	files, _ := policytest.Fleet(10_000)
	for b.Loop() {
		manifest.DecodeAll(files)
	}
}
