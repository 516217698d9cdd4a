package e2e

import (
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// The agent sends nothing when the same policy comes a second time: as the same
// bytes, as other bytes with the same meaning, or to a new agent.
func TestSamePolicySendsNothing(t *testing.T) {
	h := newHost(t, testbed.Options{})
	for _, vm := range exampleVMs {
		h.vm(vm.name, vm.n)
	}
	h.uplink("outside", 1)
	h.example()
	h.start()
	first := h.wait()
	if first.Last == nil || first.Last.Added < 100 {
		t.Fatalf("no first change: %+v", first.Last)
	}
	before := h.ageless()

	same := func(what string) {
		t.Helper()
		s := h.wait()
		if l := s.Last; l != nil && l.Added+l.Modified+l.Deleted > 0 && !l.Time.Equal(first.Last.Time) {
			t.Errorf("%s: %+v", what, *l)
		}
		if after := h.ageless(); after != before {
			t.Errorf("%s changes flows", what)
		}
	}
	h.write("groups.yaml", exampleFile(t, "groups.yaml"))
	same("the same file again")
	h.write("groups.yaml", "# a comment\n"+exampleFile(t, "groups.yaml"))
	same("a comment")

	h.stop()
	if after := h.ageless(); after != before {
		t.Error("stopping the agent changes flows")
	}
	h.start()
	same("a restart of the agent")
	h.kill()
	h.start()
	same("a kill of the agent")
}

// ageless returns the flows, each with the time at which it was installed or last
// changed. A modification alters this time. The switch reports an age, which
// grows, so ageless computes the time, rounded to a second.
func (h *host) ageless() string {
	h.t.Helper()
	out, err := h.ovs.Ofctl("-O", "OpenFlow14", "--no-names", "dump-flows", h.ovs.Bridge())
	if err != nil {
		h.t.Fatal(err)
	}
	var keep []string
	for _, l := range lines(out) {
		_, rest, ok := strings.Cut(l, "cookie=")
		if !ok {
			continue
		}
		cookie, _, _ := strings.Cut(rest, ",")
		_, match, _ := strings.Cut(rest, " priority=")
		table := ""
		if _, t, ok := strings.Cut(rest, "table="); ok {
			table, _, _ = strings.Cut(t, ",")
		}
		keep = append(keep, table+" "+cookie+" "+match)
	}
	return testbed.SortFlows(strings.Join(keep, "\n"))
}
