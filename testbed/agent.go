package testbed

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Agent is "ovs-sg agent" on a switch, driven as an operator drives it.
type Agent struct {
	Control string    // path of its control socket
	Started time.Time // the moment before

	program, log string
	cmd          *exec.Cmd
	done         <-chan struct{} // closed when the process has been reaped
}

// StartAgent starts the program as the agent of the bridge and does not wait
// for it. The directory holds policy and state, which must be there; the
// control socket and agent.log come beside them. The kernel kills the agent
// when the calling thread ends: lock the goroutine to one that stays.
func (o *OVS) StartAgent(program, dir string, args ...string) (*Agent, error) {
	a := &Agent{Control: filepath.Join(dir, "control.sock"), program: program, log: filepath.Join(dir, "agent.log")}
	log, err := os.Create(a.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	a.cmd = exec.Command(program, append([]string{"agent", "--ovsdb", o.DB(), "--bridge", o.Bridge(), "--control", a.Control,
		"--policy-dir", filepath.Join(dir, "policy"), "--state-dir", filepath.Join(dir, "state")}, args...)...)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	// A group of its own: Ctrl-C is for this program, which then ends it.
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	a.Started = time.Now()
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	a.done = reap(a.cmd)
	return a, nil
}

// PID returns the agent's process id.
func (a *Agent) PID() int { return a.cmd.Process.Pid }

// Ready returns when the control socket answers.
func (a *Agent) Ready(ctx context.Context) error {
	return Poll(ctx, time.Millisecond, func() (bool, error) {
		conn, err := net.Dial("unix", a.Control)
		if err != nil {
			return false, a.ended()
		}
		return true, conn.Close()
	})
}

// Status returns the output of "ovs-sg status".
func (a *Agent) Status(ctx context.Context, args ...string) (string, error) {
	out, err := Output(exec.CommandContext(ctx, a.program, append([]string{"status", "--control", a.Control}, args...)...))
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = ctx.Err()
	default:
		if gone := a.ended(); gone != nil {
			err = gone
		}
	}
	return out, err
}

// Stop ends the agent as an operator does, and by force after the limit. The
// error, with the log, says that the agent had ended by itself.
func (a *Agent) Stop(limit time.Duration) error {
	if err := a.ended(); err != nil {
		return err
	}
	end(a.cmd, a.done, syscall.SIGTERM, limit)
	return nil
}

// ended returns an error, with the log, when the agent is not running any more.
func (a *Agent) ended() error {
	select {
	case <-a.done:
		text, _ := os.ReadFile(a.log)
		return fmt.Errorf("the agent ended: %s\n%s", a.cmd.ProcessState, text)
	default:
		return nil
	}
}
