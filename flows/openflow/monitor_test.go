package openflow

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/contiv/libOpenflow/openflow13"
	"github.com/ovs-sg/ovs-sg/flows"
)

// reported says whether the switch has told of changes by others, all of which
// it does before the reply to a barrier.
func reported(t *testing.T, c *Conn) bool {
	t.Helper()
	if err := c.Barrier(testContext(t)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Foreign():
		return true
	default:
		return false
	}
}

func TestForeign(t *testing.T) {
	o, c := dummy(t)
	if !c.Watched() {
		t.Fatal("not watched")
	}
	mine := flow(flows.TableDeny, 7, flows.Match{}, -1)
	for _, d := range []flows.Delta{{Add: []flows.Flow{mine}}, {Modify: []flows.Flow{mine}}, {Delete: []flows.Flow{mine}}, {Add: []flows.Flow{mine}}} {
		if err := c.Apply(testContext(t), d); err != nil {
			t.Fatal(err)
		}
	}
	if reported(t, c) {
		t.Error("the connection's own changes are reported")
	}
	for _, x := range []struct {
		args []string
		want bool
	}{
		{[]string{"add-flow", "br0", "table=18,priority=1,ip,actions=drop"}, true},
		{[]string{"mod-flows", "br0", "table=16,actions=NORMAL"}, true},
		{[]string{"del-flows", "br0", "table=18"}, true},
		{[]string{"add-flow", "br0", "table=19,priority=1,ip,actions=drop"}, false},
		{[]string{"mod-flows", "br0", "table=19,actions=NORMAL"}, false},
		{[]string{"del-flows", "br0", "table=19"}, false},
		{[]string{"del-flows", "br0"}, true},
	} {
		if out, err := o.Ofctl(x.args...); err != nil {
			t.Fatal(err, out)
		}
		if got := reported(t, c); got != x.want {
			t.Errorf("%v: reported %v", x.args, got)
		}
	}
	// A change of fail_mode flushes the flows over no connection at all.
	if err := c.Apply(testContext(t), flows.Delta{Add: []flows.Flow{mine}}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Vsctl("set", "Bridge", "br0", "fail_mode=standalone"); err != nil {
		t.Fatal(err)
	}
	if !reported(t, c) {
		t.Error("a flush is not reported")
	}
}

// A storm of changes makes Open vSwitch pause its reports, which must not look
// like silence.
func TestForeignStorm(t *testing.T) {
	o, c := dummy(t)
	other := dial(t, o, Options{})
	for range 5 {
		var d flows.Delta
		for port := range uint16(3000) {
			d.Add = append(d.Add, flow(flows.TableDeny, port, flows.Match{}, -1))
		}
		if err := other.Apply(testContext(t), d); err != nil {
			t.Fatal(err)
		}
		if !reported(t, c) {
			t.Error("not reported")
		}
		if err := other.Apply(testContext(t), flows.Delta{Delete: d.Add}); err != nil {
			t.Fatal(err)
		}
		if !reported(t, c) {
			t.Error("not reported")
		}
	}
}

func TestCounts(t *testing.T) {
	o, c := dummy(t)
	if err := c.Apply(testContext(t), flows.Delta{Add: []flows.Flow{flow(flows.TableDeny, 7, flows.Match{}, -1)}}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"table=16,priority=1,ip,actions=drop", "table=18,priority=1,ip,actions=drop", "table=19,priority=1,ip,actions=drop"} {
		if _, err := o.Ofctl("add-flow", "br0", f); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Counts(testContext(t))
	if err != nil || len(got) != 19 || got[flows.TableDeny] != 2 || got[flows.TableService] != 1 || got[flows.TableCommit] != 0 {
		t.Error(got, err)
	}
}

// Open vSwitch before 3.0.0 refuses the monitor.
func TestUnwatched(t *testing.T) {
	path := serve(t, func(p *peer) {
		p.hello()
		for {
			m, err := p.take()
			switch {
			case err != nil:
				return
			case m.kind == openflow13.Type_MultiPartRequest && binary.BigEndian.Uint16(m.body) == multipartFlowMonitor:
				p.fail(m.xid, 1, 2) // OFPBRC_BAD_MULTIPART
			default:
				p.answer(m)
			}
		}
	})
	c, err := Dial(testContext(t), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Watched() {
		t.Error("watched by a switch that refused")
	}
}

// A flow of somebody else is deleted only as it was seen.
func TestDeleteForeign(t *testing.T) {
	o, c := dummy(t)
	add := func(cookie string) {
		if _, err := o.Ofctl("add-flow", "br0", "cookie="+cookie+",table=16,priority=1,ip,actions=drop"); err != nil {
			t.Fatal(err)
		}
	}
	foreign := func() *flows.Set {
		_, foreign, err := c.DumpAll(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		return foreign
	}
	remove := func(s *flows.Set) {
		if err := c.Apply(testContext(t), flows.Delta{Delete: s.Sorted()}); err != nil {
			t.Fatal(err)
		}
	}
	add("0x1")
	seen := foreign()
	add("0x2")
	if remove(seen); foreign().Len() != 1 {
		t.Error("a flow is gone that was not seen")
	}
	if remove(foreign()); foreign().Len() != 0 {
		t.Error("the flow is still there")
	}
}

func FuzzReportsForeign(f *testing.F) {
	added := binary.BigEndian.AppendUint64([]byte{0, multipartFlowMonitor, 0, 0, 0, 0, 0, 0, 0, 32, 0, 1}, 0)
	f.Add(append(added, make([]byte, 20)...))
	f.Add([]byte{0, multipartFlowMonitor, 0, 0, 0, 0, 0, 0, 0, 8, 0, 4, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, body []byte) {
		reportsForeign(body)
	})
}

func TestReportsForeign(t *testing.T) {
	report := func(updates ...[]byte) []byte {
		body := []byte{0, multipartFlowMonitor, 0, 0, 0, 0, 0, 0}
		for _, u := range updates {
			body = append(body, u...)
		}
		return body
	}
	update := func(event, table byte) []byte {
		return append([]byte{0, 32, 0, event, table, 0, 0, 0}, make([]byte, 24)...)
	}
	own := []byte{0, 8, 0, monitorAbbreviated, 0, 0, 0, 7}
	for i, x := range []struct {
		body []byte
		want bool
	}{
		{report(), false},
		{report(own), false},
		{report(update(1, 200)), false},
		{report(own, update(1, 200), update(2, 18)), true},
		{report([]byte{0, 8, 0, 5, 0, 0, 0, 0}), true}, // paused
		{report([]byte{0, 8, 0, 6, 0, 0, 0, 0}), true}, // resumed
		{report([]byte{0, 0, 0, 4, 0, 0, 0, 0}), true}, // of no length
		{report([]byte{0, 32, 0, 1}), true},            // cut off
		{[]byte{0, 1, 0, 0, 0, 0, 0, 0}, false},        // of something else
	} {
		if got := reportsForeign(x.body); got != x.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}

// Many flows of one cookie are deleted as fast as flows of many.
func TestDeleteManyForeign(t *testing.T) {
	o, c := dummy(t)
	const n = 30000
	remove := func(cookie func(i int) int) time.Duration {
		t.Helper()
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "cookie=%d,table=16,ip,nw_src=10.0.%d.%d,actions=drop\n", cookie(i), i>>8, i&255)
		}
		if err := o.AddFlows(text.String()); err != nil {
			t.Fatal(err)
		}
		_, foreign, err := c.DumpAll(testContext(t))
		if err != nil || foreign.Len() != n {
			t.Fatal(err)
		}
		d := flows.Delta{Delete: foreign.Sorted()}
		start := time.Now()
		if err := c.Apply(testContext(t), d); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	many := remove(func(i int) int { return 2 * i })
	one := remove(func(int) int { return 4 })
	t.Logf("%d flows: %v with one cookie, %v with many", n, one, many)
	if one > 5*many+time.Second {
		t.Errorf("%v with one cookie, %v with many", one, many)
	}
}
