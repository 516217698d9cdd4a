package manifest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// TestDecodeAll checks that DecodeAll gives for each file what Decode gives,
// whatever the other files are.
func TestDecodeAll(t *testing.T) {
	var seeds [][]byte
	names, err := filepath.Glob("../../docs/example/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal("no examples", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range bytes.SplitSeq(data, []byte("---\n")) {
			seeds = append(seeds, doc)
		}
		seeds = append(seeds, data)
	}
	for _, odd := range []string{"", "\n", "# nothing\n", "---\n", "--- \n---\n", "...\n", "a: b\n...\n", "%YAML 1.1\n---\na: b\n", "\ufeffa: b\n",
		"a: \"open\n", "a: [open\n", "a: |+\n  text\n\n", "a: |\n  text", "a: &x 1\n", "a: *x\n", "? a\n", "\ta: b\n", "- 1\n", "'open\n", "{\n", "}\n",
		"!<tag:x> a\n", "%TAG ! tag:x\n---\n!y a\n", "a: b\n --- c\n", "a: >\n folded\n", "\xff\xfea\x00\n\x00", "a: b # c\n", "null\n", "~\n", "a:\n"} {
		seeds = append(seeds, []byte(odd))
	}
	vm := []byte("apiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: a}\n")
	rapid.Check(t, func(t *rapid.T) {
		var files []File
		for i := range rapid.IntRange(1, 12).Draw(t, "files") {
			var data []byte
			for range rapid.IntRange(1, 3).Draw(t, "pieces") {
				data = append(data, rapid.SampledFrom(seeds).Draw(t, "piece")...)
				if rapid.Bool().Draw(t, "separated") {
					data = append(data, "---\n"...)
				}
			}
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				data = vm
			case 1:
				if len(data) > 0 { // a byte is lost or changed
					at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
					data = bytes.Clone(data)
					if rapid.Bool().Draw(t, "lost") {
						data = append(data[:at], data[at+1:]...)
					} else {
						data[at] = rapid.SampledFrom([]byte("\n \t:-#'\"{}[]|>&*!%@`a0")).Draw(t, "byte")
					}
				}
			}
			files = append(files, File{Name: fmt.Sprintf("f%d.yaml", i), Data: data})
		}
		for i, got := range DecodeAll(files) {
			objects, problems := Decode(files[i])
			if !reflect.DeepEqual(got.Objects, objects) || !reflect.DeepEqual(got.Problems, problems) {
				t.Fatalf("file %d of %q:\n%+v %v, by itself\n%+v %v", i, files, got.Objects, got.Problems, objects, problems)
			}
		}
	})
}

// TestDecodeAllInParallel checks that many files at once give the same as each by
// itself, although the objects share names and lists.
func TestDecodeAllInParallel(t *testing.T) {
	files := []File{{Name: "worked.yaml", Data: []byte(worked)}}
	for i := range 500 {
		data := ruleManifest("direction: Ingress")
		if i%3 > 0 {
			data = vmManifest(fmt.Sprintf("securityGroups: {securityGroupMemberships: [{name: a}, {name: b%d}]}", i%5))
		}
		files = append(files, File{Name: fmt.Sprintf("f%d.yaml", i), Data: []byte(data)})
	}
	for i, got := range DecodeAll(files) {
		objects, problems := Decode(files[i])
		if !reflect.DeepEqual(got.Objects, objects) || !reflect.DeepEqual(got.Problems, problems) {
			t.Fatalf("%s: %+v %v, by itself %+v %v", files[i].Name, got.Objects, got.Problems, objects, problems)
		}
	}
}
