package policy

import (
	"reflect"
	"testing"
)

// TestBookStep: cases of few words that random histories seldom meet.
func TestBookStep(t *testing.T) {
	var l Ledger
	b := NewBook(Options{})
	vifs := []VIF{{Name: "tap", OFPort: 1, IfaceID: "local"}}
	text := map[string]string{}
	step := func(name, src string) ModelChange {
		t.Helper()
		before := b.Model()
		kept := append([]RuleGroup(nil), before.Groups...)
		text[name] = src
		c := b.Update(l.Update([]FileChange{{File: File{Name: name, Data: []byte(src)}}}).Versions, vifs)
		var all []Objects
		for n, src := range text {
			o, _ := Decode(File{Name: n, Data: []byte(src)})
			all = append(all, o)
		}
		p, _ := New(all, Options{})
		if got, want := b.Model(), p.Resolve(vifs); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got.lines(), want.lines())
		}
		if !reflect.DeepEqual(kept, append([]RuleGroup(nil), before.Groups...)) {
			t.Fatal("an earlier model has changed")
		}
		return c
	}
	step("g", sg("default", "g", "direction: Egress"))
	step("local", vm("default", "local", "10.0.0.1", "", "g"))

	// A VM that is elsewhere takes the address of one that is here.
	if c := step("a", vm("default", "a", "10.0.0.1", "", "g")); len(c.Endpoints) != 1 || len(c.Endpoints[0].After.Addrs) != 0 {
		t.Errorf("got %+v", c)
	}
	if c := step("a", vm("default", "a", "10.0.0.2", "", "g")); len(c.Endpoints) != 1 || len(c.Members) != 2 {
		t.Errorf("got %+v", c)
	}
	// Rules change, and no port is looked at; then one is.
	if c := step("g", sg("default", "g", "direction: Ingress")); len(c.Groups) != 1 || len(c.Endpoints)+len(c.Members) > 0 {
		t.Errorf("got %+v", c)
	}
	if c := step("local", vm("default", "local", "10.0.0.3", "", "g")); len(c.Endpoints) != 1 || len(c.Groups) > 0 {
		t.Errorf("got %+v", c)
	}
}

// TestLedgerUnreadable: another reason is another status.
func TestLedgerUnreadable(t *testing.T) {
	var l Ledger
	for _, reason := range []string{"permission denied", "input/output error"} {
		if c := l.Update([]FileChange{{File: File{Name: "a", Unreadable: reason}}}); len(c.Status) != 1 || c.Status[0].Errors[0].Reason != "cannot be read: "+reason {
			t.Errorf("got %+v", c)
		}
	}
}
