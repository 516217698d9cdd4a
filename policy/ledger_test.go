package policy

import (
	"bytes"
	"crypto/sha256"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// book-keeping of a caller that adds up what a Ledger returns.
type added map[string]*Revision

func (a added) up(t interface{ Fatalf(string, ...any) }, changes []RevisionChange) {
	for i, c := range changes {
		if i > 0 && changes[i-1].Name >= c.Name {
			t.Fatalf("out of order: %s", c.Name)
		}
		if a[c.Name] != c.Before || c.Before == c.After {
			t.Fatalf("%s: before %v, reported %v, after %v", c.Name, a[c.Name], c.Before, c.After)
		}
		if c.After == nil {
			delete(a, c.Name)
			continue
		}
		if sha256.Sum256(c.Data) != c.After.Sum {
			t.Fatalf("%s: the data is not that of the version", c.Name)
		}
		a[c.Name] = c.After
	}
}

func (a added) versions() []Revision {
	var vs []Revision
	for _, v := range a {
		vs = append(vs, *v)
	}
	slices.SortFunc(vs, func(a, b Revision) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return vs
}

// TestLedgerIsAccept: whatever happens to the files, the ledger has what Accept
// over everything has.
func TestLedgerIsAccept(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	texts := []string{"", "!", "?", "x", "y", "z", "x y", "y z", "z x", "x w", "w", "v", "v w", "u", "u x", "# nothing", "!!"}
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
		var l Ledger
		var inForce []Revision
		sum := make(added)
		draw := func(label string) string { return texts[rapid.IntRange(0, len(texts)-1).Draw(t, label)] }
		var stored []File
		for _, n := range names {
			if rapid.Bool().Draw(t, "stored "+n) {
				f := read(n, draw("copy of "+n))
				f.Unreadable = ""
				stored = append(stored, f)
				if o, errs := Decode(f); len(errs) == 0 {
					inForce = append(inForce, Revision{Name: n, Sum: sha256.Sum256(f.Data), Objects: o})
				}
			}
		}
		l.Restore(stored)
		if rapid.Bool().Draw(t, "ask") {
			restored := l.Restored()
			sum.up(t, restored)
			if got := sum.versions(); !reflect.DeepEqual(got, inForce) {
				t.Fatalf("restored %v, want %v", got, inForce)
			}
		}
		directory := make(map[string]File)
		statuses := make(map[string]UnitStatus)
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
			var status []UnitStatus
			inForce, status = Accept(inForce, files)
			change := l.Update(changes)
			again += len(l.again)
			sum.up(t, change.Versions)
			if got := sum.versions(); len(got)+len(inForce) > 0 && !reflect.DeepEqual(got, inForce) {
				t.Fatalf("step %d: in force %v, want %v", step, got, inForce)
			}
			for i, v := range l.Versions() {
				if i >= len(sum) || sum[v.Name] != v {
					t.Fatalf("step %d: not in force: %s", step, v.Name)
				}
			}
			if got := len(l.Versions()); got != len(sum) {
				t.Fatalf("step %d: %d versions in force, want %d", step, got, len(sum))
			}
			if got := l.Status(); !slices.EqualFunc(got, status, func(a, b UnitStatus) bool { return a.Name == b.Name && sameStatus(a, b) }) {
				t.Fatalf("step %d: status %v, want %v", step, got, status)
			}
			var differ []UnitStatus
			for _, s := range status {
				if !sameStatus(s, statuses[s.Name]) {
					differ = append(differ, s)
				}
			}
			clear(statuses)
			for _, s := range status {
				statuses[s.Name] = s
			}
			if !slices.EqualFunc(change.Status, differ, func(a, b UnitStatus) bool { return a.Name == b.Name && sameStatus(a, b) }) {
				t.Fatalf("step %d: reported %v, want %v", step, change.Status, differ)
			}
			l.check(t)
		}
	})
	t.Logf("%d files judged again", again)
}

// check compares the index of l with what it is the index of.
func (l *Ledger) check(t *rapid.T) {
	want := newUses()
	want.seed = l.uses.seed
	for _, v := range l.plain {
		want.add(v)
	}
	for _, f := range l.odd {
		if f.newest != nil {
			want.add(f.newest)
		}
		if f.inForce != nil && f.inForce != f.newest {
			want.add(f.inForce)
		}
	}
	count := func(u *uses) map[uint64]int {
		n := make(map[uint64]int)
		for h := range u.of.first {
			n[h] = 1 + len(u.of.rest[h])
		}
		return n
	}
	if got, want := count(&l.uses), count(&want); !reflect.DeepEqual(got, want) || len(l.uses.of.rest) > len(l.uses.of.first) {
		t.Fatalf("index %v, want %v", got, want)
	}
}

// TestLedgerDecodesOnce: what was stored and is in the directory unchanged is
// one version, and bytes that are known are no work.
func TestLedgerDecodesOnce(t *testing.T) {
	var l Ledger
	l.Restore([]File{asFile("a", "x"), asFile("b", "y")})
	restored := l.Restored()
	c := l.Update([]FileChange{{File: asFile("a", "x")}})
	if len(c.Versions) != 1 || c.Versions[0].Name != "b" || c.Versions[0].After != nil || l.plain["a"] != restored[0].After {
		t.Errorf("got %+v", c)
	}
	if allocs := testing.AllocsPerRun(10, func() { c = l.Update([]FileChange{{File: File{Name: "c"}, Gone: true}}) }); len(c.Versions)+len(c.Status) > 0 || allocs > 4 {
		t.Errorf("got %+v with %v allocations", c, allocs)
	}
	same := []FileChange{{File: asFile("a", "x")}}
	if allocs := testing.AllocsPerRun(10, func() { c = l.Update(same) }); len(c.Versions)+len(c.Status) > 0 || allocs > 4 {
		t.Errorf("got %+v with %v allocations", c, allocs)
	}
}

// TestLedgerInParallel: many files at once give the same, though what they have
// in common is shared.
func TestLedgerInParallel(t *testing.T) {
	var changes []FileChange
	var files []File
	for i := range 200 {
		f := asFile(string([]byte{'a' + byte(i/26), 'a' + byte(i%26)}), string([]byte{'g', 'a' + byte(i/20), 'a' + byte(i%20)}))
		changes, files = append(changes, FileChange{File: f}), append(files, f)
	}
	for _, f := range []File{vmFile(1, 0), vmFile(2, 0), vmFile(201, 0), {Name: "worked.yaml", Data: []byte(worked)}} {
		changes, files = append(changes, FileChange{File: f}), append(files, f)
	}
	var l Ledger
	sum := make(added)
	sum.up(t, l.Update(changes).Versions)
	if want, _ := Accept(nil, files); !reflect.DeepEqual(sum.versions(), want) {
		t.Error("not what Accept gives")
	}
}
