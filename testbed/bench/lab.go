package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// lab is a switch with a policy directory and, now and then, an agent.
type lab struct {
	b   *bench
	ovs *testbed.OVS
	dir string
}

// newLab starts a switch whose bridge has the datapath type netdev. A dummy one
// simulates the datapath and the devices of its ports, so that a thousand of
// them cost a second; no packet travels. The flow tables are the real ones.
func (b *bench) newLab(dummy bool) (*lab, error) {
	l := &lab{b: b}
	var err error
	if l.dir, err = os.MkdirTemp(b.dir, "lab"); err != nil {
		return nil, err
	}
	for _, d := range []string{"policy", "beside"} {
		if err := os.Mkdir(filepath.Join(l.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if l.ovs, err = testbed.Start(b.ctx, testbed.Options{Dummy: dummy, Datapath: "netdev"}); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *lab) close() {
	if err := l.ovs.Close(); err != nil {
		l.b.progress("%v", err)
	}
	os.RemoveAll(l.dir)
}

func (l *lab) policy(elem ...string) string {
	return filepath.Join(append([]string{l.dir, "policy"}, elem...)...)
}

// forget empties the agent's state directory, if it exists.
func (l *lab) forget() error {
	dir := filepath.Join(l.dir, "state")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	// Writing so many files to the disk is no part of the cost of a start.
	d, err := os.Open(l.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// beside returns a path on the same file system that the agent does not read.
func (l *lab) beside(name string) string { return filepath.Join(l.dir, "beside", name) }

// put renames a file into place.
func (l *lab) put(name, text string) error {
	if err := os.WriteFile(l.beside(name), []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(l.beside(name), l.policy(name))
}

// members writes the files of members number from to to-1. No agent must be
// running.
func (l *lab) members(from, to int) error {
	for i := from; i < to; i++ {
		if err := os.WriteFile(l.policy(memberFile(i)), []byte(member(i, 10)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plug gives members simulated ports, in one transaction.
func (l *lab) plug(from, to int) error {
	var args []string
	for i := from; i < to; i++ {
		args = append(args, "--", "add-port", l.ovs.Bridge(), portName(i),
			"--", "set", "Interface", portName(i), "external_ids:iface-id="+vmName(i), fmt.Sprintf("ofport_request=%d", i+1))
	}
	_, err := l.ovs.Vsctl(args...)
	return err
}

func portName(i int) string { return fmt.Sprintf("tap%d", i) }

// group makes a lab of the standard shape.
func (b *bench) group(members, local int) (*lab, error) {
	b.progress("%s members, %s of them local", thousands(members), thousands(local))
	l, err := b.newLab(true)
	if err != nil {
		return nil, err
	}
	err = l.put("group.yaml", groupFile())
	if err == nil {
		err = l.members(0, members)
	}
	if err == nil {
		err = l.plug(0, min(local, members))
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// enforce starts an agent with an empty state directory and waits for it.
func (l *lab) enforce() (a agent, s status, err error) {
	if err := l.forget(); err != nil {
		return a, s, err
	}
	if a, err = l.startAgent(); err != nil {
		return a, s, err
	}
	if s, err = a.wait(l.b.ctx); err != nil {
		_ = a.stop()
	}
	return a, s, err
}

// ofctl prepares ovs-ofctl with OpenFlow 1.4, without the time limit of the
// testbed.
func (l *lab) ofctl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ovs-ofctl", append([]string{"-O", "OpenFlow14"}, args...)...)
	cmd.Env = append(os.Environ(), l.ovs.Env()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// flows counts the flows of the bridge, as the switch says.
func (l *lab) flows() (int, error) {
	out, err := l.ofctl(l.b.ctx, "dump-aggregate", l.ovs.Bridge()).Output()
	if err != nil {
		return 0, err
	}
	n := 0
	_, after, _ := strings.Cut(string(out), "flow_count=")
	_, err = fmt.Sscan(after, &n)
	return n, err
}
