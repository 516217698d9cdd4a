package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// agent is the program, driven as an operator drives it.
type agent struct {
	program, control, log string
	cmd                   *exec.Cmd
	started               time.Time
	done                  chan struct{}
}

type epochs struct{ Egress, Ingress uint32 }

// status is what is needed of "ovs-sg status -o json".
type status struct {
	State  string `json:"state"`
	Flows  int    `json:"flows"`
	Rounds int    `json:"rounds"`
	Ports  []struct {
		Name   string `json:"name"`
		Epochs epochs `json:"epochs"`
	} `json:"ports"`
	Last struct {
		Added    int           `json:"added"`
		Modified int           `json:"modified"`
		Deleted  int           `json:"deleted"`
		Took     time.Duration `json:"tookNanoseconds"`
	} `json:"lastChange"`
}

// runOutput is the standard output of a program.
func runOutput(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), err
}

func (b *bench) output(args ...string) (string, error) { return runOutput(b.ctx, b.program, args...) }

// startAgent starts an agent for a lab.
func (l *lab) startAgent(state string) (*agent, error) {
	a := &agent{
		program: l.b.program, control: filepath.Join(l.dir, "control.sock"), log: filepath.Join(l.dir, "agent.log"),
		done: make(chan struct{}),
	}
	log, err := os.Create(a.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	a.cmd = exec.Command(a.program, "agent", "--ovsdb", l.ovs.DB(), "--bridge", l.ovs.Bridge(), "--log-level", "warn",
		"--policy-dir", l.policy(), "--state-dir", state, "--control", a.control)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	a.started = time.Now()
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = a.cmd.Wait() // ProcessState says how it ended
		close(a.done)
	}()
	return a, nil
}

func (a *agent) pid() int { return a.cmd.Process.Pid }

// ended is an error, with the log, when the agent is not running any more.
func (a *agent) ended() error {
	select {
	case <-a.done:
		text, _ := os.ReadFile(a.log)
		return fmt.Errorf("the agent ended: %s\n%s", a.cmd.ProcessState, text)
	default:
		return nil
	}
}

// ready returns when the control socket answers.
func (a *agent) ready(ctx context.Context) error {
	return testbed.Poll(ctx, time.Millisecond, func() (bool, error) {
		conn, err := net.Dial("unix", a.control)
		if err != nil {
			return false, a.ended()
		}
		return true, conn.Close()
	})
}

// wait returns when all that was done before is in force.
func (a *agent) wait(ctx context.Context) (status, error) {
	if err := a.ready(ctx); err != nil {
		return status{}, err
	}
	return a.status(ctx, "--wait", "--timeout", "300s")
}

func (a *agent) status(ctx context.Context, args ...string) (s status, err error) {
	out, err := runOutput(ctx, a.program, append([]string{"status", "--control", a.control, "-o", "json"}, args...)...)
	if err != nil {
		if gone := a.ended(); gone != nil {
			return s, gone
		}
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// stop ends the agent as an operator does, and by force if that takes long.
func (a *agent) stop() error {
	if err := a.ended(); err != nil {
		return err
	}
	_ = a.cmd.Process.Signal(syscall.SIGTERM) // reaped meanwhile: done says so
	select {
	case <-a.done:
	case <-time.After(20 * time.Second):
		_ = a.cmd.Process.Kill()
		<-a.done
	}
	return nil
}
