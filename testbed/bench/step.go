package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// batch is how many packets Open vSwitch takes at once, and stepped how many
// are enough to count instructions: on some machines a step takes 0.1 ms.
const batch, stepped = 32, 8

// instructions counts what the switch executes in user space for one batch of
// frames, from the return of the system call that received them to the next one
// that receives or waits. The thread is stepped instruction by instruction:
// slow, but what is counted does not depend on the machine or its load, and
// the cost of the devices, which is the kernel's, is not in it.
//
// This program is the parent of the switch and waits for its end, and would take
// each stop of the switch for the end. So a second process of this program does
// the tracing.
func (w *wire) instructions(frames [][]byte) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	if err := waitIdle(w.lab.b.ctx, w.ovs.SwitchdPID()); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(w.lab.b.ctx, self, "--step", strconv.Itoa(w.ovs.SwitchdPID()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	lines := bufio.NewReader(out)
	text := ""
	if _, err = lines.ReadString('\n'); err == nil { // the thread has stopped
		err = send(w.tx, frames...)
		in.Close()
		if err == nil {
			text, err = lines.ReadString('\n')
		}
	}
	if ended := cmd.Wait(); ended != nil {
		return 0, fmt.Errorf("step: %w: %s", ended, bytes.TrimSpace(stderr.Bytes()))
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(text))
}

// tracer steps one thread of another process.
type tracer struct {
	tid int
}

// traceBatch is the main function of the second process. It stops the thread,
// prints a line, waits for the end of its input and prints how many instructions
// the next batch took.
func traceBatch(tid int) error {
	t := tracer{tid}
	if err := unix.PtraceSeize(tid); err != nil {
		return fmt.Errorf("trace %d: %w", tid, err)
	}
	// The thread goes on when this process ends, however it ends.
	if err := unix.PtraceInterrupt(tid); err != nil {
		return err
	}
	if err := t.wait(); err != nil {
		return err
	}
	fmt.Println("stopped")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err == nil {
		return fmt.Errorf("unexpected input")
	}
	if err := t.untilReceived(); err != nil {
		return err
	}
	n, err := t.count()
	if err != nil {
		return err
	}
	fmt.Println(n)
	return unix.PtraceDetach(tid)
}

func (t tracer) wait() error {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(t.tid, &status, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err == nil && !status.Stopped() {
			err = fmt.Errorf("ovs-vswitchd ended while it was traced")
		}
		return err
	}
}

// untilReceived runs from system call to system call until one has received a
// whole batch. The thread wakes up by itself now and then, so this ends.
func (t tracer) untilReceived() error {
	var regs unix.PtraceRegs
	for range 1000 {
		if err := unix.PtraceSyscall(t.tid, 0); err != nil {
			return err
		}
		if err := t.wait(); err != nil {
			return err
		}
		if err := unix.PtraceGetRegs(t.tid, &regs); err != nil {
			return err
		}
		if regs.Orig_rax == unix.SYS_RECVMMSG && regs.Rax == stepped {
			return nil
		}
	}
	return fmt.Errorf("ovs-vswitchd receives no batch of %d frames", stepped)
}

// count steps until the thread receives or waits again.
func (t tracer) count() (int, error) {
	var regs unix.PtraceRegs
	calls := map[uint64]bool{} // addresses: whether there is a syscall instruction
	for n := range 4_000_000 {
		if err := unix.PtraceGetRegs(t.tid, &regs); err != nil {
			return 0, err
		}
		call, known := calls[regs.Rip]
		if !known {
			var code [2]byte
			if _, err := unix.PtracePeekText(t.tid, uintptr(regs.Rip), code[:]); err != nil {
				return 0, err
			}
			call = code == [2]byte{0x0f, 0x05}
			calls[regs.Rip] = call
		}
		if call && (regs.Rax == unix.SYS_RECVMMSG || regs.Rax == unix.SYS_POLL || regs.Rax == unix.SYS_PPOLL) {
			return n, nil
		}
		if err := unix.PtraceSingleStep(t.tid); err != nil {
			return 0, err
		}
		if err := t.wait(); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("the batch does not end")
}
