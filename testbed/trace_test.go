package testbed

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTrace(t *testing.T) {
	o := New(t, Options{Dummy: true})
	for i := 1; i <= 3; i++ {
		o.VM(t, VMConfig{Name: fmt.Sprint("vm", i), OFPort: 10 + i})
	}
	flows := `table=0,ip actions=ct(table=1,zone=5)
table=1,ct_state=+new,ip actions=ct(commit,table=2,zone=5)
table=2,ip actions=output:12,push_vlan:0x8100,set_field:4100->vlan_vid,output:13
table=1,ct_state=+est,ip actions=clone(push_vlan:0x8100,set_field:4103->vlan_vid,output:13,resubmit(,3)),IN_PORT
table=3,ip actions=output:12`
	if err := o.AddFlows(flows); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		flow    string
		ctNext  []string
		passes  int
		outputs []int
	}{
		{"in_port=11,tcp,tcp_dst=80", nil, 3, []int{12, 13}},
		{"in_port=11,tcp,tcp_dst=80", []string{"trk,est"}, 2, []int{13, 12, 11}},
		{"in_port=11,tcp,tcp_dst=80", []string{"trk,inv"}, 2, nil},
		{"in_port=11,arp", nil, 1, nil},
	} {
		tracer, err := o.Tracer()
		if err != nil {
			t.Fatal(err)
		}
		got, err := tracer.Trace("br0", tt.flow, tt.ctNext...)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Passes) != tt.passes || !slices.Equal(got.Outputs, tt.outputs) {
			t.Errorf("%s %v: %d passes to %v, want %d to %v:\n%s", tt.flow, tt.ctNext, len(got.Passes), got.Outputs, tt.passes, tt.outputs, got.Text)
		}
		if last := got.DatapathActions(); (last == "drop") != (tt.outputs == nil) {
			t.Errorf("%s: datapath actions %q", tt.flow, last)
		}
		if !strings.HasPrefix(got.Passes[0].FinalFlow, tt.flow[11:14]) {
			t.Errorf("%s: final flow %q", tt.flow, got.Passes[0].FinalFlow)
		}
		if err := tracer.Close(); err != nil {
			t.Error(err)
		}
	}

	const workers, each = 2, 300
	start := time.Now()
	var wg sync.WaitGroup
	for range workers {
		tracer, err := o.Tracer()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tracer.Close() })
		wg.Go(func() {
			for range each {
				if got, err := tracer.Trace("br0", "in_port=11,tcp,tcp_dst=80"); err != nil || !got.Reaches(12) {
					t.Error(got.Outputs, err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%.0f traces per second", workers*each/time.Since(start).Seconds())

	tracer, err := o.Tracer()
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	if _, err := tracer.Trace("br0", "in_port=11,nonsense"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Error(err)
	}
	// A port that is younger than the tracer.
	o.VM(t, VMConfig{Name: "vm4", OFPort: 14})
	setFlows(t, o, "actions=output:14")
	if got, err := tracer.Trace("br0", "in_port=11,arp"); err != nil || !slices.Equal(got.Outputs, []int{14}) {
		t.Error(got.Outputs, err)
	}
}

func TestSortFlows(t *testing.T) {
	const dump = ` cookie=0x1, table=10, priority=5,ip,nw_dst=1.0.0.0/8 actions=drop
 table=2, tcp actions=resubmit(,table=1)
 priority=0 actions=drop
 table=2, priority=32769,arp actions=NORMAL
 table=2, icmp actions=drop
 conj_id=3,ip actions=drop
`
	const want = `conj_id=3,ip actions=drop
priority=0 actions=drop
table=2, priority=32769,arp actions=NORMAL
table=2, icmp actions=drop
table=2, tcp actions=resubmit(,table=1)
cookie=0x1, table=10, priority=5,ip,nw_dst=1.0.0.0/8 actions=drop
`
	if got := SortFlows(dump); got != want {
		t.Errorf("got:\n%s", got)
	}
}
