package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

var (
	tcpPorts = []uint16{22, 80, 443, 8080, 3306}
	udpPorts = []uint16{53}
)

// service is a service that is tried between each pair of hosts.
type service struct {
	name, proto string
	port        uint16
}

var services = func() (all []service) {
	for _, p := range tcpPorts {
		all = append(all, service{fmt.Sprint(p), "tcp", p})
	}
	for _, p := range udpPorts {
		all = append(all, service{fmt.Sprintf("udp%d", p), "udp", p})
	}
	return append(all, service{"ping", "ping", 0})
}()

// patience is how long a probe waits for its answer. The demonstration expects no
// result of a probe, so all probes wait equally long.
const patience = 800 * time.Millisecond

// matrix says which host reached which: the services that passed from names[from]
// to names[to], each with the address families over which it passed.
type matrix struct {
	names []string
	cells map[[2]int][]reached
}

type reached struct {
	service int
	v4, v6  bool
}

func (d *demo) probeAll(ctx context.Context) (matrix, error) {
	m := matrix{cells: map[[2]int][]reached{}}
	var probes []testbed.Probe
	var cells [][2]int
	for i, from := range d.hosts {
		m.names = append(m.names, from.Name)
		for j, to := range d.hosts {
			if i == j {
				continue
			}
			for _, s := range services {
				for k, at := range to.at {
					probes = append(probes, testbed.Probe{Proto: s.proto, From: from.Host, Src: from.at[k],
						To: netip.AddrPortFrom(at, s.port), Timeout: patience})
				}
			}
			cells = append(cells, [2]int{i, j})
		}
	}
	results := testbed.Matrix(ctx, probes, 200)
	if err := ctx.Err(); err != nil {
		return m, err
	}
	for _, c := range cells {
		for s := range services {
			r := reached{service: s}
			for range d.hosts[c[1]].at {
				result := results[0]
				results = results[1:]
				if result.Err != nil {
					return m, fmt.Errorf("probe %s to %s: %w", d.hosts[c[0]].Name, d.hosts[c[1]].Name, result.Err)
				}
				if result.Probe.To.Addr().Is4() {
					r.v4 = result.Reachable
				} else {
					r.v6 = result.Reachable
				}
			}
			if r.v4 || r.v6 {
				m.cells[c] = append(m.cells[c], r)
			}
		}
	}
	return m, nil
}

func (m matrix) cell(from, to int) string {
	var words []string
	all := true
	for _, r := range m.cells[[2]int{from, to}] {
		word := services[r.service].name
		switch {
		case !r.v6:
			word, all = word+"(IPv4)", false
		case !r.v4:
			word, all = word+"(IPv6)", false
		}
		words = append(words, word)
	}
	switch {
	case from == to:
		return ""
	case len(words) == 0:
		return "-"
	case len(words) == len(services) && all:
		return "all"
	}
	return strings.Join(words, " ")
}

func (m matrix) table() string {
	rows := [][]string{append([]string{"from \\ to"}, m.names...)}
	for i, name := range m.names {
		row := []string{name}
		for j := range m.names {
			row = append(row, m.cell(i, j))
		}
		rows = append(rows, row)
	}
	var b strings.Builder
	b.WriteString(columns(rows))
	b.WriteString("\nA number is a TCP port, udp53 is DNS, - is nothing, all is")
	for _, s := range services {
		b.WriteString(" " + s.name)
	}
	b.WriteString(".\n")
	return b.String()
}

// differences lists the cells that two matrices do not have in common.
func differences(before, after matrix) string {
	rows := [][]string{}
	for i, from := range before.names {
		for j, to := range before.names {
			if was, is := before.cell(i, j), after.cell(i, j); was != is {
				rows = append(rows, []string{from, "to " + to, was, "=> " + is})
			}
		}
	}
	if len(rows) == 0 {
		return "none\n"
	}
	return columns(rows)
}

// columns aligns rows of one length.
func columns(rows [][]string) string {
	var b strings.Builder
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			width[i] = max(width[i], len(text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, text := range row {
			fmt.Fprintf(&line, "%-*s  ", width[i], text)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}
