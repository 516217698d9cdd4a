package compile_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/flows/openflow"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// The flows are exact if every packet meets the fate that policy.Evaluate
// gives its connection. These tests put random policies into a real switch
// and ask it, packet by packet, with ofproto/trace.
var (
	exactSeed = flag.Uint64("seed", 0, "replay the one world of TestExact that has this seed")
	exactSoak = flag.Duration("soak", 0, "let TestExact draw ever new worlds for so long")
)

// lab is a switch that can be asked.
type lab struct {
	o         *testbed.OVS
	conn      *openflow.Conn
	tracer    *testbed.Tracer
	installed *flows.Set
	compile   func(compile.Input) (*flows.Set, error)
}

func newLab(t testing.TB) *lab {
	t.Helper()
	var args []string
	o := testbed.New(t, testbed.Options{Dummy: true})
	for _, p := range hostPorts {
		args = append(args, "--", "add-port", "br0", fmt.Sprintf("vm%d", p.ofport))
		if p.tag != 0 {
			args = append(args, fmt.Sprintf("tag=%d", p.tag))
		}
		args = append(args, "--", "set", "Interface", fmt.Sprintf("vm%d", p.ofport), fmt.Sprintf("ofport_request=%d", p.ofport))
	}
	for port, set := range map[int]string{trunkPort: "trunks=[]", limitedPort: "trunks=10", accessPort: "tag=20", nativePort: "tag=30 trunks=30 vlan_mode=native-untagged"} {
		args = append(args, "--", "add-port", "br0", fmt.Sprintf("up%d", port))
		if port != trunkPort {
			args = append(args, strings.Fields(set)...)
		}
		args = append(args, "--", "set", "Interface", fmt.Sprintf("up%d", port), fmt.Sprintf("ofport_request=%d", port))
	}
	for _, table := range flows.Tables() {
		args = append(args, "--", fmt.Sprintf("--id=@t%d", table), "create", "Flow_Table", "name="+table.String())
		if ps := table.Prefixes(); ps != nil {
			args = append(args, "prefixes="+strings.Join(ps, ","))
		}
		args = append(args, "--", "set", "Bridge", "br0", fmt.Sprintf("flow_tables:%d=@t%d", table, table))
	}
	if _, err := o.Vsctl(args[1:]...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := openflow.Dial(ctx, o.Mgmt(), openflow.Options{EchoInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ports, err := conn.Ports(ctx)
	if err != nil {
		t.Fatal(err)
	}
	noFlood := map[uint32]bool{}
	for _, p := range ports { // as the agent does: NORMAL floods no VM
		if strings.HasPrefix(p.Name, "vm") {
			noFlood[p.OFPort] = true
		}
	}
	if err := conn.NoFlood(ctx, noFlood); err != nil {
		t.Fatal(err)
	}
	tracer, err := o.Tracer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tracer.Close() })
	return &lab{o: o, conn: conn, tracer: tracer, installed: &flows.Set{}, compile: compile.Full}
}

func (w *world) host() flows.Host {
	return flows.Host{Infra: hostInfra, Userspace: w.userspace, DHCPServers: w.dhcp}
}

func (l *loaded) input() compile.Input {
	return compile.Input{Model: l.model, Host: l.w.host(), Classes: l.classes, HighestEpoch: l.highestEpoch}
}

// install makes a set the only flows of the switch, without the flow for packets
// that were tracked before they came (classifyTracked). That flow would make the
// switch forget the original tuple and the label that ofproto/trace was given.
// TestExactForgets is about that flow.
func (b *lab) install(set *flows.Set, asText bool) error {
	set = set.Clone()
	set.Delete(forgetting)
	if asText {
		if err := b.o.ReplaceFlows(set.String()); err != nil {
			return err
		}
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := b.conn.Apply(ctx, flows.Diff(set, b.installed)); err != nil {
			return err
		}
	}
	b.installed = set
	return nil
}

var forgetting = flows.Key{Table: flows.TableClassify, Priority: 200, Match: flows.NewMatch(flows.CT(flows.CTTrk, 0))}

// ask traces a packet and compares; difference is empty if all is well.
func (b *lab) ask(l *loaded, k packet) (difference string, want answer, err error) {
	want = l.want(k)
	r, err := b.tracer.Trace("br0", k.String(), k.ctNext()...)
	if err != nil {
		return "", want, err
	}
	got, err := answerOf(k, r)
	if err != nil {
		return fmt.Sprintf("%s\n%s", err, r.Text), want, nil
	}
	if !got.equal(want) {
		return fmt.Sprintf("got  %s\nwant %s\nThe reference says:\n%s\nThe switch says:\n%s", got, want, want.why, r.Text), want, nil
	}
	return "", want, nil
}

// tally counts verdicts.
type tally struct{ worlds, packets, delivered, carried, revoked, many atomic.Int64 }

// failure is a packet that the flows judge wrongly.
type failure struct {
	l, before *loaded
	k         packet
	text      string
}

// worldPair draws a world and, for some seeds, the one before it.
func worldPair(d dice) (l, before *loaded, err error) {
	w := d.world()
	if l, err = w.resolve(); err != nil || d.odds(3) {
		return l, nil, err
	}
	next := w.clone()
	for range 1 + d.IntN(3) {
		d.edit(next)
	}
	before = l
	if l, err = next.resolve(); err != nil {
		return nil, nil, err
	}
	if err := renew(l, before, one[uint32](d, 0, 0, 0x7ffe, 0xfffe, 0xfffffff0)); err != nil {
		return nil, nil, err
	}
	return l, before, nil
}

// renew gives out the epochs for both worlds as the agent would, from a first
// epoch on, and compares the compiler with Full.
func renew(l, before *loaded, start uint32) error {
	c := compile.New()
	c.StartAt(start)
	installed := &flows.Set{}
	was := &policy.Model{}
	for _, x := range []*loaded{before, l} {
		if err := follow(c, was, x, installed); err != nil {
			return err
		}
		was = x.model
	}
	return nil
}

// follow takes a compiler from one model to the next.
func follow(c *compile.Compiler, was *policy.Model, l *loaded, installed *flows.Set) error {
	host := l.w.host()
	delta, ok, err := c.Update(changeOf(was, l.model), host)
	if err == nil && !ok {
		var all *flows.Set
		if all, err = c.Flows(); err == nil && len(was.Endpoints) == 0 {
			// Some members may have left while no agent ran.
			if compile.Shrank(all, installed) {
				c.RaiseAllEpochs()
			}
			all, err = c.Flows()
		}
		if err == nil {
			delta = flows.Diff(all, installed)
		}
	}
	if err != nil {
		return err
	}
	delta.ApplyTo(installed)
	l.classes, l.highestEpoch = c.State()
	if err := asCompiled(c, l.model, host, installed); err != nil {
		return fmt.Errorf("by itself %v: %w", ok, err)
	}
	return nil
}

// world judges the world of a seed.
func (b *lab) world(seed uint64, connections int, n *tally) (*failure, error) {
	d := newDice(seed)
	l, before, err := worldPair(d)
	if err != nil {
		return nil, fmt.Errorf("seed %d: %w", seed, err)
	}
	set, err := b.compile(l.input())
	if err != nil {
		return &failure{l: l, text: err.Error()}, nil
	}
	if err := b.install(set, seed%8 == 0); err != nil {
		return &failure{l: l, text: err.Error()}, nil
	}
	n.worlds.Add(1)
	p := newProber(d, l, before)
	for i := range connections {
		var ks []packet
		switch {
		case i%16 == 0:
			ks = p.odd()
		case i%8 == 1:
			ks = p.multicast()
			n.many.Add(int64(len(ks)))
		default:
			ks = p.packets()
		}
		for _, k := range ks {
			difference, want, err := b.ask(l, k)
			if err != nil {
				return nil, fmt.Errorf("seed %d: %w", seed, err)
			}
			if difference != "" {
				return &failure{l, before, k, difference}, nil
			}
			n.packets.Add(1)
			if len(want.outputs) > 0 {
				n.delivered.Add(1)
			}
			if k.carried {
				n.carried.Add(1)
				if len(want.outputs) == 0 {
					n.revoked.Add(1)
				}
			}
		}
	}
	return nil, nil
}

// TestExact compares the verdicts of the switch with those of policy.Evaluate.
// -seed replays one world, -soak goes on for longer.
func TestExact(t *testing.T) {
	worlds, connections := uint64(600), 56
	if testing.Short() {
		worlds, connections = 40, 30
	}
	if raceEnabled {
		worlds /= 5
	}
	first, until := uint64(1), time.Time{}
	switch {
	case *exactSeed != 0:
		first, worlds = *exactSeed, 1
	case *exactSoak != 0:
		first, worlds, until = uint64(time.Now().UnixNano()), 1<<62, time.Now().Add(*exactSoak)
		t.Logf("soak from seed %d", first)
	}
	var n tally
	var next atomic.Uint64
	var failed atomic.Bool
	start := time.Now()
	var wg sync.WaitGroup
	for range min(2, worlds) {
		b := newLab(t)
		wg.Go(func() {
			for !failed.Load() {
				i := next.Add(1) - 1
				if i >= worlds || !until.IsZero() && time.Now().After(until) {
					return
				}
				f, err := b.world(first+i, connections, &n)
				if err == nil && f == nil {
					continue
				}
				if failed.Swap(true) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				t.Errorf("seed %d (go test ./flows -run 'TestExact$' -seed %d):\n%s", first+i, first+i, b.shrink(f))
			}
		})
	}
	wg.Wait()
	t.Logf("%d worlds, %d packets (%d to many; %d of connections from before a change, %d of them revoked), %d delivered, %.1f s",
		n.worlds.Load(), n.packets.Load(), n.many.Load(), n.carried.Load(), n.revoked.Load(), n.delivered.Load(), time.Since(start).Seconds())
}

// fails returns the failure that a smaller world shows, "" if it shows none.
func (b *lab) fails(w, before *world, k packet) (text string) {
	l, err := w.resolve()
	if err != nil {
		return ""
	}
	if before != nil {
		was, err := before.resolve()
		if err != nil {
			return ""
		}
		if renew(l, was, 0) != nil {
			return ""
		}
		// The label is the one that the policy before would have written.
		from, to := k.inPort, uint16(0)
		if e := l.endpoint(from); e != nil {
			to = l.at(e.Tag, k.to)
		} else {
			network, _ := networkAt(k)
			from, to = 0, l.at(network, k.to)
		}
		if k.replies() {
			from, to = to, from
		}
		if !was.evaluate(from, to, k.conn).Allowed {
			return ""
		}
	}
	set, err := b.compile(l.input())
	if err != nil {
		return ""
	}
	if b.install(set, false) != nil {
		return ""
	}
	text, _, err = b.ask(l, k)
	if err != nil {
		return ""
	}
	return text
}

// shrink takes away whatever the failure does not need and describes the rest.
func (b *lab) shrink(f *failure) string {
	if f.k.state == "" {
		return f.text + "\n" + f.l.w.String()
	}
	w, text := f.l.w, f.text
	var before *world
	if f.k.carried {
		before = f.before.w
	}
	for smaller := true; smaller; {
		smaller = false
		if before != nil {
			for i := 0; ; i++ {
				c := before.clone()
				if !c.without(i) {
					break
				}
				if s := b.fails(w, c, f.k); s != "" {
					before, text, smaller = c, s, true
					i--
				}
			}
		}
		for i := 0; ; i++ {
			c := w.clone()
			if !c.without(i) {
				break
			}
			if s := b.fails(c, before, f.k); s != "" {
				w, text, smaller = c, s, true
				i--
			}
		}
	}
	out := w.String() + "\npacket: " + f.k.String() + "\nthen: " + f.k.ctNext()[0] + "\n" + text
	if before != nil {
		out = "BEFORE:\n" + before.String() + "NOW:\n" + out
	}
	return out
}

// without takes the i-th piece of the world away. The result is false if there
// are fewer pieces.
func (w *world) without(i int) bool {
	drop := func(n int) (int, bool) {
		if i < n {
			return i, true
		}
		i -= n
		return 0, false
	}
	if j, ok := drop(len(w.vifs)); ok {
		w.vifs = slices.Delete(w.vifs, j, j+1)
		return true
	}
	if j, ok := drop(len(w.vms)); ok {
		w.vms = slices.Delete(w.vms, j, j+1)
		return true
	}
	if j, ok := drop(len(w.groups)); ok {
		w.groups = slices.Delete(w.groups, j, j+1)
		return true
	}
	if j, ok := drop(len(w.subnets)); ok {
		w.subnets = slices.Delete(w.subnets, j, j+1)
		return true
	}
	for g := range w.groups {
		if j, ok := drop(len(w.groups[g].rules)); ok {
			w.groups[g].rules = slices.Delete(w.groups[g].rules, j, j+1)
			return true
		}
	}
	for v := range w.vms {
		vm := &w.vms[v]
		if j, ok := drop(len(vm.groups)); ok {
			vm.groups = slices.Delete(vm.groups, j, j+1)
			return true
		}
		if j, ok := drop(len(vm.ifaces)); ok {
			vm.ifaces = slices.Delete(vm.ifaces, j, j+1)
			return true
		}
		for n := range vm.ifaces {
			if j, ok := drop(len(vm.ifaces[n].addrs)); ok {
				vm.ifaces[n].addrs = slices.Delete(vm.ifaces[n].addrs, j, j+1)
				return true
			}
		}
	}
	for s := range w.subnets {
		if j, ok := drop(len(w.subnets[s].blocks)); ok {
			w.subnets[s].blocks = slices.Delete(w.subnets[s].blocks, j, j+1)
			return true
		}
	}
	return false
}

// TestExactForgets checks that the connection tracking state with which a packet
// comes in does not count.
func TestExactForgets(t *testing.T) {
	b := newLab(t)
	l, _, err := worldPair(newDice(1))
	if err != nil {
		t.Fatal(err)
	}
	set, err := compile.Full(l.input())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := set.Get(forgetting); !ok {
		t.Fatal("no flow forgets")
	}
	if err := b.o.ReplaceFlows(set.String()); err != nil {
		t.Fatal(err)
	}
	p := newProber(newDice(2), l, nil)
	for range 50 {
		for _, k := range p.packets() {
			k.label = flows.Label{Orig: 1, Resp: 1, OrigEpoch: 1, RespEpoch: 1}
			r, err := b.tracer.Trace("br0", k.String(), k.ctNext()...)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Passes) > 1 { // the state with which the packet comes back from ct()
				pass := r.Passes[1]
				if strings.Contains(pass.Flow, "ct_label") || strings.Contains(pass.Flow, "ct_nw_src") || strings.Contains(pass.Flow, "ct_ipv6_src") {
					t.Fatalf("still remembered: %s", r.Text)
				}
			}
		}
	}
}
