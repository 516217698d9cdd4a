package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/openflow"
)

// kind is one kind of change. The time of prepare does not count; undo takes the
// change back, and may be a kind of its own.
type kind struct {
	name    string
	prepare func() error
	do      func() error
	undo    *kind
	port    bool // the time begins when the switch reports the port
}

// timed is the measurements of a kind.
type timed struct {
	force  []time.Duration // from the rename to the first flow in force
	agent  []time.Duration // the agent's own figure
	limits []time.Duration // the same flows by an open connection
	flows  int             // that the agent sent
}

// change measures single changes, one at a time, on a calm machine.
func (b *bench) change() error {
	first := map[string]time.Duration{}
	for _, n := range b.sizes {
		results, err := b.changeAt(n)
		if err != nil {
			return fmt.Errorf("%d members: %w", n, err)
		}
		for _, name := range results.names {
			r := results.of[name]
			mid, limit := median(r.force), median(r.limits)
			b.report.add(row{what: fmt.Sprintf("%s, %s members, messages: %d", name, thousands(n), r.flows),
				ours:  fmt.Sprintf("%s, p99 %s; agent %s", ms(mid), ms(quantile(r.force, 0.99)), ms(median(r.agent))),
				limit: ms(limit), ratio: ratioOf(r.force, r.limits)})
			if n == b.sizes[0] {
				first[name] = mid
			} else if n == b.sizes[len(b.sizes)-1] {
				b.report.add(row{what: fmt.Sprintf("%s, growth from %s to %s members", name, thousands(b.sizes[0]), thousands(n)),
					ours: ms(mid), limit: ms(first[name]), ratio: float64(mid) / float64(first[name])})
			}
		}
		b.report.note("%s members: %d to %d changes of each kind.", thousands(n), results.least, results.most)
	}
	return nil
}

type changes struct {
	names       []string
	of          map[string]*timed
	least, most int
}

// changer is a lab in which changes are made.
type changer struct {
	*lab
	agent agent
	mon   *monitor
	twin  *twin
	out   changes
}

func (b *bench) changeAt(n int) (changes, error) {
	l, err := b.group(n, local)
	if err != nil {
		return changes{}, err
	}
	defer l.close()
	a, _, err := l.enforce()
	if err != nil {
		return changes{}, err
	}
	defer a.stop()
	c := &changer{lab: l, agent: a, out: changes{of: map[string]*timed{}}}
	if c.twin, err = l.newTwin(); err != nil {
		return changes{}, err
	}
	defer c.twin.close()
	if c.mon, err = l.watch(b.ctx, "!initial"); err != nil {
		return changes{}, err
	}
	defer c.mon.close()
	for _, k := range c.kinds(n) {
		if err := c.measure(k); err != nil {
			return changes{}, fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return c.out, nil
}

// kinds returns the kinds of changes, each with the change that takes it back.
// The member that comes and goes is remote; the member that is plugged has its
// manifest before.
func (c *changer) kinds(n int) []*kind {
	rename := func(name, file, text string) *kind {
		return &kind{name: name,
			prepare: func() error { return os.WriteFile(c.beside(file), []byte(text), 0o644) },
			do:      func() error { return os.Rename(c.beside(file), c.policy(file)) }}
	}
	vsctl := func(name string, args ...string) *kind {
		return &kind{name: name, prepare: func() error { return nil }, do: func() error { return c.vsctl(args...) }}
	}
	last := n - 1 // remote, unless the group is small
	add := rename("member added", memberFile(n), member(n, 10))
	add.undo = &kind{name: "member removed", prepare: func() error { return nil },
		do: func() error { return os.Rename(c.policy(memberFile(n)), c.beside("removed")) }}
	change := rename("member changed", memberFile(last), member(last, 11))
	change.undo = rename("", memberFile(last), member(last, 10))
	rule := rename("rule added", "group.yaml", groupFile(selfRule("TCP", 8443)))
	rule.undo = rename("rule removed", "group.yaml", groupFile())
	plug := vsctl("VM plugged", "add-port", c.ovs.Bridge(), "extra", "--", "set", "Interface", "extra",
		"external_ids:iface-id="+vmName(local), "ofport_request=5000")
	plug.port, plug.undo = true, vsctl("", "del-port", c.ovs.Bridge(), "extra")
	return []*kind{add, change, rule, plug}
}

// calm waits until agent, switch and monitor have nothing more to do.
func (c *changer) calm() error {
	return waitIdle(c.b.ctx, c.agent.PID(), c.ovs.SwitchdPID(), c.mon.cmd.Process.Pid)
}

// vsctl runs ovs-vsctl without waiting for the switch.
func (c *changer) vsctl(args ...string) error {
	cmd := exec.Command("ovs-vsctl", append([]string{"--no-wait"}, args...)...)
	cmd.Env = append(os.Environ(), c.ovs.Env()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

// measure makes a change and takes it back, many times. The first time it learns
// which flows the change sends, so that the twin can be given the same flows.
func (c *changer) measure(k *kind) error {
	if k.port && len(c.out.names) > 0 {
		// The member that will be plugged must be in the policy.
		if _, err := os.Stat(c.policy(memberFile(local))); err != nil {
			if err := c.put(memberFile(local), member(local, 10)); err != nil {
				return err
			}
			if _, err := c.agent.wait(c.b.ctx); err != nil {
				return err
			}
		}
	}
	pair := []*kind{k, k.undo}
	deltas := make([]step, len(pair))
	for i, k := range pair {
		before, err := c.twin.installed(c.b.ctx, c.ovs.Mgmt())
		if err != nil {
			return err
		}
		if _, _, err := c.once(k, 0); err != nil {
			return err
		}
		after, err := c.twin.installed(c.b.ctx, c.ovs.Mgmt())
		if err != nil {
			return err
		}
		deltas[i] = step{before: before, there: flows.Diff(after, before), back: flows.Diff(before, after)}
		if k.name != "" {
			c.out.names = append(c.out.names, k.name)
			c.out.of[k.name] = &timed{}
		}
	}
	began, n := time.Now(), 0
	for n = 1; n <= c.b.changes && (n <= 5 || time.Since(began) < c.b.budget); n++ {
		for i, k := range pair {
			took, s, err := c.once(k, n)
			if err != nil {
				return err
			}
			r := c.out.of[k.name]
			if r == nil {
				continue
			}
			r.force = append(r.force, took)
			if s != nil {
				r.agent = append(r.agent, s.Last.Took)
				r.flows = s.Last.Added + s.Last.Modified + s.Last.Deleted
			}
			limit, err := c.twin.time(c.b.ctx, deltas[i])
			if err != nil {
				return err
			}
			r.limits = append(r.limits, limit)
		}
	}
	n--
	if c.out.least == 0 {
		c.out.least = n
	}
	c.out.least, c.out.most = min(c.out.least, n), max(c.out.most, n)
	return nil
}

// once makes one change, for the n-th time, and returns when the change was in
// force. The first few times it asks the agent for the agent's own figures.
func (c *changer) once(k *kind, n int) (time.Duration, *status, error) {
	if err := k.prepare(); err != nil {
		return 0, nil, err
	}
	if err := c.calm(); err != nil {
		return 0, nil, err
	}
	c.mon.drop()
	began := time.Now()
	err := k.do()
	if err != nil {
		return 0, nil, err
	}
	if k.port {
		if began, err = c.mon.next(c.b.ctx, true); err != nil {
			return 0, nil, err
		}
	}
	seen, err := c.mon.next(c.b.ctx, false)
	if err != nil || n == 0 || n > 10 {
		if err == nil && n == 0 {
			_, err = c.agent.wait(c.b.ctx)
		}
		return seen.Sub(began), nil, err
	}
	if err := c.calm(); err != nil {
		return 0, nil, err
	}
	s, err := c.agent.status(c.b.ctx)
	return seen.Sub(began), &s, err
}

// twin is a second bridge of the same switch with the same flows, on which the
// same changes are made by an open connection and nothing else.
type twin struct {
	conn *openflow.Conn
	has  *flows.Set
}

// step is a change of flows, and the flows before it.
type step struct {
	before      *flows.Set
	there, back flows.Delta
}

const twinBridge = "twin"

func (l *lab) newTwin() (*twin, error) {
	_, err := l.ovs.Vsctl("add-br", twinBridge, "--", "set", "Bridge", twinBridge, "datapath_type=netdev", "fail_mode=secure")
	if err != nil {
		return nil, err
	}
	t := &twin{has: &flows.Set{}}
	t.conn, err = openflow.Dial(l.b.ctx, l.ovs.Dir()+"/"+twinBridge+".mgmt", openflow.Options{EchoInterval: time.Minute})
	return t, err
}

func (t *twin) close() { _ = t.conn.Close() }

// installed returns the flows of a bridge.
func (t *twin) installed(ctx context.Context, path string) (*flows.Set, error) {
	conn, err := openflow.Dial(ctx, path, openflow.Options{EchoInterval: time.Minute})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Dump(ctx)
}

// time makes a step, measures the time until the barrier after the step is
// answered, and takes the step back.
func (t *twin) time(ctx context.Context, s step) (time.Duration, error) {
	if t.has != s.before {
		if err := t.conn.Apply(ctx, flows.Diff(s.before, t.has)); err != nil {
			return 0, err
		}
		t.has = s.before
	}
	began := time.Now()
	if err := t.conn.Apply(ctx, s.there); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, t.conn.Apply(ctx, s.back)
}
