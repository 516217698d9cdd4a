package dirsource

import (
	"bytes"
	"crypto/sha256"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/policytest"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// added is the revisions in force, added up from the changes that a Tracker
// returns.
type added map[string]*policy.Revision

func (a added) up(t interface{ Fatalf(string, ...any) }, change Change) {
	for i, c := range change.Revisions {
		if i > 0 && change.Revisions[i-1].Name >= c.Name {
			t.Fatalf("out of order: %s", c.Name)
		}
		if a[c.Name] != c.Before || c.Before == c.After {
			t.Fatalf("%s: before %v, reported %v, after %v", c.Name, a[c.Name], c.Before, c.After)
		}
		if c.After == nil {
			delete(a, c.Name)
			continue
		}
		if sha256.Sum256(change.Data[i]) != c.After.Sum {
			t.Fatalf("%s: the data is not that of the revision", c.Name)
		}
		a[c.Name] = c.After
	}
}

func (a added) revisions() []policy.Revision {
	var vs []policy.Revision
	for _, v := range a {
		vs = append(vs, *v)
	}
	slices.SortFunc(vs, func(a, b policy.Revision) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return vs
}

// TestTrackerIsAccept checks that a Tracker, after any history of the files, has
// the revisions that Accept gives for the whole directory.
func TestTrackerIsAccept(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	texts := append([]string{"", "!", "?", "x", "y", "z", "x y", "y z", "z x", "x w", "w", "v", "v w", "u", "u x", "# nothing", "!!"}, claims...)
	read := func(name, text string) File {
		switch text {
		case "# nothing":
			return File{Name: name, Data: []byte("# nothing\n")}
		case "!!":
			return File{Name: name, Data: []byte("kind: Nonsense\n")}
		}
		return asFile(name, text)
	}
	again := 0
	rapid.Check(t, func(t *rapid.T) {
		var tracker Tracker
		var inForce []policy.Revision
		sum := make(added)
		draw := func(label string) string { return texts[rapid.IntRange(0, len(texts)-1).Draw(t, label)] }
		var stored []File
		for _, n := range names {
			if rapid.Bool().Draw(t, "stored "+n) {
				f := read(n, draw("copy of "+n))
				f.Unreadable = ""
				stored = append(stored, f)
				if o, errs := manifest.Decode(manifest.File{Name: f.Name, Data: f.Data}); len(errs) == 0 {
					inForce = append(inForce, policy.Revision{Name: n, Sum: sha256.Sum256(f.Data), Objects: o})
				}
			}
		}
		tracker.Restore(stored)
		if rapid.Bool().Draw(t, "ask") {
			restored := tracker.Restored()
			sum.up(t, restored)
			if got := sum.revisions(); !reflect.DeepEqual(got, inForce) {
				t.Fatalf("restored %v, want %v", got, inForce)
			}
		}
		directory := make(map[string]File)
		statuses := make(map[string]policy.UnitStatus)
		for step := range rapid.IntRange(1, 8).Draw(t, "steps") {
			var changes []FileChange
			for _, n := range names {
				if step > 0 && rapid.IntRange(0, 2).Draw(t, "touch "+n) > 0 {
					continue
				}
				if rapid.IntRange(0, 5).Draw(t, "gone "+n) == 0 {
					if step > 0 {
						changes = append(changes, FileChange{File: File{Name: n}, Gone: true})
					}
					delete(directory, n)
					continue
				}
				f := read(n, draw(n))
				directory[n] = f
				changes = append(changes, FileChange{File: f})
			}
			var files []File
			for _, f := range directory {
				files = append(files, f)
			}
			var status []policy.UnitStatus
			inForce, status = Accept(inForce, files)
			change := tracker.Update(changes)
			again += len(tracker.recheck)
			sum.up(t, change)
			if got := sum.revisions(); len(got)+len(inForce) > 0 && !reflect.DeepEqual(got, inForce) {
				t.Fatalf("step %d: in force %v, want %v", step, got, inForce)
			}
			for i, v := range tracker.Revisions() {
				if i >= len(sum) || sum[v.Name] != v {
					t.Fatalf("step %d: not in force: %s", step, v.Name)
				}
			}
			if got := len(tracker.Revisions()); got != len(sum) {
				t.Fatalf("step %d: %d revisions in force, want %d", step, got, len(sum))
			}
			if got := tracker.Status(); !slices.EqualFunc(got, status, func(a, b policy.UnitStatus) bool { return a.Name == b.Name && sameStatus(a, b) }) {
				t.Fatalf("step %d: status %v, want %v", step, got, status)
			}
			var differ []policy.UnitStatus
			for _, s := range status {
				if !sameStatus(s, statuses[s.Name]) {
					differ = append(differ, s)
				}
			}
			clear(statuses)
			for _, s := range status {
				statuses[s.Name] = s
			}
			if !slices.EqualFunc(change.Status, differ, func(a, b policy.UnitStatus) bool { return a.Name == b.Name && sameStatus(a, b) }) {
				t.Fatalf("step %d: reported %v, want %v", step, change.Status, differ)
			}
			tracker.check(t)
		}
	})
	t.Logf("%d files judged again", again)
}

// check compares the definers of tr with the revisions of tr.
func (tr *Tracker) check(t *rapid.T) {
	want := newDefiners()
	want.seed = tr.definers.seed
	for _, v := range tr.accepted {
		want.add(v)
	}
	for _, f := range tr.pending {
		if f.newest != nil {
			want.add(f.newest)
		}
		if f.inForce != nil && f.inForce != f.newest {
			want.add(f.inForce)
		}
	}
	for h := range tr.definers.revisions.Firsts() {
		got, want := slices.Collect(tr.definers.revisions.Values(h)), slices.Collect(want.revisions.Values(h))
		if !sameElements(got, want) {
			t.Fatalf("index %v, want %v", got, want)
		}
	}
	if got := tr.definers.revisions.Len(); got != want.revisions.Len() {
		t.Fatalf("%d objects in the index, want %d", got, want.revisions.Len())
	}
}

func sameElements(a, b []*policy.Revision) bool {
	left := slices.Clone(a)
	for _, v := range b {
		i := slices.Index(left, v)
		if i < 0 {
			return false
		}
		left = slices.Delete(left, i, i+1)
	}
	return len(left) == 0
}

// TestTrackerDecodesOnce checks that a stored copy and the same content in the
// directory are one revision, and that known content is not decoded again.
func TestTrackerDecodesOnce(t *testing.T) {
	var tracker Tracker
	tracker.Restore([]File{asFile("a", "x"), asFile("b", "y")})
	restored := tracker.Restored()
	c := tracker.Update([]FileChange{{File: asFile("a", "x")}})
	if len(c.Revisions) != 1 || c.Revisions[0].Name != "b" || c.Revisions[0].After != nil || tracker.accepted["a"] != restored.Revisions[0].After {
		t.Errorf("got %+v", c)
	}
	if allocs := testing.AllocsPerRun(10, func() { c = tracker.Update([]FileChange{{File: File{Name: "c"}, Gone: true}}) }); len(c.Revisions)+len(c.Status) > 0 || allocs > 4 {
		t.Errorf("got %+v with %v allocations", c, allocs)
	}
	same := []FileChange{{File: asFile("a", "x")}}
	if allocs := testing.AllocsPerRun(10, func() { c = tracker.Update(same) }); len(c.Revisions)+len(c.Status) > 0 || allocs > 4 {
		t.Errorf("got %+v with %v allocations", c, allocs)
	}
}

// TestTrackerInParallel checks that many files at once, which share lists and
// names, give the revisions that Accept gives.
func TestTrackerInParallel(t *testing.T) {
	var changes []FileChange
	var files []File
	for i := range 200 {
		f := asFile(string([]byte{'a' + byte(i/26), 'a' + byte(i%26)}), string([]byte{'g', 'a' + byte(i/20), 'a' + byte(i%20)}))
		changes, files = append(changes, FileChange{File: f}), append(files, f)
	}
	for _, f := range []File{vmFile(1, 0), vmFile(2, 0), vmFile(201, 0), {Name: "net.yaml", Data: []byte(policytest.Subnet("shop", "s0", "10.0.0.0/8", "", "v") + policytest.Group("shop", "g1", "direction: Egress"))}} {
		changes, files = append(changes, FileChange{File: f}), append(files, f)
	}
	var tracker Tracker
	sum := make(added)
	sum.up(t, tracker.Update(changes))
	if want, _ := Accept(nil, files); !reflect.DeepEqual(sum.revisions(), want) {
		t.Error("not what Accept gives")
	}
}

// TestTrackerUnreadable checks that another reason is another status.
func TestTrackerUnreadable(t *testing.T) {
	var tracker Tracker
	for _, reason := range []string{"permission denied", "input/output error"} {
		if c := tracker.Update([]FileChange{{File: File{Name: "a", Unreadable: reason}}}); len(c.Status) != 1 || c.Status[0].Errors[0].Reason != "cannot be read: "+reason {
			t.Errorf("got %+v", c)
		}
	}
}
