package main

import (
	"fmt"
	"strings"
	"time"
)

// burstSize is four batches.
const burstSize = 4 * batch

// path measures what a packet of an open connection costs the switch, with our
// pipeline and with the least stateful one, in turns.
func (b *bench) path() error {
	b.progress("an open connection, %s packets each", thousands(b.packets))
	ours, err := b.guardedWire("ours", groupFile())
	if err != nil {
		return err
	}
	defer ours.close()
	least, err := b.minimalWire()
	if err != nil {
		return err
	}
	defer least.close()
	wires := []*wire{ours, least}
	for _, w := range wires {
		if err := w.open(); err != nil {
			return err
		}
		if err := w.warm(); err != nil {
			return err
		}
		w.costs = nil
	}
	for range b.packets / burstSize {
		for _, w := range wires {
			if err := w.burst(repeated(w.frame(openPort, openPort), burstSize)); err != nil {
				return err
			}
		}
	}
	// The costs of warming up must not be counted.
	b.report.add(costRow("processor time per packet, kernel included", ours, least, 1.03))

	var counts [2][]int
	for range 3 {
		for i, w := range wires {
			// The megaflows may have expired while the other switch was stepped.
			if err := w.warm(); err != nil {
				return err
			}
			n, err := w.instructions(repeated(w.frame(openPort, openPort), stepped))
			if err == nil {
				err = w.arrived(stepped)
			}
			if err != nil {
				return err
			}
			counts[i] = append(counts[i], n)
		}
	}
	o, m := median(counts[0]), median(counts[1])
	b.report.add(row{what: "instructions per packet in user space", ours: thousands(o / stepped), limit: thousands(m / stepped),
		ratio: float64(o) / float64(m), goal: 1.03})
	for _, w := range wires {
		passes, err := w.passes()
		if err != nil {
			return err
		}
		b.report.note("%s: look-ups in the datapath per packet %.2f, megaflows %d.", w.name, passes, w.megaflow)
	}
	return nil
}

// warm sends until the exact match cache, which takes one packet of a hundred,
// has the connection.
func (w *wire) warm() error {
	frames := repeated(w.frame(openPort, openPort), burstSize)
	for range 50 {
		if err := w.burst(frames); err != nil {
			return err
		}
	}
	return nil
}

func repeated(frame []byte, n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = frame
	}
	return frames
}

// costRow compares processor time per packet. The goal is an upper limit.
func costRow(what string, ours, least *wire, goal float64) row {
	us := func(d time.Duration) string { return fmt.Sprintf("%.2f µs", float64(d)/1e3) }
	return row{what: what, ours: us(median(ours.costs)), limit: us(median(least.costs)),
		ratio: ratioOf(ours.costs, least.costs), goal: goal}
}

// passes returns how often the datapath looks a packet of a burst up, by its own
// counters, and counts its megaflows.
func (w *wire) passes() (float64, error) {
	before, err := w.lookups()
	if err != nil {
		return 0, err
	}
	frames := repeated(w.frame(openPort, openPort), burstSize)
	if err := w.burst(frames); err != nil {
		return 0, err
	}
	after, err := w.lookups()
	if err != nil {
		return 0, err
	}
	flows, err := w.ovs.Megaflows()
	w.megaflow = len(flows)
	return float64(after-before) / burstSize, err
}

// lookups returns all look-ups of the main thread so far.
func (w *wire) lookups() (sum int, err error) {
	text, err := w.ovs.Appctl("dpif-netdev/pmd-stats-show")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch key {
		case "packets received", "packet recirculations":
			n := 0
			if _, err := fmt.Sscan(value, &n); err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}
