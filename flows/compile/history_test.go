package compile_test

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
)

// TestHistory checks that a compiler has, after each change of a random history,
// the flows that Full makes of the whole, and that the epochs keep what they
// promise.
func TestHistory(t *testing.T) {
	histories, steps := 100, 40
	if testing.Short() || raceEnabled {
		histories = 25
	}
	hashes := []func(string) uint64{
		nil, nil, nil,
		func(s string) uint64 { return uint64(s[len(s)-1])*257 + uint64(len(s)) },
		func(s string) uint64 { return uint64(len(s)) & 7 },
		only(0, "default/web", "blue/v"), only(7, "default/default", "blue/default", "default/v", "blue/v"),
	}
	stepwise, whole := 0, 0
	for i := range histories {
		d := newDice(uint64(5000 + i))
		c := compile.New()
		if hash := hashes[i%len(hashes)]; hash != nil {
			c = compile.NewWith(hash)
		}
		c.StartAt(one[uint32](d, 0, 0, 7, 0xfffe))
		w := d.world()
		was, installed, promises := &policy.Model{}, &flows.Set{}, newPromises()
		for step := range steps {
			l, err := w.resolve()
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.Stepwise():
				stepwise++
			case i%len(hashes) < 3 && len(was.Endpoints) > 0: // no hashes collide
				whole++
			}
			if err := follow(c, was, l, installed); err != nil {
				t.Fatalf("history %d, step %d: %v\n%s", i, step, err, w)
			}
			if err := promises.check(l); err != nil {
				t.Fatalf("history %d, step %d: %v\n%s", i, step, err, w)
			}
			if d.odds(10) { // the agent is started anew
				c = compile.NewWith(c.Hash())
				c.Adopt(installed)
				was = &policy.Model{}
				promises.previous = nil // it may raise epochs without need
			} else {
				was = l.model
			}
			w = w.clone()
			for range one(d, 1, 1, 1, 2, 5) {
				d.alter(w)
			}
		}
	}
	t.Logf("%d steps, %d by comparing everything", stepwise, whole)
	if stepwise == 0 || whole > 0 {
		t.Error("not all steps were made by themselves")
	}
}

// only returns a hash that is the same for some keys and good for all others.
func only(same uint64, keys ...string) func(string) uint64 {
	return func(s string) uint64 {
		if slices.Contains(keys, s) {
			return same
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(s))
		return h.Sum64()
	}
}

// alter changes anything of a world, members and ports too.
func (d dice) alter(w *world) {
	port := func() *policy.VIF { return &w.vifs[d.IntN(len(w.vifs))] }
	switch n := d.IntN(12); {
	case n < 5:
		if len(w.groups) == 0 {
			w.groups = append(w.groups, d.group("default", "web"))
		}
		d.edit(w)
	case n == 5: // a VM comes or goes
		if d.odds(2) && len(w.vms) > 1 {
			i := d.IntN(len(w.vms))
			w.vms = slices.Delete(w.vms, i, i+1)
			return
		}
		name := fmt.Sprintf("z%d", d.IntN(20))
		if !slices.ContainsFunc(w.vms, func(vm worldVM) bool { return vm.name == name }) {
			w.vms = append(w.vms, worldVM{ns: "default", name: name, groups: d.memberships(), ifaces: []worldIface{{id: name, addrs: d.addrs()}}})
		}
	case n == 6: // its addresses change
		vm := &w.vms[d.IntN(len(w.vms))]
		vm.ifaces[0].addrs = d.addrs()
	case n == 7:
		if !slices.ContainsFunc(w.groups, func(g worldGroup) bool { return g.ns == "default" && g.name == "web" }) {
			w.groups = append(w.groups, d.group("default", "web"))
		}
	case n == 8 && len(w.vifs) > 1: // unplugged
		i := d.IntN(len(w.vifs))
		w.vifs = slices.Delete(w.vifs, i, i+1)
	case n == 9: // plugged
		hp := one(d, hostPorts...)
		if !slices.ContainsFunc(w.vifs, func(v policy.VIF) bool { return v.OFPort == hp.ofport }) {
			w.vifs = append(w.vifs, policy.VIF{Name: fmt.Sprintf("vm%d", hp.ofport), OFPort: hp.ofport, Tag: hp.tag, MAC: hp.mac,
				IfaceID: w.vms[d.IntN(len(w.vms))].ifaces[0].id})
		}
	case n == 10 && len(w.vifs) > 0: // the port is another VM's now
		p := port()
		p.MAC[4] ^= 1
		p.IfaceID = w.vms[d.IntN(len(w.vms))].ifaces[0].id
	case n == 11 && len(w.vifs) > 0:
		port().Tag ^= 10
	}
}

// promises remembers what each port was allowed at each epoch.
type promises struct {
	at       map[promise]*promised
	previous *loaded
}

type promise struct {
	ofport uint16
	policy.Direction
	epoch uint32
}

type promised struct {
	owner   compile.Owner
	allowed map[string]bool
}

func newPromises() *promises { return &promises{at: map[promise]*promised{}} }

// check checks that everything that was allowed with the present epochs is still
// allowed, and that no epoch changes without need.
func (ps *promises) check(l *loaded) error {
	for i := range l.model.Endpoints {
		e := &l.model.Endpoints[i]
		owner := compile.Owner{MAC: e.MAC, Tag: e.Tag}
		for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
			now := allowedBy(l.model, e, d, inAddresses)
			k := promise{e.OFPort, d, l.epoch(e.OFPort, d)}
			was := ps.at[k]
			if was == nil {
				was = &promised{owner, map[string]bool{}}
				ps.at[k] = was
			}
			if was.owner != owner {
				return fmt.Errorf("port %d has epoch %d, which was somebody else's", e.OFPort, k.epoch)
			}
			for a := range was.allowed {
				if !now[a] {
					return fmt.Errorf("port %d keeps %s epoch %d but lost %q", e.OFPort, d, k.epoch, a)
				}
			}
			maps.Copy(was.allowed, now)
		}
		if ps.previous == nil {
			continue
		}
		was := ps.previous.endpoint(e.OFPort)
		if was == nil || (compile.Owner{MAC: was.MAC, Tag: was.Tag}) != owner {
			continue
		}
		moved := was.VPC != e.VPC || !slices.Equal(was.Groups, e.Groups)
		var less [2]bool
		for d := range less {
			less[d] = shrank(ps.previous.model, l.model, was, e, policy.Direction(d))
		}
		for d := range less {
			before, now := ps.previous.epoch(e.OFPort, policy.Direction(d)), l.epoch(e.OFPort, policy.Direction(d))
			if before != now && !less[d] && (!moved || !less[1-d]) {
				return fmt.Errorf("port %d: %s epoch %d became %d without need: %+v, %+v", e.OFPort, policy.Direction(d), before, now, *was, *e)
			}
		}
	}
	ps.previous = l
	return nil
}

// shrank reports whether a rule is gone, or a member that a rule refers to.
func shrank(before, after *policy.Model, was, now *policy.Endpoint, d policy.Direction) bool {
	rules := allowedBy(after, now, d, inRules)
	for r := range allowedBy(before, was, d, inRules) {
		if !rules[r] {
			return true
		}
	}
	members := allowedBy(after, now, d, inMembers)
	for m := range allowedBy(before, was, d, inMembers) {
		if !members[m] {
			return true
		}
	}
	// A rule that refers to members of another VPC is another rule.
	return was.VPC != now.VPC && slices.ContainsFunc(before.Groups, func(g policy.RuleGroup) bool {
		return slices.Contains(was.Groups, g.ID) && slices.ContainsFunc(g.Rules, func(r policy.ResolvedRule) bool {
			return r.Direction == d && r.Remote.Kind == policy.ResolvedMembers
		})
	})
}

// The ways in which allowedBy writes the members of groups: as the rule does, as
// addresses of the group, or as addresses alone.
const (
	inRules = iota
	inMembers
	inAddresses
)

// allowedBy lists what the rules of an endpoint allow.
func allowedBy(m *policy.Model, e *policy.Endpoint, d policy.Direction, how int) map[string]bool {
	out := map[string]bool{}
	for _, g := range m.Groups {
		if !slices.Contains(e.Groups, g.ID) {
			continue
		}
		for _, r := range g.Rules {
			if r.Direction != d {
				continue
			}
			what := fmt.Sprintf("%s %s ", r.Protocol, r.Ports)
			if r.Remote.Kind != policy.ResolvedMembers || how == inRules {
				out[fmt.Sprintf("%s%v", what, r.Remote)] = true
				continue
			}
			if how == inMembers {
				what += r.Remote.Group + " "
			}
			for _, x := range m.Members {
				if x.VPC == e.VPC && slices.Contains(x.Groups, r.Remote.Group) {
					out[what+x.Addr.String()] = true
				}
			}
		}
	}
	return out
}
