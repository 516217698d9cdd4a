package flows

import (
	"cmp"
	"fmt"
	"strings"
)

// Key identifies a flow: a table has at most one flow with the same priority and
// match.
type Key struct {
	Table    Table
	Priority uint16
	Match    Match
}

// Flow is an OpenFlow flow. Comparable.
type Flow struct {
	Key
	Cookie  Cookie
	Actions Actions
	// Idle and Hard are the seconds after which the switch removes the flow;
	// 0, as in all flows that the agent makes: it stays.
	Idle, Hard uint16
}

// Compare orders flows by table, then from the highest priority to the lowest,
// then by the match in wire form.
func (k Key) Compare(o Key) int {
	return cmp.Or(int(k.Table)-int(o.Table), int(o.Priority)-int(k.Priority), strings.Compare(k.Match.oxm, o.Match.oxm))
}

// String returns the line of ovs-ofctl -O OpenFlow14 --no-stats --no-names
// dump-flows, without the leading space.
func (f Flow) String() string {
	var b strings.Builder
	if f.Cookie != 0 {
		fmt.Fprintf(&b, "cookie=%s, ", f.Cookie)
	}
	if f.Table != 0 {
		fmt.Fprintf(&b, "table=%d, ", uint8(f.Table))
	}
	if f.Idle != 0 {
		fmt.Fprintf(&b, "idle_timeout=%d, ", f.Idle)
	}
	if f.Hard != 0 {
		fmt.Fprintf(&b, "hard_timeout=%d, ", f.Hard)
	}
	match := f.Match.String()
	if f.Priority != 0x8000 {
		fmt.Fprintf(&b, "priority=%d", f.Priority)
		if match != "" {
			b.WriteByte(',')
		}
	}
	b.WriteString(match)
	b.WriteString(" actions=")
	b.WriteString(f.Actions.String())
	return b.String()
}
