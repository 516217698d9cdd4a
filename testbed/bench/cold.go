package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// start is the measurements of one start of the agent.
type start struct {
	force  time.Duration // until the last flow took effect
	waited time.Duration // until "status --wait" returned
	cpu    time.Duration // of the agent by then
	rss    int           // when the agent had nothing more to do
	peak   int
}

// coldTime is how long one size may take before its turns are cut to two.
const coldTime = 30 * time.Second

// cold starts the agent on an empty switch, with and without the state directory
// of an earlier agent, and in turns has ovs-ofctl add the same flows to the same
// switch.
func (b *bench) cold() error {
	for _, n := range b.sizes {
		if n < 1000 {
			continue
		}
		if err := b.coldAt(n); err != nil {
			return fmt.Errorf("%d members: %w", n, err)
		}
	}
	return nil
}

func (b *bench) coldAt(n int) error {
	l, err := b.group(n, local)
	if err != nil {
		return err
	}
	defer l.close()
	repeat := b.repeat
	if n >= 10_000 {
		repeat = min(repeat, 3)
	}
	dumped := l.beside("flows")
	var colds, warms, adds, coldCPU, warmCPU []time.Duration
	var waits []time.Duration
	var rss, peak []int
	began := time.Now()
	for i := range repeat {
		if i >= 2 && time.Since(began) > coldTime {
			break
		}
		if err := l.forget(); err != nil {
			return err
		}
		c, err := l.start()
		if err != nil {
			return err
		}
		if i == 0 {
			if err := l.dump(dumped); err != nil {
				return err
			}
		}
		add, err := l.addFlows(dumped)
		if err != nil {
			return err
		}
		w, err := l.start()
		if err != nil {
			return err
		}
		colds, warms, adds = append(colds, c.force), append(warms, w.force), append(adds, add)
		coldCPU, warmCPU = append(coldCPU, c.cpu), append(warmCPU, w.cpu)
		waits = append(waits, c.waited)
		rss, peak = append(rss, c.rss), append(peak, c.peak)
	}
	limit := median(adds)
	goal := 3.0
	if n < 10_000 {
		goal = 1.5 + float64(50*time.Millisecond)/float64(limit)
	}
	name := thousands(n) + " members"
	line := func(what string, d []time.Duration, goal float64) row {
		return row{what: what + ", " + name, ours: ms(median(d)), limit: ms(limit), ratio: ratioOf(d, adds), goal: goal}
	}
	b.report.add(line("cold start until in force", colds, goal),
		line("the same with a warm state directory", warms, goal),
		line("cold start until `status --wait` returns", waits, 0),
		line("processor time of the agent, cold", coldCPU, 0),
		line("processor time of the agent, warm", warmCPU, 0))
	mem := row{what: "memory of the settled agent, " + name, ours: mb(median(rss)), limit: "-"}
	switch n {
	case 10_000:
		mem.limit, mem.ratio, mem.goal = "60 MB", float64(median(rss))/60e6, 1
	case 100_000:
		mem.limit, mem.ratio, mem.goal = "300 MB", float64(median(rss))/300e6, 1
	}
	b.report.add(mem, row{what: "its peak, " + name, ours: mb(median(peak))})
	return nil
}

func mb(n int) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

// empty removes all flows and waits until the switch has freed them.
func (l *lab) empty() error {
	if err := l.ofctl(l.b.ctx, "del-flows", l.ovs.Bridge()).Run(); err != nil {
		return fmt.Errorf("del-flows: %w", err)
	}
	return waitIdle(l.b.ctx, l.ovs.SwitchdPID())
}

// addFlows times ovs-ofctl from start to end.
func (l *lab) addFlows(file string) (time.Duration, error) {
	if err := l.empty(); err != nil {
		return 0, err
	}
	cmd := l.ofctl(l.b.ctx, "--bundle", "add-flows", l.ovs.Bridge(), file)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("add-flows: %w: %s", err, out)
	}
	return took, nil
}

// start starts an agent on the emptied switch, measures and ends it. Its flows
// stay.
func (l *lab) start() (s start, err error) {
	if err := l.empty(); err != nil {
		return s, err
	}
	// One table is enough to tell when the bundle took effect; watching all
	// tables would cost the switch time.
	m, err := l.watch(l.b.ctx, "!initial,table=0")
	if err != nil {
		return s, err
	}
	defer m.close()
	a, err := l.startAgent()
	if err != nil {
		return s, err
	}
	defer func() {
		if stopped := a.stop(); err == nil {
			err = stopped
		}
	}()
	if _, err := a.wait(l.b.ctx); err != nil {
		return s, err
	}
	s.waited = time.Since(a.Started)
	if s.cpu, err = cpuTime(a.PID()); err != nil {
		return s, err
	}
	// The monitor may lag behind.
	if err := waitIdle(l.b.ctx, a.PID(), l.ovs.SwitchdPID(), m.cmd.Process.Pid); err != nil {
		return s, err
	}
	short, cancel := context.WithTimeout(l.b.ctx, 10*time.Second)
	defer cancel()
	err = testbed.Poll(short, time.Millisecond, func() (bool, error) { return m.latest().After(a.Started), nil })
	if err != nil {
		return s, fmt.Errorf("no flow was seen to take effect: %w", err)
	}
	s.force = m.latest().Sub(a.Started)
	if s.rss, err = memory(a.PID(), "VmRSS"); err == nil {
		s.peak, err = memory(a.PID(), "VmHWM")
	}
	return s, err
}
