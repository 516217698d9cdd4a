package controller

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/ovsdb"
	"github.com/ovs-sg/ovs-sg/policy/dirsource"
)

// BenchmarkRestart is a start with 100,000 files that have not changed, from
// the state directory to what is in force, with nothing to enforce, and the
// stop after a file has changed.
func BenchmarkRestart(b *testing.B) {
	files, _ := crowd(100_000)
	files[0].File.Data = []byte("# no group\n")
	dir, sw := b.TempDir(), newFakeSwitch()
	var start, cpu, stop time.Duration
	run := func(b *testing.B, change ...dirsource.FileChange) {
		filesIn, ports := make(chan Files), make(chan ovsdb.Snapshot)
		cfg := Config{
			Bridge: "br0", Files: filesIn, Ports: ports,
			SyncFiles: func(context.Context) (uint64, error) { return uint64(len(change)), nil },
			SyncPorts: func(context.Context) (uint64, error) { return 0, nil },
			Prepare:   func(context.Context) error { return nil }, Dial: sw.dial,
		}
		began, before := time.Now(), used(b)
		store, err := dirsource.OpenStore(dir)
		if err != nil {
			b.Fatal(err)
		}
		cfg.Store = store
		c := New(cfg)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		filesIn <- Files{Changes: files}
		ports <- ovsdb.Snapshot{Bridge: ovsdb.Bridge{Name: "br0", Exists: true}, Ports: []ovsdb.Port{vmPort("tap2", 2, "vm2")}}
		if len(change) > 0 {
			filesIn <- Files{Seq: 1, Changes: change}
		}
		if err := c.Wait(ctx); err != nil {
			b.Fatal(err)
		}
		start, cpu = start+time.Since(began), cpu+used(b)-before
		began = time.Now()
		cancel()
		<-ended
		stop += time.Since(began)
	}
	run(b)
	gone := dirsource.FileChange{File: dirsource.File{Name: "vm7.yaml"}, Gone: true}
	for _, what := range []string{"same", "changed"} {
		b.Run(what, func(b *testing.B) {
			start, cpu, stop = 0, 0, 0
			for range b.N {
				if what == "same" {
					run(b)
				} else {
					run(b, gone)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(start.Milliseconds())/float64(b.N), "ms/start")
			b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/start")
			b.ReportMetric(float64(stop.Milliseconds())/float64(b.N), "ms/stop")
		})
	}
}

// used is the processor time of this process.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
