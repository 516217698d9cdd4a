package dirwatch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/policy"
)

func manifest(name string) []byte {
	return []byte("apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: " + name + "}\nspec: {}\n")
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stored(s *Store) string {
	var out []string
	for _, v := range s.Versions() {
		out = append(out, v.File.Name+"="+v.Objects.Groups[0].Key.Name)
	}
	return strings.Join(out, " ")
}

// TestStoreAcrossRestart is the story it is for: a file is broken, the agent
// restarts, and what was accepted is still in force.
func TestStoreAcrossRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "policy")
	s := open(t, dir)
	inForce, _ := policy.Accept(s.Versions(), []policy.File{{Name: "a.yaml", Data: manifest("a")}, {Name: "b.yaml", Data: manifest("b")}})
	if err := s.Save(inForce); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir)
	inForce, status := policy.Accept(s.Versions(), []policy.File{{Name: "a.yaml", Data: []byte("{")}, {Name: "b.yaml", Data: manifest("b2")}})
	if len(inForce) != 2 || status[0].State != policy.Kept || status[1].State != policy.Accepted {
		t.Fatalf("got %+v, %+v", inForce, status)
	}
	if err := s.Save(inForce); err != nil {
		t.Fatal(err)
	}
	if got := stored(open(t, dir)); got != "a.yaml=a b.yaml=b2" {
		t.Errorf("stored %s", got)
	}

	if err := s.Save(inForce[1:]); err != nil { // a.yaml was deleted
		t.Fatal(err)
	}
	if got := stored(open(t, dir)); got != "b.yaml=b2" {
		t.Errorf("stored %s", got)
	}
}

func TestStoreWritesOnlyWhatDiffers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	versions := []policy.Version{{File: policy.File{Name: "a.yaml", Data: manifest("a")}}}
	if err := s.Save(versions); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(s.path("a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Save(versions); err != nil {
		t.Fatal(err)
	}
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
	if got := stored(s); got != "" {
		t.Errorf("stored %s", got)
	}
	if err := s.Save(nil); err != nil {
		t.Fatal(err)
	}
	list, _ := os.ReadDir(dir)
	if len(list) != 1 || list[0].Name() != "README" {
		t.Errorf("left over: %v", list)
	}
}

func TestStoreErrors(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	err := s.Save([]policy.Version{{File: policy.File{Name: "../a.yaml"}}, {File: policy.File{Name: "b.yaml", Data: manifest("b")}}})
	if err == nil || !strings.Contains(err.Error(), "../a.yaml") {
		t.Errorf("got %v", err)
	}
	if got := stored(open(t, dir)); got != "b.yaml=b" {
		t.Errorf("an error kept the others from being stored: %s", got)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(filepath.Join(file, "sub")); err == nil {
		t.Error("opened a directory inside a file")
	}
}
