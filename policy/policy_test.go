package policy

import "testing"

func TestNewRefusesDuplicates(t *testing.T) {
	at := func(file string, line int32) Position { return Position{file, line, 1} }
	g, other := Key{"default", "g"}, Key{"other", "g"}
	a := Objects{Groups: []Group{{Key: g, Rules: []Rule{{Name: "#0"}}, Pos: at("a.yaml", 1)}}}
	b := Objects{
		Groups:  []Group{{Key: other, Pos: at("b.yaml", 8)}, {Key: g, Pos: at("b.yaml", 2)}},
		Subnets: []Subnet{{Key: g, Pos: at("b.yaml", 14)}},
	}
	p, errs := New([]Objects{a, b}, Options{})
	var got []string
	for _, e := range errs {
		got = append(got, e.Error())
	}
	wantLines(t, got, []string{"b.yaml:2:1: metadata.name: SecurityGroup default/g is already defined at a.yaml:1:1"})
	o := p.Objects()
	if len(o.Groups) != 2 || len(o.Groups[0].Rules) != 1 || o.Groups[1].Key != other || len(o.Subnets) != 1 || len(o.VirtualMachines) != 0 {
		t.Errorf("got %+v", o)
	}
	if p.Options().DefaultGroup != DefaultGroupName {
		t.Errorf("options %+v", p.Options())
	}
}
