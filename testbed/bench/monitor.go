package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// monitor is "ovs-ofctl monitor", which prints flows as they take effect. Its
// lines are given a time when they are read.
type monitor struct {
	cmd    *exec.Cmd
	events chan event

	mu   sync.Mutex
	last time.Time     // of the latest flow that changed
	gap  time.Duration // the longest time in which no flow changed
}

// event is the arrival of the first of the lines about flows that the switch sent
// together, or of a new port.
type event struct {
	at   time.Time
	port bool
}

// watch starts a monitor: spec is what "watch:" takes.
func (l *lab) watch(ctx context.Context, spec string) (*monitor, error) {
	m := &monitor{events: make(chan event, 4096)}
	// The number asks for packets to the controller, and there are none; it also
	// makes the switch report changes of ports.
	m.cmd = exec.CommandContext(ctx, "ovs-ofctl", "monitor", l.ovs.Bridge(), "64", "watch:"+spec)
	m.cmd.Env = append(os.Environ(), l.ovs.Env()...)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	m.cmd.Stdout, m.cmd.Stderr = in, in
	err = m.cmd.Start()
	in.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	ready := make(chan struct{})
	go m.read(out, ready)
	select {
	case <-ready:
		return m, nil
	case <-ctx.Done():
		m.close()
		return nil, ctx.Err()
	case <-time.After(10 * time.Second):
		m.close()
		return nil, fmt.Errorf("ovs-ofctl monitor says nothing")
	}
}

func (m *monitor) read(out io.ReadCloser, ready chan struct{}) {
	defer out.Close()
	defer close(m.events)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for first := true; lines.Scan(); {
		now, line := time.Now(), lines.Text()
		e := event{at: now}
		switch {
		case strings.Contains(line, "event="):
			m.changed(now)
		case strings.Contains(line, "OFPT_PORT_STATUS") && strings.Contains(line, "ADD"):
			e.port = true
		case first && strings.Contains(line, "NXST_FLOW_MONITOR reply"):
			first = false
			close(ready)
			continue
		default:
			continue
		}
		select {
		case m.events <- e:
		default: // nobody waits for an event
		}
	}
}

// latest returns when the latest change of a flow was seen.
func (m *monitor) latest() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

func (m *monitor) changed(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.last.IsZero() {
		m.gap = max(m.gap, now.Sub(m.last))
	}
	m.last = now
}

// longest returns the longest time without a change of flows since the last call
// of longest.
func (m *monitor) longest() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	gap := max(m.gap, now.Sub(m.last))
	m.gap, m.last = 0, now
	return gap
}

// drop forgets what happened so far.
func (m *monitor) drop() {
	for {
		select {
		case <-m.events:
		default:
			return
		}
	}
}

// next waits for the next event: a port if port is set, or else a flow.
func (m *monitor) next(ctx context.Context, port bool) (time.Time, error) {
	limit := time.After(60 * time.Second)
	for {
		select {
		case e, ok := <-m.events:
			if !ok {
				return time.Time{}, fmt.Errorf("ovs-ofctl monitor ended")
			}
			if e.port == port {
				return e.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-limit:
			return time.Time{}, fmt.Errorf("no flow changed within a minute")
		}
	}
}

func (m *monitor) close() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}
