package policy

import (
	"runtime"
	"testing"
)

// BenchmarkParsed is the parsed form of 100,000 files of a VM each.
func BenchmarkParsed(b *testing.B) {
	const n = 100_000
	changes, _ := fleet(n)
	var l Ledger
	l.Update(changes)
	versions := l.Versions()
	var w VersionWriter
	var form []byte
	for _, v := range versions {
		form = w.Append(form, v)
	}
	read := func() []*Version {
		var r VersionReader
		all := make([]*Version, 0, len(versions))
		for rest := form; len(rest) > 0; {
			v, after, err := r.Read(rest)
			if err != nil {
				b.Fatal(err)
			}
			all, rest = append(all, v), after
		}
		return all
	}
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			l.Versions()
		}
	})
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var w VersionWriter
			var b []byte
			for _, v := range versions {
				b = w.Append(b[:0], v)
			}
		}
		b.ReportMetric(float64(len(form))/n, "bytes/file")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/file")
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			read()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/file")
	})
	b.Run("live", func(b *testing.B) {
		for b.Loop() {
			before := live()
			all := read()
			b.ReportMetric(float64(live()-before)/n, "bytes/file")
			runtime.KeepAlive(all)
		}
	})
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			var l Ledger
			l.RestoreVersions(read())
			l.Update(changes)
		}
	})
	b.Run("start-yaml", func(b *testing.B) {
		for b.Loop() {
			new(Ledger).Update(changes)
		}
	})
	b.Run("start-live", func(b *testing.B) {
		for b.Loop() {
			before := live()
			var l Ledger
			l.RestoreVersions(read())
			l.Update(changes)
			b.ReportMetric(float64(live()-before)/n, "bytes/file")
			runtime.KeepAlive(&l)
		}
	})
	b.Run("start-live-yaml", func(b *testing.B) {
		for b.Loop() {
			before := live()
			var l Ledger
			l.Update(changes)
			b.ReportMetric(float64(live()-before)/n, "bytes/file")
			runtime.KeepAlive(&l)
		}
	})
}
