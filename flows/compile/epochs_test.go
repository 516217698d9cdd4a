package compile_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
)

// TestEpochs checks what the epochs promise in random histories: bundles do not
// reach the switch, the agent starts anew with or without its state directory,
// epochs begin anew, and host and datapath change.
func TestEpochs(t *testing.T) {
	histories, steps := 400, 40
	if testing.Short() || raceEnabled {
		histories = 100
	}
	var wraps, lost, restarts int
	for seed := range histories {
		d := newDice(uint64(70_000 + seed))
		v := d.village()
		a := newAgent(d)
		a.c.StartAt(one[uint32](d, 0, 0, 9, flows.MaxEpoch-3, flows.MaxEpoch-1, flows.MaxEpoch))
		var log []string
		for step := range steps {
			if err := a.step(v.model(), v.host); err != nil {
				t.Fatalf("history %d, step %d: %v\n%s", seed, step, err, strings.Join(log, "\n"))
			}
			if d.odds(8) {
				restarts++
				log = append(log, "restart")
				a.restart(d.odds(2))
			}
			log = append(log, fmt.Sprintf("step %d:", step+1))
			for range one(d, 0, 1, 1, 1, 2, 4) {
				log = append(log, "  "+d.change(v))
			}
		}
		wraps, lost = wraps+a.wraps, lost+a.lost
	}
	t.Logf("%d restarts, %d bundles lost, %d times epochs began anew", restarts, lost, wraps)
	if wraps == 0 || lost == 0 || restarts == 0 {
		t.Error("something did not happen")
	}
}

// agent uses a compiler as the controller does, and remembers what the epochs of
// the flows in force have promised.
type agent struct {
	dice
	c         *compile.Compiler
	was       *policy.Model // that the compiler knows
	installed *flows.Set
	first     bool // nothing was compiled since the start
	known     bool // the compiler knows what is installed
	forget    bool // all connections, with the next bundle
	promises  *promises

	wraps, lost int
}

func newAgent(d dice) *agent {
	return &agent{dice: d, c: compile.New(), was: &policy.Model{}, installed: &flows.Set{}, promises: newPromises()}
}

// restart begins anew with the flows in force; restored says that the members of
// before are known.
func (a *agent) restart(restored bool) {
	members := a.was.Members
	a.c, a.was, a.first, a.known, a.forget = compile.New(), &policy.Model{}, true, false, false
	a.promises.previous = nil // it may raise epochs without need
	if restored {
		now := &policy.Model{Members: members}
		_, _, _ = a.c.Update(changeOf(a.was, now), flows.Host{})
		a.was = now
	}
	a.c.Adopt(a.installed)
}

// step takes a step, whose bundle may be lost.
func (a *agent) step(m *policy.Model, host flows.Host) error {
	delta, alone, wrapped, err := a.compile(m, host)
	if err != nil {
		return err
	}
	if a.odds(6) {
		a.known, a.promises.previous = false, nil
		a.lost++
		return nil
	}
	l, err := a.apply(delta, m, host)
	if err != nil {
		return fmt.Errorf("alone %v: %w", alone, err)
	}
	if a.forget {
		// Connections that are committed before the bundle takes effect carry the
		// epochs of before.
		if was := a.promises.previous; was != nil && wrapped {
			for _, e := range m.Endpoints {
				for _, d := range []policy.Direction{policy.Egress, policy.Ingress} {
					if was.endpoint(e.OFPort) != nil && was.epoch(e.OFPort, d) == l.epoch(e.OFPort, d) {
						return fmt.Errorf("port %d keeps its %s epoch %d though all begin anew", e.OFPort, d, l.epoch(e.OFPort, d))
					}
				}
			}
		}
		a.promises, a.forget = newPromises(), false
	}
	if a.odds(3) {
		if err := a.startedAnew(m, host); err != nil {
			return err
		}
	}
	return a.promises.check(l)
}

// startedAnew checks that a new agent that finds the same flows in force, policy
// and host changes nothing.
func (a *agent) startedAnew(m *policy.Model, host flows.Host) error {
	other := newAgent(a.dice)
	other.installed, other.first = a.installed, true
	other.c.Adopt(a.installed)
	d, _, _, err := other.compile(m, host)
	if err == nil && !d.Empty() {
		err = fmt.Errorf("a restart changes flows:\n%s", d)
	}
	return err
}

// compile returns the delta that turns the flows in force into those of a model.
func (a *agent) compile(m *policy.Model, host flows.Host) (delta flows.Delta, alone, wrapped bool, err error) {
	first := a.first
	delta, alone, err = a.c.Update(changeOf(a.was, m), host)
	wrapped = a.c.Wrapped()
	if err == nil && (!a.known || !alone) {
		var all *flows.Set
		if all, err = a.c.Flows(); err == nil && first {
			if compile.Shrank(all, a.installed) {
				a.c.RaiseAllEpochs()
				wrapped = wrapped || a.c.Wrapped()
			}
			all, err = a.c.Flows()
		}
		if err == nil {
			delta = flows.Diff(all, a.installed)
		}
	}
	if a.forget = a.forget || wrapped; wrapped {
		a.wraps++
	}
	a.was, a.first = m, false
	return delta, alone, wrapped, err
}

// apply applies a delta to the switch, and compares the switch's flows with
// Full's.
func (a *agent) apply(delta flows.Delta, m *policy.Model, host flows.Host) (*loaded, error) {
	a.known = true
	delta.ApplyTo(a.installed)
	l := &loaded{model: m}
	l.classes, l.highestEpoch = a.c.State()
	return l, asCompiled(a.c, m, host, a.installed)
}

// asCompiled checks that the flows that the steps led to are those that Full
// makes of the whole.
func asCompiled(c *compile.Compiler, m *policy.Model, host flows.Host, installed *flows.Set) error {
	classes, highest := c.State()
	want, err := c.Reference(compile.Input{Model: m, Host: host, Classes: classes, HighestEpoch: highest})
	if err != nil {
		return err
	}
	if wrong := flows.Diff(want, installed); !wrong.Empty() {
		return fmt.Errorf("step by step the flows become others:\n%s", wrong)
	}
	return nil
}

func (a *agent) follow(t *testing.T, m *policy.Model, host flows.Host) *loaded {
	t.Helper()
	delta, _, _, err := a.compile(m, host)
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.apply(delta, m, host)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAdopt checks which ports keep their epochs when the agent starts anew.
func TestAdopt(t *testing.T) {
	member := func(vpc string, n byte, groups ...string) policy.Member {
		return policy.Member{VPC: vpc, Addr: netip.AddrFrom4([4]byte{10, 0, 0, n}), Groups: groups, VM: policy.Key{Namespace: "d", Name: fmt.Sprint("vm", n)}}
	}
	port := func(p uint16, vpc string, groups ...string) policy.Endpoint {
		return policy.Endpoint{VIF: fmt.Sprintf("tap%d", p), OFPort: p, MAC: policy.MAC{2, 0, 0, 0, 0, byte(p)}, Known: true, VPC: vpc, Groups: groups}
	}
	model := func() *policy.Model {
		from := func(group string, d policy.Direction, kind policy.ResolvedKind, ref string) policy.ResolvedRule {
			return policy.ResolvedRule{Group: group, Name: "#0", Direction: d, Ports: policy.PortRange{Last: 65535}, Remote: policy.ResolvedRemote{Kind: kind, Group: ref}}
		}
		return &policy.Model{
			Endpoints: []policy.Endpoint{port(1, "d/v", "d/a"), port(2, "d/v", "d/a"), port(3, "d/w", "d/a"), port(4, "d/v", "d/b")},
			Groups: []policy.RuleGroup{
				{ID: "d/a", Rules: []policy.ResolvedRule{from("d/a", policy.Ingress, policy.ResolvedMembers, "d/c"), from("d/a", policy.Ingress, policy.ResolvedMembers, "d/e"), from("d/a", policy.Egress, policy.ResolvedAnywhere, "")}},
				{ID: "d/b", Rules: []policy.ResolvedRule{from("d/b", policy.Ingress, policy.ResolvedAnywhere, ""), from("d/b", policy.Egress, policy.ResolvedMembers, "d/c")}},
			},
			Members: []policy.Member{member("d/v", 1, "d/c"), member("d/v", 2, "d/a", "d/c"), member("d/w", 1, "d/c")},
		}
	}
	const both = 1<<policy.Ingress | 1<<policy.Egress
	all := map[uint16]int{1: both, 2: both, 3: both, 4: both}
	for _, test := range []struct {
		name   string
		change func(m *policy.Model)
		raised map[uint16]int // bits by direction
	}{
		{"nothing changes", func(*policy.Model) {}, nil},
		{"another MAC", func(m *policy.Model) { m.Endpoints[0].MAC[4] = 9 }, all},
		{"another VLAN", func(m *policy.Model) { m.Endpoints[0].Tag = 9 }, all},
		{"another VPC", func(m *policy.Model) { m.Endpoints[0].VPC = "d/w" }, all},
		{"other groups", func(m *policy.Model) { m.Endpoints[0].Groups = []string{"d/b"} }, all},
		{"a rule goes", func(m *policy.Model) { m.Groups[0].Rules = m.Groups[0].Rules[:2] }, all},
		{"a group is renamed", func(m *policy.Model) {
			m.Groups[1].ID = "d/z"
			m.Endpoints[3].Groups = []string{"d/z"}
		}, all},
		{"a member goes", func(m *policy.Model) { m.Members = m.Members[1:] }, all},
		{"a member leaves", func(m *policy.Model) { m.Members[0].Groups = nil }, all},
		{"a member moves", func(m *policy.Model) { m.Members[0].Groups = []string{"d/e"} }, all},
		{"a member leaves a group that nobody refers to", func(m *policy.Model) { m.Members[1].Groups = []string{"d/c"} }, nil},
		{"a member joins", func(m *policy.Model) { m.Members = append(m.Members, member("d/w", 2, "d/c")) }, nil},
		{"a port comes", func(m *policy.Model) { m.Endpoints = append(m.Endpoints, port(5, "d/v", "d/a")) }, map[uint16]int{1: both, 2: both, 3: both, 4: both, 5: both}},
		{"a port goes", func(m *policy.Model) { m.Endpoints = m.Endpoints[:3] }, all},
	} {
		t.Run(test.name, func(t *testing.T) {
			host := flows.Host{Infra: hostInfra}
			before := newAgent(newDice(1))
			before.c.StartAt(41)
			was := before.follow(t, model(), host)
			m := model()
			test.change(m)
			a := newAgent(newDice(1))
			a.installed, a.first = before.installed, true
			a.c.Adopt(a.installed)
			old := a.installed.Clone()
			now := a.follow(t, m, host)
			if test.raised == nil && test.name == "nothing changes" {
				if d := flows.Diff(a.installed, old); !d.Empty() {
					t.Errorf("flows change:\n%s", d)
				}
			}
			for _, e := range m.Endpoints {
				for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
					raised := now.epoch(e.OFPort, d) > 42
					if was.endpoint(e.OFPort) != nil && raised != (was.epoch(e.OFPort, d) != now.epoch(e.OFPort, d)) {
						t.Errorf("port %d: %s epoch %d became %d", e.OFPort, d, was.epoch(e.OFPort, d), now.epoch(e.OFPort, d))
					}
					if want := test.raised[e.OFPort]>>d&1 == 1; raised != want {
						t.Errorf("port %d: %s epoch %d, raised: %v, want %v", e.OFPort, d, now.epoch(e.OFPort, d), raised, want)
					}
				}
			}
		})
	}
}

// TestRaise checks that RaiseAllEpochs gives new epochs each time.
func TestRaise(t *testing.T) {
	c, installed := settled(t, crowd(3, 2))
	for range 3 {
		before := c.Epochs(1)
		c.RaiseAllEpochs()
		if now := c.Epochs(1); now[policy.Egress] <= before[policy.Egress] || now[policy.Ingress] <= before[policy.Ingress] {
			t.Errorf("epochs %v became %v", before, now)
		}
		if _, alone, err := c.Update(policy.ModelChange{}, crowdHost); alone || err != nil {
			t.Errorf("a step by itself: %v, %v", alone, err)
		}
		set, err := c.Flows()
		if err != nil {
			t.Fatal(err)
		}
		if d := flows.Diff(set, installed); len(d.Add) != 2 || len(d.Delete) != 2 || len(d.Modify) != 2 {
			t.Errorf("not the flows of two epochs:\n%s", d)
		}
		installed = set
	}
}

// TestWrap checks that all epochs are low after the highest one, and that no port
// keeps an epoch that was written while the connections were forgotten.
func TestWrap(t *testing.T) {
	m := crowd(4, 2)
	c, _ := settled(t, m)
	c.StartAt(flows.MaxEpoch)
	for i, want := range []flows.Epochs{{policy.Egress: 2, policy.Ingress: 2}, {policy.Egress: 2, policy.Ingress: 3}} {
		gone := m.Members[3-i]
		if _, _, err := c.Update(policy.ModelChange{Members: []policy.Change[policy.Member]{{Before: &gone}}}, crowdHost); err != nil {
			t.Fatal(err)
		}
		if got := c.Epochs(1); got != want || c.Wrapped() != (i == 0) {
			t.Errorf("epochs %v, want %v; begun anew: %v", got, want, c.Wrapped())
		}
	}
}
