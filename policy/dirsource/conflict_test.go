package dirsource

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/policytest"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// Accept is the reference for the Tracker: it decides which revision of each file
// is in force, given the revisions that were in force before and all files that
// are in the directory now. Both results are sorted by name.
func Accept(previous []policy.Revision, files []File) ([]policy.Revision, []policy.UnitStatus) {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	files = slices.CompactFunc(files, func(a, b File) bool { return a.Name == b.Name })
	before := make(map[string]*policy.Revision, len(previous))
	for i := range previous {
		before[previous[i].Name] = &previous[i]
	}
	all := make(candidates, len(files))
	for i, f := range files {
		now := contentOf(f)
		all[i] = newCandidate(now, before[f.Name], func() (*policy.Revision, []policy.Problem) {
			o, errs := manifest.Decode(manifest.File{Name: f.Name, Data: f.Data})
			if len(errs) > 0 {
				return nil, errs
			}
			return &policy.Revision{Name: now.name, Sum: now.sum, Objects: o}, nil
		})
	}
	all.settle()
	all.restore()
	var revisions []policy.Revision
	status := make([]policy.UnitStatus, 0, len(all))
	for _, c := range all {
		if v := c.chosen(); v != nil {
			revisions = append(revisions, *v)
		}
		status = append(status, all.status(c))
	}
	return revisions, status
}

// directory runs Accept through states of a directory. A file's text is a list
// of group names, "!" for a file that does not decode, "?" for unreadable.
type directory struct{ inForce []policy.Revision }

func (d *directory) step(files map[string]string) []string {
	var fs []File
	for name, text := range files {
		fs = append(fs, asFile(name, text))
	}
	var status []policy.UnitStatus
	d.inForce, status = Accept(d.inForce, fs)
	var out []string
	for _, s := range status {
		line := fmt.Sprintf("%s %s", s.Name, s.State)
		for _, v := range d.inForce {
			if v.Name == s.Name {
				var names []string
				for _, g := range v.Objects.Groups {
					names = append(names, g.Key.Name)
				}
				line += fmt.Sprintf(" %v", names)
			}
		}
		if len(s.Errors) > 0 {
			line += " " + s.Errors[0].Reason
		}
		out = append(out, line)
	}
	return out
}

func asFile(name, text string) File {
	switch text {
	case "!":
		return File{Name: name, Data: []byte("{")}
	case "?":
		return File{Name: name, Unreadable: "permission denied"}
	}
	var src strings.Builder
	for _, g := range strings.Fields(text) {
		if strings.Contains(g, ":") {
			src.WriteString(claiming(g))
		} else {
			src.WriteString(policytest.Group("default", g))
		}
	}
	return File{Name: name, Data: []byte(src.String())}
}

// claims are virtual machines as claiming reads them, whose claims overlap.
var claims = []string{
	"n:p:u:i::1:", "m:p:u:j::1:", "n:q::i:1::", "n:q::k:1:1:s", "n:r::::1:t", "m:r::l:1:1:s", "n:x::w::1:s", "n:p:::2:2:", "n:p:::2:2: n:q::p::3:",
	"n:q:v:::2:s n:r:v::: :",
}

// claiming returns the manifest of a virtual machine that is written as
// "namespace:name:uid:id:mac:address:subnet"; all but the first two may be empty.
func claiming(text string) string {
	f := append(strings.Split(text, ":"), "", "", "", "", "", "")
	s := "apiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: " + f[1] + ", namespace: " + f[0]
	if f[2] != "" {
		s += ", uid: " + f[2]
	}
	s += "}\nspec:\n  networking:\n    interfaces:\n    - ipAddresses: ["
	if f[5] != "" {
		s += "10.0.0." + f[5]
	}
	s += "]\n"
	if f[3] != "" {
		s += "      id: " + f[3] + "\n"
	}
	if f[4] != "" {
		s += "      macAddress: 02:00:00:00:00:0" + f[4] + "\n"
	}
	if f[6] != "" {
		s += "      subnetRef: {name: " + f[6] + "}\n"
	}
	return s + "---\n"
}

// TestClaims checks that who has a uid, an id, a MAC or an address keeps it,
// whatever the names of files, namespaces and virtual machines.
func TestClaims(t *testing.T) {
	const has = " is already that of VM w/web, at web:"
	for _, c := range []struct{ what, web, other, reason string }{
		{"a uid", "w:web:u:::::", "a:a:u::::", `uid "u"` + has + "1:1"},
		{"an id", "w:web::i::::", "a:a::i:::", `interface id "i"` + has + "7:7"},
		{"the id that a name is", "w:web:", "a:web:", `interface id "web"` + has + "7:7"},
		{"a MAC", "w:web:::1:1:s", "a:a:::1:2:s", "MAC 02:00:00:00:00:01" + has + "7:7"},
		{"a MAC in one subnet", "w:web:::1::s", "w:a:::1::s", "MAC 02:00:00:00:00:01" + has + "7:7"},
		{"an address", "w:web::::1:", "w:a::::1:", "address 10.0.0.1" + has + "7:7"},
		{"an address in one subnet", "w:web::::1:s", "w:a::::1:s", "address 10.0.0.1" + has + "7:7"},
		{"an address without a subnet", "w:web::::1:s", "w:a::::1:", "address 10.0.0.1" + has + "7:7"},
		{"an address and a MAC in two subnets", "w:web:::1:1:s", "w:a:::1:1:t", ""},
		{"an address in two namespaces", "w:web::::1:s", "a:a::::1:s", ""},
	} {
		var d directory
		d.step(map[string]string{"web": c.web})
		want := []string{"aaa accepted []", "web accepted []"}
		if c.reason != "" {
			want[0] = "aaa rejected " + c.reason
		}
		for range 2 {
			policytest.Lines(t, d.step(map[string]string{"web": c.web, "aaa": c.other}), want)
		}
		policytest.Lines(t, d.step(map[string]string{"web": c.web + " g", "aaa": c.other + " h"}), // both change
			[]string{strings.Replace(want[0], "accepted []", "accepted [h]", 1), "web accepted [g]"})
		policytest.Lines(t, d.step(map[string]string{"web": "x", "aaa": c.other}), []string{"aaa accepted []", "web accepted [x]"})

		// The same in one file, whose first revision has an incumbent.
		d = directory{}
		d.step(map[string]string{"web": c.web})
		state := d.step(map[string]string{"web": c.other + " " + c.web})[0]
		if (c.reason == "") != (state == "web accepted []") || c.reason != "" && !strings.HasPrefix(state, "web kept [] "+strings.Split(c.reason, " is already")[0]) {
			t.Errorf("%s in one file: %s", c.what, state)
		}
		d = directory{} // who is first by name has it, as before, with a warning
		policytest.Lines(t, d.step(map[string]string{"web": c.other + " " + c.web}), []string{"web accepted []"})
	}
}

// TestClaimsOfBefore checks that files that share a claim since an earlier release
// stay in force and may change, and that no third file joins them.
func TestClaimsOfBefore(t *testing.T) {
	var d directory
	for _, name := range []string{"a", "b"} {
		var one directory
		one.step(map[string]string{name: name + ":vm:::::"})
		d.inForce = append(d.inForce, one.inForce...)
	}
	files := map[string]string{"a": "a:vm:::::", "b": "b:vm:::::", "0": "c:vm"}
	refused := `0 rejected interface id "vm" is already that of VM a/vm, at a:7:7`
	policytest.Lines(t, d.step(files), []string{refused, "a accepted []", "b accepted []"})
	files["b"] += " x"
	policytest.Lines(t, d.step(files), []string{refused, "a accepted []", "b accepted [x]"})
	files["a"] = "y" // who gives up a claim does not get it back
	d.step(files)
	files["a"] = "a:vm:::::"
	policytest.Lines(t, d.step(files), []string{strings.ReplaceAll(refused, "a/vm, at a", "b/vm, at b"),
		`a kept [y] interface id "vm" is already that of VM b/vm, at b:7:7`, "b accepted [x]"})
}

func TestAccept(t *testing.T) {
	const broken = "not YAML: did not find expected node content"
	already := func(g, at string) string {
		return "SecurityGroup default/" + g + " is already defined at " + at + ":1:1"
	}
	type files = map[string]string
	tests := []struct {
		name   string
		states []files
		want   []string // after the last state
	}{
		{"all good", []files{{"a": "x", "b": "y z"}}, []string{"a accepted [x]", "b accepted [y z]"}},
		{"bad at first", []files{{"a": "!"}}, []string{"a rejected " + broken}},
		{"keeps the last good", []files{{"a": "x"}, {"a": "!"}}, []string{"a kept [x] " + broken}},
		{"and again", []files{{"a": "x"}, {"a": "!"}, {"a": "!"}}, []string{"a kept [x] " + broken}},
		{"until it is good", []files{{"a": "x"}, {"a": "!"}, {"a": "y"}}, []string{"a accepted [y]"}},
		{"gone is gone", []files{{"a": "x", "b": "y"}, {"b": "y"}}, []string{"b accepted [y]"}},
		{"bad and gone", []files{{"a": "x"}, {"a": "!"}, {}}, nil},
		{"bad, gone and back", []files{{"a": "x"}, {"a": "!"}, {}, {"a": "!"}}, []string{"a rejected " + broken}},
		{"unreadable", []files{{"a": "x"}, {"a": "?"}}, []string{"a kept [x] cannot be read: permission denied"}},
		{"unreadable at first", []files{{"a": "?"}}, []string{"a rejected cannot be read: permission denied"}},
		{"empty from the start", []files{{"a": ""}}, []string{"a accepted []"}},
		{"become empty", []files{{"a": "x"}, {"a": ""}}, []string{"a kept [x] empty, where something is in force: remove the file to revoke it"}},
		{"duplicate at first: by name", []files{{"b": "x", "a": "x"}}, []string{"a accepted [x]", "b rejected " + already("x", "a")}},
		{"duplicate later: who had it", []files{{"b": "x", "a": "y"}, {"b": "x", "a": "x"}}, []string{"a kept [y] " + already("x", "b"), "b accepted [x]"}},
		{"duplicate later, both changed: who had it", []files{{"b": "x"}, {"b": "x n", "a": "x"}}, []string{"a rejected " + already("x", "b"), "b accepted [x n]"}},
		{"the surest refusal comes first", []files{{"b": "z", "c": "y", "d": "w"}, {"a": "x y", "b": "x w", "c": "y", "d": "z"}}, []string{"a rejected " + "SecurityGroup default/x is already defined at b:1:1", "b accepted [x w]", "c accepted [y]", "d accepted [z]"}},
		{"refused as a whole", []files{{"b": "x"}, {"b": "x", "a": "new x"}}, []string{"a rejected " + already("x", "b"), "b accepted [x]"}},
		{"moved", []files{{"a": "x y", "b": "z"}, {"a": "x", "b": "z y"}}, []string{"a accepted [x]", "b accepted [z y]"}},
		{"swapped", []files{{"a": "x", "b": "y"}, {"a": "y", "b": "x"}}, []string{"a accepted [y]", "b accepted [x]"}},
		{"renamed file", []files{{"a": "x"}, {"b": "x"}}, []string{"b accepted [x]"}},
		{"moved away from a broken file", []files{{"a": "x y", "b": "z"}, {"a": "!", "b": "z y"}}, []string{"a kept [x y] " + broken, "b kept [z] " + "SecurityGroup default/y is already defined at a:7:1"}},
		{"the refused file's old revision stands against a third", []files{{"a": "x", "b": "y", "c": "z"}, {"a": "x", "b": "x", "c": "y"}}, []string{"a accepted [x]", "b kept [y] " + already("x", "a"), "c kept [z] " + already("y", "b")}},
		{"a refused file is in nobody's way", []files{{"a": "x", "c": "z"}, {"a": "x", "b": "x n", "c": "n"}}, []string{"a accepted [x]", "b rejected " + already("x", "a"), "c accepted [n]"}},
		{"refused for a file that is refused itself", []files{{"b": "z"}, {"a": "n z", "b": "z n"}}, []string{"a rejected SecurityGroup default/n is already defined at b:7:1", "b accepted [z n]"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var d directory
			var got []string
			for _, s := range test.states {
				got = d.step(s)
			}
			policytest.Lines(t, got, test.want)
		})
	}
}

func TestAcceptReportsEveryConflict(t *testing.T) {
	_, status := Accept(nil, []File{asFile("a", "x y"), asFile("b", "y n x")})
	if len(status[1].Errors) != 2 {
		t.Errorf("got %v", status[1].Errors)
	}
}

// againstOthers returns a claim of a revision that a claim of another is against.
func againstOthers(revisions []policy.Revision) string {
	for i := range revisions {
		for j := range revisions[:i] {
			for _, a := range revisions[i].Objects.Claims() {
				for _, b := range revisions[j].Objects.Claims() {
					if a.ID == b.ID && a.Against(&b) {
						return policy.ClaimedTwice(&a, &b).Error()
					}
				}
			}
		}
	}
	return ""
}

// asksNoMore reports whether the objects claim nothing that v does not.
func asksNoMore(o policy.Objects, v policy.Revision) bool {
	has := v.Objects.Claims()
	return !slices.ContainsFunc(o.Claims(), func(c policy.Claim) bool {
		return !slices.ContainsFunc(has, func(h policy.Claim) bool {
			return h.ID == c.ID && h.Subnet == c.Subnet && h.Object.ID() == c.Object.ID()
		})
	})
}

// TestAcceptProperties checks that nothing is ever claimed by two files, that a file
// that claims no more than it has is accepted whatever the others claim, that the
// result does not depend on the order of the files, that it stays the same when
// nothing changes, that each refusal has a reason, and that no file in the
// directory loses its revision in force.
func TestAcceptProperties(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	texts := append([]string{"", "!", "?", "x", "y", "z", "x y", "y z", "z x", "x w", "w"}, claims...)
	rapid.Check(t, func(t *rapid.T) {
		var inForce []policy.Revision
		for range rapid.IntRange(1, 4).Draw(t, "states") {
			var files []File
			for _, n := range names {
				if i := rapid.IntRange(-1, len(texts)-1).Draw(t, n); i >= 0 {
					files = append(files, asFile(n, texts[i]))
				}
			}
			next, status := Accept(inForce, files)
			turned, turnedStatus := Accept(inForce, rapid.Permutation(files).Draw(t, "order"))
			if !reflect.DeepEqual(next, turned) || !reflect.DeepEqual(status, turnedStatus) {
				t.Fatalf("order matters: %v, %v", status, turnedStatus)
			}
			again, againStatus := Accept(next, files)
			if !reflect.DeepEqual(next, again) || !reflect.DeepEqual(status, againStatus) {
				t.Fatalf("a second time it is different: %v, %v", status, againStatus)
			}
			var all []policy.Objects
			for _, v := range next {
				all = append(all, v.Objects)
			}
			if _, errs := policy.New(all, policy.Options{}); len(errs) > 0 {
				t.Fatalf("defined twice: %v", errs)
			}
			if twice := againstOthers(next); twice != "" {
				t.Fatal(twice)
			}
			for i, s := range status {
				if (s.State == policy.Accepted) != (len(s.Errors) == 0) {
					t.Fatalf("state without reason: %+v", s)
				}
				f := files[i]
				had := slices.IndexFunc(inForce, func(v policy.Revision) bool { return v.Name == f.Name })
				has := slices.IndexFunc(next, func(v policy.Revision) bool { return v.Name == f.Name })
				if o, errs := manifest.Decode(manifest.File{Name: f.Name, Data: f.Data}); had >= 0 && f.Unreadable == "" && len(f.Data) > 0 && len(errs) == 0 &&
					asksNoMore(o, inForce[had]) && s.State != policy.Accepted {
					t.Fatalf("%s lost what it had: %v", f.Name, s.Errors)
				}
				if had >= 0 && has < 0 {
					t.Fatalf("%s lost what was in force", f.Name)
				}
			}
			inForce = next
		}
	})
}
