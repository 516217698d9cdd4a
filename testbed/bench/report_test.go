package main

import (
	"strings"
	"testing"
	"time"
)

func TestReplaceBlock(t *testing.T) {
	doc := "before\n" + beginMark + "\nold\n" + endMark + "\nafter\n"
	want := "before\n" + beginMark + "\nnew\n" + endMark + "\nafter\n"
	for range 2 { // replacing twice gives the same
		got, err := replaceBlock(doc, "\nnew\n")
		if err != nil || got != want {
			t.Fatalf("%q, %v", got, err)
		}
		doc = got
	}
	for _, doc := range []string{"", beginMark, endMark, endMark + beginMark} {
		if _, err := replaceBlock(doc, "new"); err == nil {
			t.Errorf("%q has no block", doc)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		row  row
		want string
	}{
		{row{ratio: 1, goal: 1}, "within"},
		{row{ratio: 1.1, goal: 1}, "beyond"},
		{row{ratio: 0.95, goal: 0.9, under: true}, "within"},
		{row{ratio: 0.8, goal: 0.9, under: true}, "beyond"},
		{row{ratio: 5}, ""},
		{row{goal: 5}, ""},
	} {
		if got := c.row.verdict(); got != c.want {
			t.Errorf("%+v: %q", c.row, got)
		}
	}
	r := report{about: "here"}
	r.section("x", "Things")
	r.add(row{what: "thing", ours: "2", limit: "1", ratio: 2, goal: 3})
	if want := "| thing | 2 | 1 | 2.00 | ≤ 3.00: within |\n"; !strings.Contains(r.markdown(), want) {
		t.Errorf("%q is not in\n%s", want, r.markdown())
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", -999: "-999", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %q, not %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		1234 * time.Microsecond: "1.23 ms", 12345 * time.Microsecond: "12.3 ms",
		123 * time.Millisecond: "123 ms", 1234 * time.Millisecond: "1.23 s",
	} {
		if got := ms(d); got != want {
			t.Errorf("%d: %q, not %q", d, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	all := []int{5, 1, 4, 2, 3}
	for q, want := range map[float64]int{0: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := quantile(all, q); got != want {
			t.Errorf("%v: %d, not %d", q, got, want)
		}
	}
	if got := median([]int(nil)); got != 0 {
		t.Error(got)
	}
	if got := ratioOf([]time.Duration{2, 30, 4}, []time.Duration{1, 10, 2}); got != 2 || ratioOf[time.Duration](nil, nil) != 0 {
		t.Error(got)
	}
}
