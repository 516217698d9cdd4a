package manifest

import "fmt"

// maxElements is the number of fields and list elements of one document. A YAML
// document takes up to a hundred times its size while it is read, so that the size
// of a file alone does not bound the memory.
const maxElements = 250_000

var errTooMany = fmt.Sprintf("document has more than %d fields and list elements", maxElements)

// oversized returns the line at which a document comes to have more than
// maxElements elements; 0 if none does. It counts what begins an element or
// separates two, wherever that stands; a document has at most twice as many nodes,
// and a few more.
func oversized(data []byte) (line int) {
	if len(data) <= maxElements {
		return 0 // an element takes a byte
	}
	line = 1
	n := 0
	begin := true // of a line
	for i, c := range data {
		switch {
		case c == ',' || c == '[' || c == '{':
			n++
		case c == ':' || c == '?':
			if blank(data, i+1) {
				n++
			}
		case c == '-' && blank(data, i+1):
			n++
		}
		if begin && blank(data, i+3) && (hasMark(data[i:], '-') || hasMark(data[i:], '.')) {
			n = 0 // another document
		}
		if n > maxElements {
			return line
		}
		if begin = c == '\n'; begin {
			line++
		}
	}
	return 0
}

// hasMark reports whether data begins with three of c.
func hasMark(data []byte, c byte) bool {
	return len(data) >= 3 && data[0] == c && data[1] == c && data[2] == c
}

// blank reports whether no printable ASCII character is at i. What looks like a
// blank to a YAML parser does so to blank, in any encoding.
func blank(data []byte, i int) bool {
	return i >= len(data) || data[i] <= ' ' || data[i] >= 0x7f
}
