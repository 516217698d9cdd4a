package policy

import (
	"strings"
	"testing"
	"unicode"
)

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"":                          "",
		"web.yaml: größer, 東 \"x\"": "web.yaml: größer, 東 \"x\"",
		"a\nb":                      `a\nb`,
		"a\x1b[31mb\r":              `a\x1b[31mb\r`,
		"a\u202eb\u2066":            `a\u202eb\u2066`,
		"a\xffb":                    `a\xffb`,
		"\u2028\ufeff\u00a0":        `\u2028\ufeff\u00a0`,
	} {
		if got := Printable(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b\u202e\xff\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := Printable(s)
		if strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 || Printable(got) != got {
			t.Errorf("%q became %q", s, got)
		}
	})
}

// A file's name, a field and a reason cannot forge a line.
func TestProblemIsOneLine(t *testing.T) {
	p := Problem{Pos: Position{File: "a\nb.yaml", Line: 1}, Field: "spec.\x1b[2J", Reason: "no \u202etxt"}
	if got, want := p.Error(), `a\nb.yaml:1: spec.\x1b[2J: no \u202etxt`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
