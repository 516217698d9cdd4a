package manifest

import (
	"runtime"
	"strings"
	"testing"
)

const groupHead = "apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: a}\nspec:\n  rules:\n"

// Whatever a file holds, reading it takes a bounded amount of memory.
func TestMemory(t *testing.T) {
	const limit = 200 << 20
	full := func(begin, unit, end string) string {
		return begin + strings.Repeat(unit, (MaxFileSize-len(begin)-len(end))/len(unit)) + end
	}
	utf16 := func(text string) string {
		var b strings.Builder
		b.WriteString("\xff\xfe")
		for _, c := range []byte(text) {
			b.Write([]byte{c, 0})
		}
		return b.String()
	}
	for what, text := range map[string]string{
		"a key a million times":   strings.TrimSuffix(groupHead, "  rules:\n") + strings.Repeat("  a: 1\n", 1e6),
		"a key in nothing":        full("", "a: 1\n", ""),
		"keys without values":     full("{", "a,", "a}"),
		"a list":                  full("[", "1,", "1]"),
		"empty lists":             full("[", "[],", "1]"),
		"pairs in a list":         full("[", "a: b,", "1]"),
		"dashes":                  full("", "-\n", ""),
		"dashes in a line":        full("", "- - - - -\n", ""),
		"question marks":          full("", "?\n", ""),
		"quoted keys":             full("{", "\"\":1,", "}"),
		"anchors":                 full("", "&a a: 1\n", ""),
		"carriage returns":        full("", "a: 1\r", ""),
		"colon at the line's end": full("", "a:\n", ""),
		"rules that are wrong":    full(groupHead, "  - {}\n", ""),
		"rules":                   full(groupHead, "  - {direction: Egress}\n", ""),
		"not at the beginning":    full("---\n", "a: 1\n", "--- a\n"),
		"UTF-16":                  utf16("{" + strings.Repeat("a,", 1_500_000) + "a}"),
		"just few enough":         "{" + strings.Repeat("a,", maxElements-10) + "a}",
		"a long word":             full("a: ", "x", "\n"),
		"comments":                full("", "#\n", "a: 1"),
	} {
		took, problems := allocated(text)
		if took > limit {
			t.Errorf("%s: %d MB", what, took>>20)
		}
		if len(problems) == 0 || !strings.HasPrefix(problems[0], "f.yaml:") {
			t.Errorf("%s: %q", what, problems)
		}
	}
	// A file with as many elements in several documents is read, one after the other.
	some := groupHead + strings.Repeat("  - {direction: Ingress, protocol: TCP, port: 80, remote: {address: {IPAddressOrCIDR: 10.0.0.1}}}\n", 15_000)
	for _, mark := range []string{"---\n", "--- # next\n", "...\n---\n"} {
		if _, problems := allocated(some + mark + strings.Replace(some, "name: a", "name: b", 1)); len(problems) > 0 {
			t.Errorf("two large groups: %q", problems[0])
		}
	}
}

// allocated returns how many bytes the decoding of a file allocates, and the errors.
func allocated(text string) (bytes uint64, problems []string) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, ps := Decode(File{Name: "f.yaml", Data: []byte(text)})
	runtime.ReadMemStats(&after)
	for _, p := range ps {
		problems = append(problems, p.Error())
	}
	return after.TotalAlloc - before.TotalAlloc, problems
}
