package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-sg/ovs-sg/flows"
)

// flow is a line of a flow dump, in text without duration and n_bytes.
type flow struct {
	text     string
	cookie   flows.Cookie
	duration float64
	table    string
}

var flowParts = regexp.MustCompile(`^cookie=(0x[0-9a-f]+), duration=([0-9.]+)s, table="?(\w+)"?, (n_packets=\d+), n_bytes=\d+, (.*)$`)

func parseFlows(dump string) []flow {
	var all []flow
	for line := range strings.Lines(dump) {
		parts := flowParts.FindStringSubmatch(strings.TrimSpace(line))
		if parts == nil {
			continue
		}
		cookie, _ := strconv.ParseUint(parts[1], 0, 64)
		f := flow{cookie: flows.Cookie(cookie), table: parts[3]}
		f.duration, _ = strconv.ParseFloat(parts[2], 64)
		f.text = fmt.Sprintf("cookie=%s, table=%s, %s, %s", parts[1], parts[3], parts[4], parts[5])
		all = append(all, f)
	}
	return all
}

// showFlows prints some of the flows: those that the change made, and those that
// count packets for the host that lost a rule.
func (d *demo) showFlows() error {
	text, err := d.ovs.Ofctl("--names", "dump-flows", d.ovs.Bridge())
	if err != nil {
		return err
	}
	all := parseFlows(text)
	web := d.host("web")
	ofport := uint64(web.OFPort())
	title(fmt.Sprintf("Some of the %d flows: OVS_RUNDIR=... ovs-ofctl -O OpenFlow14 --names dump-flows %s", len(all), d.ovs.Bridge()))
	print := func(comment string, want func(flow) bool) {
		fmt.Printf("# %s\n", comment)
		for _, f := range all {
			if want(f) {
				fmt.Println(f.text)
			}
		}
	}
	classify := flows.TableClassify.String()
	print(fmt.Sprintf("The port of web. Cookies of a VM port end in its ofport, here %d.", ofport), func(f flow) bool {
		return f.table == classify && f.cookie.Kind() == flows.KindPort && f.cookie.Object() == ofport
	})
	if rule, ok := newestRule(all); ok {
		print("The new rule: the flows that allow, which count, and the clauses of a conjunction, if it is one.", func(f flow) bool {
			return f.cookie == rule.cookie ||
				conjID(rule) != "" && f.table == rule.table && strings.Contains(f.text, "conjunction("+conjID(rule)+",")
		})
	}
	deny := flows.TableDeny.String()
	print(fmt.Sprintf("What was denied to web and from web; reg12 says why: %d is no egress rule, %d no ingress rule.",
		flows.CauseEgress, flows.CauseIngress), func(f flow) bool {
		return f.table == deny && f.cookie.Kind() == flows.KindPort && f.cookie.Object() == ofport
	})
	return nil
}

// newestRule returns a flow of the rule that the change added.
func newestRule(all []flow) (flow, bool) {
	var rules []flow
	for _, f := range all {
		if f.cookie.Kind() == flows.KindRule {
			rules = append(rules, f)
		}
	}
	if len(rules) == 0 {
		return flow{}, false
	}
	return slices.MinFunc(rules, func(a, b flow) int { return int(1000 * (a.duration - b.duration)) }), true
}

func conjID(f flow) string {
	_, rest, found := strings.Cut(f.text, "conj_id=")
	if !found {
		return ""
	}
	id, _, _ := strings.Cut(rest, " ")
	id, _, _ = strings.Cut(id, ",")
	return id
}
