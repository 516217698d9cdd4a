package testbed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// nursery starts the daemons from one operating system thread, which lives until
// close: Pdeathsig fires when the thread that forked ends, and Go ends a thread
// whose goroutine exits while locked to it.
type nursery struct {
	calls chan func()
}

func newNursery() *nursery {
	n := &nursery{calls: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range n.calls {
			f()
		}
	}()
	return n
}

func (n *nursery) close() { close(n.calls) }

// daemon is a child process that is expected to run until it is stopped.
type daemon struct {
	name    string
	cmd     *exec.Cmd
	stopped atomic.Bool     // by stop, not by itself
	done    <-chan struct{} // closed when the process has been reaped
}

// start runs a daemon in the namespace, or in ours when it is nil.
func (n *nursery) start(ns *namespace, dir string, argv ...string) (*daemon, error) {
	d := &daemon{name: filepath.Base(argv[0])}
	d.cmd = exec.Command(argv[0], argv[1:]...)
	d.cmd.Dir = dir
	d.cmd.Env = append(os.Environ(), runEnv(dir)...)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// What a daemon prints before its log file is open says why it failed.
	out, err := os.OpenFile(filepath.Join(dir, d.name+".out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	d.cmd.Stdout, d.cmd.Stderr = out, out

	started := make(chan error)
	n.calls <- func() {
		if ns == nil {
			started <- d.cmd.Start()
			return
		}
		started <- ns.do(d.cmd.Start)
	}
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", d.name, err)
	}
	d.done = reap(d.cmd)
	return d, nil
}

// reap waits for a process that has started, and closes the channel.
func reap(cmd *exec.Cmd) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ProcessState says how it ended
		close(done)
	}()
	return done
}

// end signals a process that is being reaped, and kills it at the limit.
func end(cmd *exec.Cmd, done <-chan struct{}, sig os.Signal, limit time.Duration) {
	_ = cmd.Process.Signal(sig) // reaped meanwhile: done says so
	select {
	case <-done:
	case <-time.After(limit):
		_ = cmd.Process.Kill()
		<-done
	}
}

// stop kills the daemon by its process id and waits until it is gone. It
// reports a daemon that had already ended by itself.
func (d *daemon) stop(sig os.Signal) error {
	if d == nil || d.stopped.Swap(true) {
		return nil
	}
	select {
	case <-d.done:
		return d.ended()
	default:
	}
	end(d.cmd, d.done, sig, 5*time.Second)
	return nil
}

// ended describes how the daemon ended; only after done.
func (d *daemon) ended() error {
	return fmt.Errorf("%s ended by itself: %s", d.name, d.cmd.ProcessState)
}

func (d *daemon) running() bool {
	if d == nil || d.stopped.Load() {
		return false
	}
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// runEnv makes every Open vSwitch program use dir and nothing else.
func runEnv(dir string) []string {
	return []string{"OVS_RUNDIR=" + dir, "OVS_LOGDIR=" + dir, "OVS_DBDIR=" + dir, "OVS_SYSCONFDIR=" + dir}
}
