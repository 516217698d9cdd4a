package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// cpuTime returns the processor time, user and system, that all threads of a
// process have used. It is exact, other than the ticks in /proc/PID/stat.
func cpuTime(pid int) (time.Duration, error) {
	// CPUCLOCK_SCHED of another process: see clock_getcpuclockid(3).
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("processor time of %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// waitIdle returns when the processes have done next to nothing for a while.
func waitIdle(ctx context.Context, pids ...int) error {
	const window, most = 3 * time.Millisecond, 150 * time.Microsecond
	var before time.Duration
	calm := 0
	return testbed.Poll(ctx, window, func() (bool, error) {
		var now time.Duration
		for _, pid := range pids {
			d, err := cpuTime(pid)
			if err != nil {
				return false, err
			}
			now += d
		}
		if now-before < most*time.Duration(len(pids)) {
			calm++
		} else {
			calm = 0
		}
		before = now
		return calm >= 2, nil
	})
}

// memory reads a line such as VmRSS of /proc/PID/status, in bytes.
func memory(pid int, key string) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s of %d", key, pid)
}

// about returns the time, the machine and the versions of a run.
func (b *bench) about() (string, error) {
	cpu := "unknown CPU"
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	cores := 0
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			cpu = strings.TrimLeft(strings.TrimSpace(name), ": ")
			cores++
		}
	}
	version, err := testbed.Output(exec.CommandContext(b.ctx, b.program, "version"))
	if err != nil {
		return "", err
	}
	ovs, err := testbed.Output(exec.CommandContext(b.ctx, "ovs-vswitchd", "--version"))
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(ovs, "\n")
	var sizes []string
	for _, n := range b.sizes {
		sizes = append(sizes, thousands(n))
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	busy, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%s, %s, %d cores, load average %s before, %s, %s; sizes %s.", time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		cpu, cores, busy, first, strings.TrimSpace(version), strings.Join(sizes, ", ")), nil
}
