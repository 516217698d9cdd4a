package dirsource

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

var sizes = []int{100, 10_000, 100_000}

// fill makes a directory with n manifests of some hundred bytes each.
func fill(b *testing.B, files int) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "policy.d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	for i := range files {
		name := fmt.Sprintf("tenant-%06d.yaml", i)
		text := fmt.Sprintf("%s# %0400d\n", manifestNamed(name), i)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// running starts a Watcher and receives its first snapshot.
func running(b *testing.B, dir string) *Watcher {
	b.Helper()
	w, err := NewWatcher(dir, Options{Resync: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = w.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		<-w.done
	})
	<-w.Snapshots()
	return w
}

func BenchmarkRename(b *testing.B) {
	for _, files := range sizes {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			dir := fill(b, files)
			w := running(b, dir)
			i := 0
			var total time.Duration
			for b.Loop() {
				i++
				tmp := filepath.Join(dir, ".tmp")
				if err := os.WriteFile(tmp, fmt.Appendf(nil, "# %d\n", i), 0o644); err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				if err := os.Rename(tmp, filepath.Join(dir, fmt.Sprintf("tenant-%06d.yaml", i%files))); err != nil {
					b.Fatal(err)
				}
				if s := <-w.Snapshots(); len(s.Changes) != 1 {
					b.Fatalf("%d changes", len(s.Changes))
				}
				total += time.Since(start)
			}
			b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs/rename-to-snapshot")
		})
	}
}

func BenchmarkWriteInPlace(b *testing.B) {
	dir := fill(b, 100)
	w := running(b, dir)
	i := 0
	for b.Loop() {
		i++
		if err := os.WriteFile(filepath.Join(dir, "tenant-000001.yaml"), fmt.Appendf(nil, "# %d\n", i), 0o644); err != nil {
			b.Fatal(err)
		}
		<-w.Snapshots()
	}
}

func BenchmarkSync(b *testing.B) {
	for _, files := range sizes {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			w := running(b, fill(b, files))
			for b.Loop() {
				if _, err := w.Sync(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// all returns the plan of a first scan.
func all(name string) job { return job{name: name, verify: true} }

func BenchmarkFirstScan(b *testing.B) {
	const files = 100_000
	dir := fill(b, files)
	for b.Loop() {
		s := newScanner(dir)
		results, err := s.scan(all)
		if changes := s.remember(results); err != nil || len(changes) != files {
			b.Fatal(len(changes), err)
		}
	}
	b.ReportMetric(files*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

// BenchmarkMemory measures the memory that a Watcher keeps for a file that does
// not change.
func BenchmarkMemory(b *testing.B) {
	const files = 100_000
	dir := fill(b, files)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		s := newScanner(dir)
		results, err := s.scan(all)
		if err != nil {
			b.Fatal(err)
		}
		s.remember(results)
		results = nil
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(s)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/files, "B/file")
}
