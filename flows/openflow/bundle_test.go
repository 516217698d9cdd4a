package openflow

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// many returns n flows of the kind that big policies have most of.
func many(n int) []flows.Flow {
	fs := make([]flows.Flow, n)
	ip := flows.EthType(flows.EthTypeIPv4)
	for i := range fs {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		m := flows.NewMatch(ip, flows.CT(flows.CTTrk|flows.CTNew, 0), flows.RegIs(flows.RegVPC, 1), flows.Addr(flows.FieldCTNWDst, addr))
		fs[i] = flow(flows.TableEgressRemote, 100, m, int(flows.TableEgressRules), flows.SetReg(flows.RegRemote, uint32(i)))
	}
	return fs
}

func dumpText(t *testing.T, o *testbed.OVS) string {
	t.Helper()
	text, err := o.DumpFlows()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestApplyRefusedMemberChangesNothing(t *testing.T) {
	good := flow(flows.TableTrack, 7, flows.NewMatch(flows.InPort(7)), -1)
	installed := flow(flows.TableTrack, 1, flows.NewMatch(flows.InPort(1)), -1)
	altered := installed
	altered.Actions = flows.NewActions(int(flows.TableRole))
	ip := flows.NewMatch(flows.EthType(flows.EthTypeIPv4))
	long := make([]flows.Action, 4200)
	for i := range long {
		long[i] = conjunction(uint32(i), 1, 2)
	}
	for name, tc := range map[string]struct {
		bad  flows.Flow
		want string
	}{
		"goto an earlier table":     {flow(flows.TableTrack, 9, ip, int(flows.TableClassify)), "OFPBIC_BAD_TABLE_ID"},
		"undecodable action":        {flow(flows.TableTrack, 9, ip, -1, flows.Action{0xff, 0xff, 0, 16, 0, 0, 0x23, 0x20, 0x7f, 0xff, 0, 0, 0, 0, 0, 0}), "OFPBAC_BAD_VENDOR_TYPE"},
		"ct without ip":             {flow(flows.TableTrack, 9, flows.NewMatch(flows.InPort(3)), -1, flows.Track(flows.Low(flows.RegZone, 16), 9)), "OFPBAC_MATCH_INCONSISTENT"},
		"missing prerequisite":      {flow(flows.TableTrack, 9, flows.NewMatch(flows.IPProto(6)), -1), "OFPBMC_BAD_PREREQ"},
		"no such group, at commit":  {flow(flows.TableTrack, 9, ip, -1, flows.Action{0, 22, 0, 8, 0, 0, 0, 5}), "OFPBAC_BAD_OUT_GROUP"},
		"longer than a message":     {flow(flows.TableTrack, 9, ip, -1, long...), "OFPBRC_BAD_LEN"},
		"conjunction beside others": {flow(flows.TableTrack, 9, ip, -1, conjunction(1, 1, 2), flows.CTClear()), "NXBAC_BAD_CONJUNCTION"},
	} {
		t.Run(name, func(t *testing.T) {
			o, c := dummy(t)
			ctx := testContext(t)
			if err := c.Apply(ctx, flows.Delta{Add: []flows.Flow{installed}}); err != nil {
				t.Fatal(err)
			}
			before := dumpText(t, o)
			for _, d := range []flows.Delta{
				{Delete: []flows.Flow{installed}, Add: []flows.Flow{good, tc.bad}},
				{Add: []flows.Flow{tc.bad, good}, Modify: []flows.Flow{altered}},
				{Add: append([]flows.Flow{tc.bad}, many(2000)...)},
				{Add: append(many(2000), tc.bad)},
			} {
				err := c.Apply(ctx, d)
				e, ok := errors.AsType[*FlowError](err)
				if !ok || e.Flow != tc.bad || e.Command != Add || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %.300v, want %s for %.100s", err, tc.want, tc.bad)
				}
				if errors.Is(err, ErrUncertain) {
					t.Error("an error of the switch leaves no doubt")
				}
				if after := dumpText(t, o); after != before {
					t.Errorf("flows changed:\n%s", diffLines(before, after))
				}
			}
			// The connection is as good as new.
			if err := c.Apply(ctx, flows.Delta{Modify: []flows.Flow{altered}, Add: []flows.Flow{good}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestModifySetsCookieAndKeepsCounters(t *testing.T) {
	o, c := dummy(t)
	ctx := testContext(t)
	if _, err := o.Vsctl("add-port", "br0", "p1"); err != nil {
		t.Fatal(err)
	}
	f := flow(flows.TableClassify, 5, flows.NewMatch(flows.InPort(1)), -1)
	if err := c.Apply(ctx, flows.Delta{Add: []flows.Flow{f}}); err != nil {
		t.Fatal(err)
	}
	packet := "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=1,dst=2)"
	if _, err := o.Appctl("netdev-dummy/receive", "p1", packet); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		text, err := o.Ofctl("dump-flows", "br0")
		return err == nil && strings.Contains(text, "n_packets=1,")
	})
	f.Cookie = ours(flows.KindRule, 0x1234)
	f.Actions = flows.NewActions(int(flows.TableTrack))
	if err := c.Apply(ctx, flows.Delta{Modify: []flows.Flow{f}}); err != nil {
		t.Fatal(err)
	}
	text, err := o.Ofctl("dump-flows", "br0")
	if err != nil || !strings.Contains(text, "cookie="+f.Cookie.String()) || !strings.Contains(text, "n_packets=1,") || !strings.Contains(text, "goto_table:3") {
		t.Errorf("after the modify: %s, %v", text, err)
	}
}

// waitFor polls a state of the switch.
func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := testbed.Poll(ctx, 2*time.Millisecond, func() (bool, error) { return f(), nil }); err != nil {
		t.Fatal("waited in vain")
	}
}

func TestForeignFlowsStay(t *testing.T) {
	o, c := dummy(t)
	ctx := testContext(t)
	var text strings.Builder
	for i := range 5 {
		fmt.Fprintf(&text, "table=3,cookie=0x%x,priority=%d,in_port=1 actions=drop\n", i, i)
	}
	text.WriteString("table=7,cookie=0xfff,priority=5,in_port=9 actions=enqueue:1:2\n")
	if err := o.AddFlows(text.String()); err != nil {
		t.Fatal(err)
	}
	before := dumpText(t, o)
	fs := []flows.Flow{flow(flows.TableTrack, 3, flows.NewMatch(flows.InPort(1)), -1)} // key of a foreign flow
	if err := c.Apply(ctx, flows.Delta{Delete: fs}); err != nil {
		t.Fatal(err)
	}
	if after := dumpText(t, o); after != before {
		t.Errorf("a foreign flow was deleted:\n%s", diffLines(before, after))
	}
	set, err := c.Dump(ctx)
	if err != nil || set.Len() != 0 {
		t.Errorf("took foreign flows for ours: %v, %v", set, err)
	}
	ours, foreign, err := c.DumpAll(ctx)
	if err != nil || ours.Len() != 0 || foreign.Len() != 6 {
		t.Errorf("got %v and %v, %v", ours, foreign, err)
	}
	// An addition takes the place of a foreign flow with its key.
	if err := c.Apply(ctx, flows.Delta{Add: fs}); err != nil {
		t.Fatal(err)
	}
	ours, foreign, err = c.DumpAll(ctx)
	if err != nil || ours.Len() != 1 || foreign.Len() != 5 {
		t.Errorf("after an addition: %v and %v, %v", ours, foreign, err)
	}
}

func TestApplyTwentyThousandFlows(t *testing.T) {
	_, c := dummy(t)
	ctx := testContext(t)
	fs := many(20000)
	if err := c.Apply(ctx, flows.Delta{Add: fs}); err != nil {
		t.Fatal(err)
	}
	// Dumps go on while bundles run, and one bundle waits for another.
	half := setOf(fs[:10000]...)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := c.Apply(ctx, flows.Delta{Delete: fs[10000:]}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			s, err := c.Dump(ctx)
			if err != nil || s.Len() != 10000 && s.Len() != 20000 {
				t.Errorf("saw half a bundle: %d flows, %v", s.Len(), err)
			}
		})
	}
	wg.Wait()
	have, err := c.Dump(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := flows.Diff(half, have); !d.Empty() {
		t.Errorf("%d flows differ", d.Len())
	}
}

func TestApplyToStoppedSwitch(t *testing.T) {
	for _, n := range []int{1, 20000} {
		o, c := dummy(t)
		pid := o.SwitchdPID()
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		err := c.Apply(ctx, flows.Delta{Add: many(n)})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d flows: got %v", n, err)
		}
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if set, err := dial(t, o, Options{}).Dump(testContext(t)); err != nil || set.Len() != 0 {
			t.Errorf("%d flows: half applied: %v, %v", n, set, err)
		}
	}
}

// A context that ends anywhere in a bundle leaves all or nothing behind, and
// the error tells whether that is certain.
func TestApplyCancelled(t *testing.T) {
	o, c := dummy(t)
	fs := many(3000)
	uncertain := 0
	for i := range 40 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*700*time.Microsecond)
		err := c.Apply(ctx, flows.Delta{Add: fs})
		cancel()
		if c.s.failure() != nil {
			c = dial(t, o, Options{})
		}
		set, dumpErr := c.Dump(testContext(t))
		if dumpErr != nil {
			t.Fatal(dumpErr)
		}
		switch {
		case set.Len() != 0 && set.Len() != len(fs):
			t.Fatalf("half applied: %d flows after %v", set.Len(), err)
		case err == nil && set.Len() == 0:
			t.Error("not applied, and no error")
		case errors.Is(err, ErrUncertain):
			uncertain++
		case err != nil && set.Len() != 0:
			t.Errorf("applied, and the error is %v", err)
		}
		if err := c.Apply(testContext(t), flows.Delta{Delete: fs}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of 40 uncertain", uncertain)
}

func TestKilledSwitchFailsEveryCall(t *testing.T) {
	o, c := dummy(t)
	pid := o.SwitchdPID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	go func() { errs <- c.Apply(testContext(t), flows.Delta{Add: many(20000)}) }()
	go func() { errs <- c.Barrier(testContext(t)) }()
	go func() { _, err := c.Dump(testContext(t)); errs <- err }()
	waitFor(t, func() bool { return xids(c.s) > 20000 }) // the bundle is under way
	if err := o.KillSwitchd(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-errs; err == nil {
			t.Error("a call succeeded on a dead connection")
		}
	}
	<-c.Done()
	if c.s.failure() == nil || c.Apply(testContext(t), flows.Delta{Add: many(1)}) == nil {
		t.Error("the connection does not know that it is dead")
	}
}
