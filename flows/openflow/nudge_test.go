package openflow

import (
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// TestNudge: a nudge has all megaflows revalidated, and changes no flow, be it the
// agent's or not.
func TestNudge(t *testing.T) {
	o, c := dummy(t)
	ctx := testContext(t)
	var none flows.Match
	if err := c.Apply(ctx, flows.Delta{Add: []flows.Flow{flow(flows.TableClassify, 32768, none, flows.Drop)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Ofctl("add-flow", o.Bridge(), "table=0,priority=32768,cookie=0x5,udp,actions=drop"); err != nil {
		t.Fatal(err)
	}
	flowsNow := func() string {
		t.Helper()
		text, err := o.DumpFlows()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := flowsNow()
	if strings.Count(before, "\n") < 1 {
		t.Fatalf("two flows expected:\n%s", before)
	}
	// The counter of revalidations is gathered from time to time.
	if err := testbed.Poll(ctx, time.Millisecond, func() (bool, error) {
		if err := c.Nudge(ctx); err != nil {
			return false, err
		}
		out, err := o.Appctl("coverage/read-counter", "rev_flow_table")
		return strings.TrimSpace(out) > "2", err
	}); err != nil {
		t.Error("nudges cause no revalidation")
	}
	if after := flowsNow(); after != before {
		t.Errorf("flows before:\n%s\nand after:\n%s", before, after)
	}
	if err := c.Barrier(ctx); err != nil {
		t.Error(err)
	}
	if out, err := o.Appctl("version"); err != nil || !strings.Contains(out, " "+c.Version()) {
		t.Errorf("version %q, of %q: %v", c.Version(), out, err)
	}
}
