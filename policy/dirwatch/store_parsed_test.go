package dirwatch

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/ovs-sg/ovs-sg/policy"
)

// versions are what files decode to.
func versions(t testing.TB, files []policy.File) (list []*policy.Version) {
	t.Helper()
	for _, f := range files {
		o, errs := policy.Decode(f)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		list = append(list, &policy.Version{Name: f.Name, Sum: sha256.Sum256(f.Data), Objects: o})
	}
	return list
}

func saveParsed(t testing.TB, s *Store, list []*policy.Version) {
	t.Helper()
	if err := s.SaveParsed(list); err != nil {
		t.Fatal(err)
	}
}

// stopped is a state directory after a clean stop.
func stopped(t testing.TB) (dir string, have []policy.File) {
	dir = t.TempDir()
	have = []policy.File{{Name: "a.yaml", Data: manifest("a")}, {Name: "b.yaml", Data: manifest("b")}}
	s := open(t, dir)
	save(t, s, have)
	saveParsed(t, s, versions(t, have))
	return dir, have
}

func isThere(t testing.TB, dir string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(dir, parsedName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// ignored says that the copies are read, as if there were no parsed form.
func ignored(t testing.TB, what, dir string, want []policy.File) {
	t.Helper()
	s := open(t, dir)
	if v := s.Versions(); v != nil {
		t.Errorf("%s: it is trusted", what)
	}
	if got := s.Files(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %s", what, got)
	}
}

func TestParsed(t *testing.T) {
	dir, have := stopped(t)
	// The copies are not read.
	for _, f := range have {
		if err := os.WriteFile(filepath.Join(dir, f.Name+acceptedSuffix), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	if got := s.Versions(); !reflect.DeepEqual(got, versions(t, have)) {
		t.Errorf("got %v", got)
	}
	if s.Files() != nil || s.Versions() != nil {
		t.Error("more than once, or both")
	}
	// What is stored already is no change, and it is not written again.
	before, _ := os.Stat(filepath.Join(dir, parsedName))
	save(t, s, have[:1], "never.yaml")
	saveParsed(t, s, versions(t, have))
	if after, err := os.Stat(filepath.Join(dir, parsedName)); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was removed or written again: %v", err)
	}
}

// TestParsedGoesWithAChange: whatever changes a copy removes it before.
func TestParsedGoesWithAChange(t *testing.T) {
	changed := []policy.File{{Name: "b.yaml", Data: manifest("b2")}}
	for _, reopened := range []bool{false, true} {
		for what, change := range map[string]func(*Store) error{
			"changed": func(s *Store) error { return s.Save(changed, nil) },
			"new":     func(s *Store) error { return s.Save(files("c.yaml", "c"), nil) },
			"removed": func(s *Store) error { return s.Save(nil, []string{"a.yaml"}) },
		} {
			dir, have := stopped(t)
			s := open(t, dir)
			if !reopened {
				if err := os.Remove(filepath.Join(dir, parsedName)); err != nil {
					t.Fatal(err)
				}
				s = open(t, dir)
				saveParsed(t, s, versions(t, have))
			}
			if err := change(s); err != nil || isThere(t, dir) {
				t.Errorf("%s: it is still there: %v", what, err)
			}
		}
	}
	// Nothing changes as long as it cannot be removed: a directory in its place
	// stands for what cannot.
	dir, have := stopped(t)
	s := open(t, dir)
	name := filepath.Join(dir, parsedName)
	if err := errors.Join(os.Remove(name), os.MkdirAll(filepath.Join(name, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Save(changed, []string{"a.yaml"}); err == nil {
			t.Error("saved")
		}
	}
	ignored(t, "a directory", dir, have)
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
	save(t, s, changed, "a.yaml")
	ignored(t, "changed", dir, changed)
}

// TestParsedOfOthers: the versions must be those of the copies.
func TestParsedOfOthers(t *testing.T) {
	dir := t.TempDir()
	have := []policy.File{{Name: "a.yaml", Data: manifest("a")}, {Name: "b.yaml", Data: manifest("b")}}
	s := open(t, dir)
	save(t, s, have)
	all := versions(t, have)
	other := versions(t, []policy.File{{Name: "b.yaml", Data: manifest("x")}})[0]
	third := versions(t, []policy.File{{Name: "c.yaml", Data: manifest("b")}})[0]
	for _, list := range [][]*policy.Version{nil, all[:1], {all[0], other}, {all[0], third}, {all[0], all[1], third}} {
		saveParsed(t, s, list)
		if isThere(t, dir) {
			t.Fatalf("%d versions that are not stored", len(list))
		}
	}
}

func TestParsedIsNotTrusted(t *testing.T) {
	dir, have := stopped(t)
	name := filepath.Join(dir, parsedName)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range whole {
		broken := bytes.Clone(whole)
		broken[i] ^= 1 << (i % 8)
		put(broken)
		ignored(t, fmt.Sprintf("byte %d", i), dir, have)
	}
	for n := range whole {
		put(whole[:n])
		ignored(t, fmt.Sprintf("%d bytes", n), dir, have)
	}
	put(append(bytes.Clone(whole), 0))
	ignored(t, "longer", dir, have)
	// Whole, with a sum that is right, but not what the header says.
	body := whole[:len(whole)-sha256.Size]
	for _, body := range [][]byte{append(bytes.Clone(body), 0), body[:len(body)-1], bytes.Repeat([]byte{0xff}, 200)} {
		header, _ := parsedHeader()
		body = append(header, body[min(len(header), len(body)):]...)
		sum := sha256.Sum256(body)
		put(append(body, sum[:]...))
		ignored(t, "other content", dir, have)
	}
	put(whole)
	if err := os.Chmod(name, 0o620); err != nil {
		t.Fatal(err)
	}
	ignored(t, "others may write it", dir, have)
	if err := errors.Join(os.Remove(name), os.WriteFile(name+"2", whole, 0o600), os.Symlink(name+"2", name)); err != nil {
		t.Fatal(err)
	}
	ignored(t, "symbolic link", dir, have)
	if err := errors.Join(os.Remove(name), os.Rename(name+"2", name)); err != nil {
		t.Fatal(err)
	}
	if open(t, dir).Versions() == nil {
		t.Error("not trusted in the end")
	}
}

// TestParsedOfAnotherSet: a copy is missing, or there is one more.
func TestParsedOfAnotherSet(t *testing.T) {
	dir, have := stopped(t)
	c := filepath.Join(dir, "c.yaml"+acceptedSuffix)
	if err := os.WriteFile(c, []byte("c"), 0o600); err != nil {
		t.Fatal(err)
	}
	ignored(t, "one more", dir, append(have, files("c.yaml", "c")...))
	if err := os.Remove(filepath.Join(dir, "a.yaml"+acceptedSuffix)); err != nil {
		t.Fatal(err)
	}
	ignored(t, "another", dir, append(have[1:], files("c.yaml", "c")...))
	if err := os.Remove(c); err != nil {
		t.Fatal(err)
	}
	ignored(t, "one less", dir, have[1:])
}

// TestParsedOfAnotherBuild is not read, and replaced at the end.
func TestParsedOfAnotherBuild(t *testing.T) {
	dir, have := stopped(t)
	before := executable
	t.Cleanup(func() { executable = before })
	executable = func() ([]byte, error) {
		id, err := before()
		id[len(id)-1]++
		return id, err
	}
	ignored(t, "other build", dir, have)
	s := open(t, dir)
	saveParsed(t, s, versions(t, have))
	if open(t, dir).Versions() == nil {
		t.Error("not replaced")
	}
	executable = before
	ignored(t, "the first build", dir, have)
	executable = func() ([]byte, error) { return nil, errors.New("no /proc") }
	ignored(t, "no build", dir, have)
	if err := s.Save(files("b.yaml", "b2"), nil); err != nil {
		t.Error(err)
	}
	if err := s.SaveParsed(versions(t, have[:1])); err != nil || isThere(t, dir) {
		t.Errorf("there, or %v", err)
	}
}

// TestParsedHalfWritten: a crash leaves a temporary file, which is removed.
func TestParsedHalfWritten(t *testing.T) {
	dir, have := stopped(t)
	name := filepath.Join(dir, parsedName)
	half := filepath.Join(dir, tempPrefix+parsedName)
	if err := os.Rename(name, half); err != nil {
		t.Fatal(err)
	}
	ignored(t, "half", dir, have)
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left over: %v", err)
	}
	// One that is in the way is an error, and not the end.
	if err := os.Mkdir(half, 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir) // which removes it if it is empty
	if err := os.MkdirAll(filepath.Join(half, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveParsed(versions(t, have)); err == nil || isThere(t, dir) {
		t.Errorf("there, or no error: %v", err)
	}
}

// many is a state directory with so many files, and their versions.
func many(b *testing.B, n int) (string, []*policy.Version) {
	dir := b.TempDir()
	var list []policy.File
	for i := range n {
		f := policy.File{Name: fmt.Sprintf("%06d.yaml", i), Data: manifest(fmt.Sprintf("g%d", i))}
		f.Data = append(f.Data, fmt.Sprintf("# %0500d", i)...)
		list = append(list, f)
	}
	save(b, open(b, dir), list)
	return dir, versions(b, list)
}

func BenchmarkParsed(b *testing.B) {
	const n = 100_000
	dir, list := many(b, n)
	b.Run("copies", func(b *testing.B) {
		for b.Loop() {
			if len(open(b, dir).Files()) != n {
				b.Fatal("not all are there")
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		s := open(b, dir)
		for b.Loop() {
			s.parsed = absent
			saveParsed(b, s, list)
		}
		st, err := os.Stat(filepath.Join(dir, parsedName))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(st.Size()), "bytes")
	})
	saveParsed(b, open(b, dir), list)
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if len(open(b, dir).Versions()) != n {
				b.Fatal("not trusted")
			}
		}
	})
}
