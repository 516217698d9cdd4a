package main

import (
	"fmt"
	"time"
)

// manyRules is how many rules the larger group has.
const manyRules = 5000

// fewRules lets the group in on the port of the open connection and on the block
// of ports. largeGroup does the same with a rule for each port, and has as many
// rules again for ports and addresses that no packet has.
func fewRules() string {
	return groupHead + "  - {direction: Egress}\n  - " + selfRule("UDP", openPort) + fmt.Sprintf(
		"\n  - {direction: Ingress, protocol: UDP, port: %d, endPort: %d, remote: {securityGroupRef: {name: all}}}\n",
		firstPort, firstPort+manyPorts-1)
}

func largeGroup() string {
	text := groupHead + "  - {direction: Egress}\n  - " + selfRule("UDP", openPort) + "\n"
	for i := range manyRules - 1 {
		rule := cidrRule("UDP", firstPort+i, fmt.Sprintf("172.%d.%d.%d/32", 16+i>>8&15, i&0xff, i*7&0xff))
		if i < manyPorts {
			rule = cidrRule("UDP", firstPort+i, vmAddr(10, 1)+"/32")
		}
		text += "  - " + rule + "\n"
	}
	return text
}

// conns measures what a new connection costs the switch: one packet each, from
// another source port each.
func (b *bench) conns() error {
	b.progress("new connections, %s each", thousands(b.config.conns))
	few, err := b.guardedWire("few rules", fewRules())
	if err != nil {
		return err
	}
	defer few.close()
	many, err := b.guardedWire("5,000 rules", largeGroup())
	if err != nil {
		return err
	}
	defer many.close()
	least, err := b.minimalWire()
	if err != nil {
		return err
	}
	defer least.close()
	each, err := b.minimalWire(perPort()...)
	if err != nil {
		return err
	}
	defer each.close()
	each.name = "a flow for each port"
	wires := []*wire{few, many, least, each}

	if err := b.sameService(wires); err != nil {
		return err
	}
	b.report.add(costRow("processor time per new connection to one port, few rules", few, least, 0),
		costRow("the same, 5,000 rules in the group", many, least, 0),
		costRow("5,000 rules against few", many, few, 1/0.8)) // a fall by 20 %
	rate := func(w *wire) float64 { return 1 / median(w.costs).Seconds() }
	b.report.add(
		row{what: "new connections a second of one core, few rules", ours: thousands(int(rate(few))), limit: thousands(int(rate(least))),
			ratio: rate(few) / rate(least), goal: 0.9, under: true},
		row{what: "the same, 5,000 rules in the group", ours: thousands(int(rate(many))), limit: thousands(int(rate(least))),
			ratio: rate(many) / rate(least), goal: 0.9, under: true})
	for _, w := range wires {
		b.report.note("%s: to one port, %d megaflows, %.2f look-ups per connection.", w.name, w.megaflow, w.lookupsEach)
	}

	if err := b.manyServices(wires); err != nil {
		return err
	}
	b.report.add(costRow("processor time per new connection, each to another port, from an empty cache, few rules", few, least, 0),
		costRow("the same, 5,000 rules; the limit has a flow for each, and so a megaflow", many, each, 0))
	for _, w := range wires {
		b.report.note("%s: to 1,000 ports, %d megaflows.", w.name, w.megaflow)
	}
	return nil
}

// perPort returns a flow for each rule of largeGroup: the smallest pipeline that
// looks at the port.
func perPort() (flows []string) {
	for i := range manyRules {
		flows = append(flows, fmt.Sprintf("table=1,priority=40000,udp,in_port=1,ct_state=+trk+new,nw_src=%s,tp_dst=%d actions=ct(commit),output:2",
			vmAddr(10, 1), firstPort+i))
	}
	return flows
}

// sameService opens connections to one port, in bursts that take turns.
func (b *bench) sameService(wires []*wire) error {
	for _, w := range wires {
		if err := w.forget(); err != nil {
			return err
		}
		// The first packets set up the megaflows.
		for i := range 20 {
			if err := w.burst(w.fresh(1000+i*burstSize, burstSize)); err != nil {
				return err
			}
		}
		w.costs = nil
	}
	for n := range b.config.conns / burstSize {
		for _, w := range wires {
			if err := w.burst(w.fresh(10_000+n*burstSize%50_000, burstSize)); err != nil {
				return err
			}
		}
	}
	for _, w := range wires {
		if err := w.countEach(); err != nil {
			return err
		}
	}
	return nil
}

// fresh returns frames to the same port from source ports that follow one
// another.
func (w *wire) fresh(from, n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = w.frame(uint16(from+i), openPort)
	}
	return frames
}

// countEach counts look-ups per new connection, and megaflows.
func (w *wire) countEach() error {
	before, err := w.lookups()
	if err != nil {
		return err
	}
	if err := w.burst(w.fresh(62_000, burstSize)); err != nil {
		return err
	}
	after, err := w.lookups()
	if err != nil {
		return err
	}
	w.lookupsEach = float64(after-before) / burstSize
	flows, err := w.ovs.Megaflows()
	w.megaflow = len(flows)
	return err
}

// manyServices opens a connection to each of a thousand ports, from an empty
// cache: where the rules look at the port, each connection is the first of its
// kind.
func (b *bench) manyServices(wires []*wire) error {
	for _, w := range wires {
		w.costs = nil
	}
	for range b.repeat {
		for _, w := range wires {
			if err := w.forget(); err != nil {
				return err
			}
			pid := w.ovs.SwitchdPID()
			if err := waitIdle(b.ctx, pid); err != nil {
				return err
			}
			before, err := cpuTime(pid)
			if err != nil {
				return err
			}
			for port := 0; port < manyPorts; port += burstSize {
				var frames [][]byte
				for i := port; i < min(port+burstSize, manyPorts); i++ {
					frames = append(frames, w.frame(uint16(1000+i), uint16(firstPort+i)))
				}
				if err := send(w.tx, frames...); err != nil {
					return err
				}
				if err := w.arrived(len(frames)); err != nil {
					return err
				}
			}
			after, err := cpuTime(pid)
			if err != nil {
				return err
			}
			w.costs = append(w.costs, (after-before)/time.Duration(manyPorts))
			flows, err := w.ovs.Megaflows()
			if err != nil {
				return err
			}
			w.megaflow = len(flows)
		}
	}
	return nil
}
