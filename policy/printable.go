package policy

import (
	"strconv"
	"strings"
	"unicode"
)

// Printable returns s with a Go escape in place of every rune that is not
// printable: control characters, line ends, marks that change the direction of
// text, bytes that are not UTF-8. So text from outside, such as a file's name,
// cannot forge lines of a terminal or a log.
func Printable(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		n := strings.IndexFunc(s, unprintable)
		if n < 0 {
			n = len(s)
		}
		b.WriteString(s[:n])
		s = s[n:]
		end := strings.IndexFunc(s, func(r rune) bool { return !unprintable(r) })
		if end < 0 {
			end = len(s)
		}
		quoted := strconv.Quote(s[:end])
		b.WriteString(quoted[1 : len(quoted)-1])
		s = s[end:]
	}
	return b.String()
}

// unprintable reports whether Printable escapes r. A byte that is not UTF-8
// decodes as U+FFFD.
func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
