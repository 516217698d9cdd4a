package main

import (
	"fmt"
	"os"
)

// count counts flows. The limits are the flows of a pipeline that shares
// everything that can be shared.
func (b *bench) count() error {
	first, err := b.flowsOf(1000, local, groupFile())
	if err != nil {
		return err
	}
	more, err := b.flowsOf(2000, local, groupFile())
	if err != nil {
		return err
	}
	all, err := b.flowsOf(1000, 1000, groupFile())
	if err != nil {
		return err
	}
	var rules []string
	for i := range 1000 {
		rules = append(rules, cidrRule("TCP", 443, fmt.Sprintf("172.%d.%d.%d/32", 16+i>>8, i&0xff, i*7&0xff)))
	}
	cidrs, err := b.flowsOf(50, 50, groupFile(rules...))
	if err != nil {
		return err
	}
	b.report.add(
		flowRow("1,000 members, 100 local", float64(first), 2400),
		flowRow("one more member", float64(more-first)/1000, 1.1),
		flowRow("1,000 members, all local", float64(all), 13_500),
		flowRow("1,000 CIDR rules on 50 VMs", float64(cidrs), 3000))
	return nil
}

func flowRow(what string, ours, limit float64) row {
	text := func(f float64) string {
		if f < 100 {
			return fmt.Sprintf("%.2f", f)
		}
		return thousands(int(f))
	}
	return row{what: "flows: " + what, ours: text(ours), limit: text(limit), ratio: ours / limit, goal: 1}
}

// flowsOf returns the number of flows that a group and its members take.
func (b *bench) flowsOf(members, local int, group string) (int, error) {
	l, err := b.group(members, local)
	if err != nil {
		return 0, err
	}
	defer l.close()
	if err := l.put("group.yaml", group); err != nil {
		return 0, err
	}
	a, _, err := l.enforce()
	if err != nil {
		return 0, err
	}
	n, err := l.flows()
	if stopped := a.stop(); err == nil {
		err = stopped
	}
	return n, err
}

// dump writes the bridge's flows to a file that add-flows reads.
func (l *lab) dump(file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	cmd := l.ofctl(l.b.ctx, "--no-stats", "--no-names", "dump-flows", l.ovs.Bridge())
	cmd.Stdout = out
	err = cmd.Run()
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}
