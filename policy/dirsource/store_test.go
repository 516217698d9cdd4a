package dirsource

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

func manifestNamed(name string) []byte {
	return []byte("apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: " + name + "}\nspec: {}\n")
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// files returns the files of pairs of name and content.
func files(pairs ...string) (list []File) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, File{Name: pairs[i], Data: []byte(pairs[i+1])})
	}
	return list
}

func stored(s *Store) string {
	var out []string
	for _, f := range s.Files() {
		out = append(out, f.Name+"="+string(f.Data))
	}
	return strings.Join(out, " ")
}

func save(t testing.TB, s *Store, changed []File, removed ...string) {
	t.Helper()
	if err := s.Save(changed, removed); err != nil {
		t.Fatal(err)
	}
}

func TestStoreAcrossRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "policy")
	s := open(t, dir)
	save(t, s, files("b.yaml", "b", "a.yaml", "a"))
	s = open(t, dir)
	save(t, s, files("b.yaml", "b2"))
	if got := stored(s); got != "a.yaml=a b.yaml=b" {
		t.Errorf("opened with %s", got)
	}
	if got := stored(s); got != "" {
		t.Errorf("kept %s", got)
	}
	if got := stored(open(t, dir)); got != "a.yaml=a b.yaml=b2" {
		t.Errorf("stored %s", got)
	}
	save(t, s, nil, "a.yaml", "never.yaml")
	if got := stored(open(t, dir)); got != "b.yaml=b2" {
		t.Errorf("stored %s", got)
	}
}

// TestStoreBatch stores so many files that the whole filesystem is synced.
func TestStoreBatch(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var pairs []string
	for i := range 1000 {
		pairs = append(pairs, fmt.Sprintf("%04d.yaml", i), fmt.Sprint(i))
	}
	save(t, s, files(pairs...))
	save(t, s, files("0000.yaml", "x"), "0999.yaml")
	want := append([]string{"0000.yaml", "x"}, pairs[2:1998]...)
	got := open(t, dir).Files()
	if fmt.Sprint(got) != fmt.Sprint(files(want...)) {
		t.Errorf("stored %d files, not what was saved", len(got))
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 999 {
		t.Errorf("%d files are there: %v", len(list), err)
	}
}

func TestStoreWritesOnlyWhatDiffers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	save(t, s, files("a.yaml", "a"))
	before, err := os.Stat(s.path("a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	save(t, open(t, dir), files("a.yaml", "a"))
	after, err := os.Stat(s.path("a.yaml"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("an unchanged copy was written again: %v", err)
	}
}

func TestStoreCleansUp(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{tempPrefix + "1": "half", "old.yaml.accepted": "{", "README": "mine"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	if got := stored(s); got != "old.yaml={" {
		t.Errorf("stored %s", got)
	}
	save(t, s, nil, "old.yaml")
	list, _ := os.ReadDir(dir)
	if len(list) != 1 || list[0].Name() != "README" {
		t.Errorf("left over: %v", list)
	}
}

func TestStoreErrors(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	err := s.Save(files("../a.yaml", "", "b.yaml", "b"), nil)
	if err == nil || !strings.Contains(err.Error(), "../a.yaml") {
		t.Errorf("got %v", err)
	}
	if got := stored(open(t, dir)); got != "b.yaml=b" {
		t.Errorf("an error kept the others from being stored: %s", got)
	}
	// A copy that cannot be replaced stays as it was, and the next Save tries
	// again.
	if err := os.Mkdir(s.path("c.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Save(files("c.yaml", "c"), nil); err == nil || !strings.Contains(err.Error(), "c.yaml") {
			t.Errorf("got %v", err)
		}
	}
	if err := os.Remove(s.path("c.yaml")); err != nil {
		t.Fatal(err)
	}
	save(t, s, files("c.yaml", "c"))
	if got := stored(open(t, dir)); got != "b.yaml=b c.yaml=c" {
		t.Errorf("stored %s", got)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(filepath.Join(file, "sub")); err == nil {
		t.Error("opened a directory inside a file")
	}
}

func BenchmarkStoreSave(b *testing.B) {
	for _, count := range []int{1, 1000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			s := open(b, b.TempDir())
			i := 0
			for b.Loop() {
				i++
				list := make([]File, count)
				for n := range list {
					list[n] = File{Name: fmt.Sprintf("%d.yaml", n), Data: fmt.Appendf(nil, "%0500d", i)}
				}
				save(b, s, list)
			}
		})
	}
}

func BenchmarkOpenStore(b *testing.B) {
	const count = 100_000
	dir := b.TempDir()
	for i := range count {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.yaml%s", i, acceptedSuffix)), seal(fmt.Appendf(nil, "%0500d", i)), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if s := open(b, dir); len(s.Files()) != count {
			b.Fatal("not all are there")
		}
	}
	b.ReportMetric(count*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

// A copy that is not as it was written is left out, and the others are not. What
// an earlier release has written has no seal, and is read as ever.
func TestStoreLeavesOutDamaged(t *testing.T) {
	text := string(manifestNamed("web"))
	whole := string(seal([]byte(text)))
	for what, c := range map[string]struct{ stored, left string }{
		"whole":             {whole, ""},
		"without a seal":    {text, ""},
		"torn":              {whole[:len(whole)-5], "checksum"},
		"torn in the seal":  {whole[:sealSize/2], "checksum"},
		"torn after it":     {whole[:sealSize], "checksum"},
		"torn early":        {whole[:5], "checksum"},
		"empty":             {"", "empty"},
		"edited":            {strings.Replace(whole, "web", "wed", 1), "checksum"},
		"longer":            {whole + "\n", "checksum"},
		"too large":         {strings.Repeat("#", manifest.MaxFileSize+sealSize+1), "larger"},
		"as large as it is": {string(seal([]byte(strings.Repeat("#", manifest.MaxFileSize)))), ""},
	} {
		dir := t.TempDir()
		save(t, open(t, dir), files("b.yaml", "b"))
		path := filepath.Join(dir, "a.yaml"+acceptedSuffix)
		if err := os.WriteFile(path, []byte(c.stored), 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		var names []string
		for _, f := range s.Files() {
			names = append(names, f.Name)
		}
		damaged := strings.Join(s.damaged, "; ")
		if got := strings.Join(names, " "); got != "b.yaml" != (c.left == "") {
			t.Errorf("%s: read %s", what, got)
		}
		if (damaged != "") != (c.left != "") || !strings.Contains(damaged, c.left) || c.left != "" && !strings.HasPrefix(damaged, "a.yaml.accepted: ") {
			t.Errorf("%s: damaged: %q", what, damaged)
		}
		// The next content takes its place, and it goes with the file.
		save(t, s, files("a.yaml", "new"))
		if got := stored(open(t, dir)); got != "a.yaml=new b.yaml=b" {
			t.Errorf("%s: stored %s", what, got)
		}
		if err := os.WriteFile(path, []byte(c.stored), 0o600); err != nil {
			t.Fatal(err)
		}
		save(t, open(t, dir), nil, "a.yaml")
		if got := stored(open(t, dir)); got != "b.yaml=b" {
			t.Errorf("%s: stored %s after it was removed", what, got)
		}
	}
}

// A release that knows of no seals reads a copy as it reads any file.
func TestSealIsAComment(t *testing.T) {
	text := manifestNamed("web")
	plain, _ := manifest.Decode(manifest.File{Name: "a.yaml", Data: text})
	sealed, problems := manifest.Decode(manifest.File{Name: "a.yaml", Data: seal(text)})
	if len(problems) > 0 || len(sealed.Groups) != 1 || sealed.Groups[0].Key != plain.Groups[0].Key {
		t.Errorf("read as %+v, %v", sealed, problems)
	}
}

// What is no regular file is left out and not followed.
func TestStoreLeavesOutWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(secret, manifestNamed("secret"), 0o600),
		os.Symlink(secret, filepath.Join(dir, "a.yaml"+acceptedSuffix)),
		unix.Mkfifo(filepath.Join(dir, "b.yaml"+acceptedSuffix), 0o600),
		os.Mkdir(filepath.Join(dir, "c.yaml"+acceptedSuffix), 0o700)); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if got := stored(s); got != "" || len(s.damaged) != 2 {
		t.Errorf("stored %s, damaged %q", got, s.damaged)
	}
	save(t, s, files("a.yaml", "a"), "b.yaml")
	if got := stored(open(t, dir)); got != "a.yaml=a" {
		t.Errorf("stored %s", got)
	}
	if data, err := os.ReadFile(secret); err != nil || string(data) != string(manifestNamed("secret")) {
		t.Errorf("what the link led to is %q, %v", data, err)
	}
}

// The place of the policy directory is kept, and a file that does not say it is
// nothing.
func TestStorePlace(t *testing.T) {
	dir := t.TempDir()
	place := identity{dev: 1 << 40, ino: 7}
	if err := open(t, dir).save(keeping{place: place}); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if s.place != place || len(s.Files()) > 0 || len(s.sums) > 0 || len(s.damaged) > 0 {
		t.Errorf("opened as %+v", s)
	}
	if err := os.WriteFile(filepath.Join(dir, placeName), []byte("nowhere"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := open(t, dir); s.place != (identity{}) {
		t.Errorf("the place is %+v", s.place)
	}
}
