package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// The marks around the block of the document that is replaced.
const (
	beginMark = "<!-- begin: make bench -->"
	endMark   = "<!-- end -->"
)

// row is a figure with its limit. Empty fields are shown as a dash.
type row struct {
	what  string
	ours  string
	limit string
	ratio float64 // ours/limit; 0: none
	goal  float64 // of the ratio; 0: none
	under bool    // the goal is a lower limit, not an upper one
}

type part struct {
	name, about string
	rows        []row
	notes       []string
}

// report collects the measurements.
type report struct {
	about string
	parts []part
}

func (r *report) section(name, about string) {
	r.parts = append(r.parts, part{name: name, about: about})
}

func (r *report) add(rows ...row) {
	p := &r.parts[len(r.parts)-1]
	p.rows = append(p.rows, rows...)
}

func (r *report) note(format string, args ...any) {
	p := &r.parts[len(r.parts)-1]
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// verdict compares the ratio with its goal.
func (r row) verdict() string {
	switch {
	case r.goal == 0 || r.ratio == 0:
		return ""
	case r.under && r.ratio < r.goal, !r.under && r.ratio > r.goal:
		return "beyond"
	}
	return "within"
}

func (r row) cells() []string {
	ratio, goal := "", ""
	if r.ratio != 0 {
		ratio = ratioText(r.ratio)
	}
	if r.goal != 0 {
		sign := "≤"
		if r.under {
			sign = "≥"
		}
		goal = fmt.Sprintf("%s %s: %s", sign, ratioText(r.goal), r.verdict())
	}
	cells := []string{r.what, r.ours, r.limit, ratio, goal}
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	return cells
}

func ratioText(f float64) string {
	if f >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// markdown returns one section as a table.
func (p part) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", p.about)
	if len(p.rows) > 0 {
		b.WriteString("| | ours | limit | ours/limit | goal |\n|---|---|---|---|---|\n")
	}
	for _, r := range p.rows {
		b.WriteString("| " + strings.Join(r.cells(), " | ") + " |\n")
	}
	for _, n := range p.notes {
		b.WriteString("\n" + n + "\n")
	}
	return b.String()
}

func (r *report) lastSection() string { return r.parts[len(r.parts)-1].markdown() }

func (r *report) markdown() string {
	texts := []string{r.about + "\n"}
	for _, p := range r.parts {
		texts = append(texts, p.markdown())
	}
	return strings.Join(texts, "\n")
}

func (r *report) writeTo(file string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := replaceBlock(string(old), r.markdown())
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// replaceBlock puts text between the marks.
func replaceBlock(doc, text string) (string, error) {
	before, rest, ok := strings.Cut(doc, beginMark)
	_, after, closed := strings.Cut(rest, endMark)
	if !ok || !closed {
		return "", errors.New("no lines " + beginMark + " and " + endMark)
	}
	return before + beginMark + "\n" + strings.TrimSpace(text) + "\n" + endMark + after, nil
}

// ms formats a time with three significant digits.
func ms(d time.Duration) string {
	f := float64(d) / 1e6
	switch {
	case f >= 1000:
		return strconv.FormatFloat(f/1000, 'f', 2, 64) + " s"
	case f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64) + " ms"
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64) + " ms"
	}
	return strconv.FormatFloat(f, 'f', 2, 64) + " ms"
}

// thousands formats a number with commas between thousands.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
