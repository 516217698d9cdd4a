package manifest

import (
	"strings"
	"testing"
)

// What is not a manifest may be a file that others must not read: its errors do not
// quote it.
func TestErrorsQuoteNothing(t *testing.T) {
	for what, text := range map[string]string{
		"shadow":               "root:$y$SECRET:19000:0:99999:7:::\nbin:*:19000::::::\n",
		"one word":             "SECRET",
		"quoted":               "\"SECRET\"\n",
		"block":                "|\n  SECRET\n",
		"key":                  "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n",
		"list":                 "- SECRET\n- {SECRET: SECRET}\n",
		"mapping":              "password: SECRET\n",
		"mapping of mappings":  "SECRET: {SECRET: SECRET}\n",
		"field twice":          "SECRET: 1\nSECRET: 2\n",
		"field twice below":    "a: {SECRET: 1, SECRET: 2}\n",
		"alias":                "a: &SECRET 1\nb: *SECRET\n",
		"unknown alias":        "a: *SECRET\n",
		"alias of itself":      "a: &SECRET {b: *SECRET}\n",
		"merge":                "<<: {SECRET: 1}\n",
		"tag":                  "a: !SECRET!x SECRET\n",
		"tag directive":        "%TAG !SECRET! tag:SECRET\n---\na: !SECRET!x SECRET\n",
		"directive":            "%SECRET SECRET\n---\na: 1\n",
		"escape":               "a: \"SECRET\\q\"\n",
		"not closed":           "a: \"SECRET\n",
		"two colons":           "SECRET: SECRET: SECRET\n",
		"tab":                  "a:\n\tSECRET: 1\n",
		"bracket":              "a: [SECRET\n",
		"number as kind":       "kind: 5\nSECRET: SECRET\n",
		"list as kind":         "kind: [SECRET]\n",
		"mapping as kind":      "kind: {SECRET: SECRET}\n",
		"other kind":           "apiVersion: v1\nkind: Secret\ndata: {SECRET: SECRET, SECRET: SECRET}\nmetadata: SECRET\n",
		"control characters":   "SECRET\x01SECRET",
		"not UTF-8":            "SECRET\xffSECRET",
		"UTF-16":               "\xff\xfeS\x00E\x00C\x00",
		"after a manifest":     "apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: a}\nspec: {}\n---\nSECRET\n",
		"kind is somewhere":    "a: {kind: SecurityGroup, SECRET: SECRET}\n",
		"deep":                 strings.Repeat("[", 100) + "SECRET" + strings.Repeat("]", 100),
		"a key that is a list": "? [SECRET]\n: SECRET\n",
		"a long line":          "a: [" + strings.Repeat("SECRET,", 10000) + "\n",
	} {
		_, problems := Decode(File{Name: "f.yaml", Data: []byte(text)})
		if len(problems) == 0 {
			t.Errorf("%s: is accepted", what)
		}
		for _, p := range problems {
			if strings.Contains(p.Error(), "SECRET") {
				t.Errorf("%s: %s", what, p.Error())
			}
		}
		for _, d := range DecodeAll([]File{{Name: "f.yaml", Data: []byte(text)}, {Name: "g.yaml", Data: []byte(text)}}) {
			for _, p := range d.Problems {
				if strings.Contains(p.Error(), "SECRET") {
					t.Errorf("%s, among others: %s", what, p.Error())
				}
			}
		}
	}
	// A manifest is quoted, so that its errors can be found.
	const twin = "apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: a}\nspec: {rules: [{direction: SECRET}]}\n"
	if _, problems := Decode(File{Name: "f.yaml", Data: []byte(twin)}); len(problems) != 1 || !strings.Contains(problems[0].Error(), "SECRET") {
		t.Errorf("of a manifest: %v", problems)
	}
}
