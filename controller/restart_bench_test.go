package controller

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/policy/dirsource"
)

// BenchmarkRestart is a start with 100,000 files that have not changed since the
// run before, to what is in force, and the stop, with next to nothing to
// enforce.
func BenchmarkRestart(b *testing.B) {
	files, _ := crowd(100_000)
	dir, stateDir, sw := b.TempDir(), b.TempDir(), newFakeSwitch()
	for i, f := range files {
		if i == 0 {
			f.File.Data = []byte("# no group\n")
		}
		if err := os.WriteFile(filepath.Join(dir, f.File.Name), f.File.Data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	var start, cpu, stop time.Duration
	run := func() {
		began, before := time.Now(), used(b)
		src, err := dirsource.New(dirsource.Config{Dir: dir, StateDir: stateDir})
		if err != nil {
			b.Fatal(err)
		}
		db := &fakeDatabase{snapshots: make(chan vswitch.Snapshot)}
		c := New(Config{Bridge: "br0", Source: src, Database: db, Dial: sw.dial})
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 2)
		go func() { ended <- c.Run(ctx) }()
		go func() { ended <- src.Run(ctx) }()
		db.send(secure, []vswitch.Port{vmPort("tap2", 2, "vm2")})
		if err := c.Wait(ctx); err != nil {
			b.Fatal(err)
		}
		start, cpu = start+time.Since(began), cpu+used(b)-before
		began = time.Now()
		cancel()
		<-ended
		<-ended
		stop += time.Since(began)
	}
	run()
	start, cpu, stop = 0, 0, 0
	b.ResetTimer()
	for range b.N {
		run()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(start.Milliseconds())/float64(b.N), "ms/start")
	b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms/start")
	b.ReportMetric(float64(stop.Milliseconds())/float64(b.N), "ms/stop")
}

// used is the processor time of this process.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
