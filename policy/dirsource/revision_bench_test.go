package dirsource

import (
	"runtime"
	"testing"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/policytest"
	"github.com/ovs-sg/ovs-sg/policy/resolve"
)

// fleet returns the changes that bring n VMs in a file each, and the VM ports of
// 200 of them.
func fleet(n int) (changes []FileChange, vifs []policy.VIF) {
	files, vifs := policytest.Fleet(n)
	for _, f := range files {
		changes = append(changes, FileChange{File: File{Name: f.Name, Data: f.Data}})
	}
	return changes, vifs
}

func vmFile(i, version int) File {
	f := policytest.VMFile(i, version)
	return File{Name: f.Name, Data: f.Data}
}

// BenchmarkTrackerUpdate is one VM that changes, in two versions by turns.
func BenchmarkTrackerUpdate(b *testing.B) {
	policytest.Sizes(b, func(b *testing.B, n int) {
		changes, _ := fleet(n)
		var t Tracker
		t.Update(changes)
		turn := [][]FileChange{{{File: vmFile(4, 1)}}, {{File: vmFile(4, 0)}}}
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			if c := t.Update(turn[i%2]); len(c.Revisions) != 1 || len(c.Status) > 0 {
				b.Fatal(c)
			}
			i++
		}
	})
}

// BenchmarkTrackerGone is the same without the decoding: a file comes and goes.
func BenchmarkTrackerGone(b *testing.B) {
	policytest.Sizes(b, func(b *testing.B, n int) {
		changes, _ := fleet(n)
		var t Tracker
		t.Update(changes)
		turn := [][]FileChange{{{File: File{Name: "e.yaml"}}}, {{File: File{Name: "e.yaml"}, Gone: true}}}
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			t.Update(turn[i%2])
			i++
		}
	})
}

// BenchmarkTrackerBuild is 100,000 VMs, from the files to the revisions.
func BenchmarkTrackerBuild(b *testing.B) {
	changes, _ := fleet(100_000)
	for b.Loop() {
		new(Tracker).Update(changes)
	}
}

// BenchmarkLive reports the memory per VM that a Tracker and a Resolver take;
// the peak of decoding is not in it.
func BenchmarkLive(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(map[int]string{10_000: "10000", 100_000: "100000"}[n], func(b *testing.B) {
			for b.Loop() {
				before := live()
				var t Tracker
				changes, vifs := fleet(n)
				revisions := t.Update(changes).Revisions
				changes = nil
				tracker := live() - before
				r := resolve.New(policy.Options{})
				r.Update(revisions, vifs)
				revisions = nil
				both := live() - before
				b.ReportMetric(float64(tracker)/float64(n), "tracker-bytes/VM")
				b.ReportMetric(float64(both)/float64(n), "bytes/VM")
				runtime.KeepAlive(&t)
				runtime.KeepAlive(r)
			}
		})
	}
}

func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
