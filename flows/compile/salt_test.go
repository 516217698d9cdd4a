package compile_test

import (
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
)

// salted returns the flows of a village with one rule, and the epochs of its
// ports, as a compiler with a salt makes them after n raises.
func salted(t *testing.T, salt uint16, installed *flows.Set, n int) (*flows.Set, []uint32) {
	t.Helper()
	l, _, err := worldPair(newDice(3))
	if err != nil {
		t.Fatal(err)
	}
	c := compile.New()
	if salt > 0 {
		c.Salt(salt)
	}
	c.Adopt(installed)
	if _, _, err := c.Update(changeOf(&policy.Model{}, l.model), l.w.host()); err != nil {
		t.Fatal(err)
	}
	for range n {
		c.RaiseAllEpochs()
	}
	set, err := c.Flows()
	if err != nil {
		t.Fatal(err)
	}
	var epochs []uint32
	for _, e := range compile.InstalledEpochs(set) {
		epochs = append(epochs, e[0], e[1])
	}
	if len(epochs) == 0 {
		t.Fatal("no ports")
	}
	return set, epochs
}

// Compilers with different salts never give out the same epoch, and a restart
// keeps those that the compiler has given out, and no others.
func TestSalt(t *testing.T) {
	seen := map[uint32]uint16{}
	for _, salt := range []uint16{1, 2, 700, 1023} {
		set, epochs := salted(t, salt, &flows.Set{}, 3)
		for _, e := range epochs {
			if e>>22 != uint32(salt) {
				t.Errorf("salt %d: epoch %#x", salt, e)
			}
			if other, ok := seen[e]; ok && other != salt {
				t.Errorf("epoch %#x has salts %d and %d", e, salt, other)
			}
			seen[e] = salt
		}
		if again, _ := salted(t, salt, set, 0); flows.Diff(set, again).Len() > 0 {
			t.Errorf("salt %d: a restart changes flows:\n%s", salt, flows.Diff(again, set))
		}
		// An agent that has no salt, or another, has left its flows.
		for _, was := range []uint16{0, 5} {
			left, _ := salted(t, was, &flows.Set{}, 7)
			_, epochs := salted(t, salt, left, 0)
			for _, e := range epochs {
				if e>>22 != uint32(salt) {
					t.Errorf("salt %d after %d: epoch %#x", salt, was, e)
				}
			}
		}
	}
}

// The last epoch of a salt is followed by the first.
func TestSaltWraps(t *testing.T) {
	l, _, err := worldPair(newDice(3))
	if err != nil {
		t.Fatal(err)
	}
	c := compile.New()
	c.Salt(5)
	c.StartAt(6<<22 - 1)
	if _, _, err := c.Update(changeOf(&policy.Model{}, l.model), l.w.host()); err != nil {
		t.Fatal(err)
	}
	if !c.Wrapped() {
		t.Error("not wrapped")
	}
	classes, _ := c.State()
	for port, class := range classes {
		for _, e := range class.Epochs {
			if e>>22 != 5 {
				t.Errorf("port %d: epoch %#x", port, e)
			}
		}
	}
}
