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

// agent is the running program, driven as an operator drives it.
type agent struct {
	program, control, log string
	version               string
	cmd                   *exec.Cmd
	done                  chan struct{}
}

// status is the part of "ovs-sg status -o json" that is shown.
type status struct {
	OVS      string `json:"ovsVersion"`
	Datapath string `json:"datapathType"`
	Flows    int    `json:"flows"`
	Last     struct {
		Added    int           `json:"added"`
		Modified int           `json:"modified"`
		Deleted  int           `json:"deleted"`
		Took     time.Duration `json:"tookNanoseconds"`
		Compile  time.Duration `json:"compileNanoseconds"`
		Switch   time.Duration `json:"switchNanoseconds"`
	} `json:"lastChange"`
}

func startAgent(d *demo) (*agent, error) {
	a := &agent{
		program: d.program,
		control: filepath.Join(d.dir, "control.sock"), log: filepath.Join(d.dir, "agent.log"),
		done: make(chan struct{}),
	}
	out, err := exec.Command(a.program, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s version: %w", a.program, err)
	}
	a.version = strings.TrimSpace(string(out))
	log, err := os.Create(a.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	a.cmd = exec.Command(a.program, "agent", "--ovsdb", d.ovs.DB(), "--bridge", d.ovs.Bridge(),
		"--policy-dir", filepath.Join(d.dir, "policy"), "--state-dir", filepath.Join(d.dir, "state"), "--control", a.control)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	// A group of its own: Ctrl-C is for this program, which then ends it.
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = a.cmd.Wait() // ProcessState says how it ended
		close(a.done)
	}()
	return a, nil
}

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

// wait returns when all that was done before is in force.
func (a *agent) wait(ctx context.Context) (status, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var s status
	err := testbed.Poll(ctx, 2*time.Millisecond, func() (bool, error) {
		conn, err := net.Dial("unix", a.control)
		if err != nil {
			return false, a.ended()
		}
		return true, conn.Close()
	})
	if err != nil {
		return s, err
	}
	out, err := a.status(ctx, "--wait", "-o", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// status is the output of "ovs-sg status".
func (a *agent) status(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, a.program, append([]string{"status", "--control", a.control}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err != nil:
		if gone := a.ended(); gone != nil {
			return "", gone
		}
		err = fmt.Errorf("ovs-sg status: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), err
}

// stop ends the agent as an operator does, and by force if that takes long.
func (a *agent) stop() error {
	if err := a.ended(); err != nil {
		return err
	}
	_ = a.cmd.Process.Signal(syscall.SIGTERM) // reaped meanwhile: done says so
	select {
	case <-a.done:
	case <-time.After(5 * time.Second):
		_ = a.cmd.Process.Kill()
		<-a.done
	}
	return nil
}
