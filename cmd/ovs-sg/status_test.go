package main

import (
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
)

// Text from outside, such as the names of files and ports, cannot forge a line of
// the status.
func TestStatusIsPrintable(t *testing.T) {
	show := func(text string) string {
		texts := []string{text}
		s := control.Status{
			State: "enforcing", Reason: text, Bridge: "br0", OVS: text, Datapath: text,
			Files: []control.FileStatus{{Name: text, State: "kept", Errors: texts}},
			Ports: []control.PortStatus{{Name: text, Kind: "vm", State: "error", VM: text, Groups: texts, Reason: text}},
			Last:  &control.LastChange{Time: time.Unix(0, 0), What: texts}, Warnings: texts, Notes: texts,
		}
		var out strings.Builder
		if err := printStatus(&out, s); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	plain, evil := show("x"), show("x\nforged\r\x1b[2J\u202ex\t")
	if strings.Count(plain, "\n") != strings.Count(evil, "\n") || strings.ContainsAny(evil, "\r\x1b\u202e\t") {
		t.Errorf("got\n%q\nwant the lines of\n%q", evil, plain)
	}
	if got := refused(control.Status{Files: []control.FileStatus{{Name: "a\x1b", State: "kept"}}}); strings.Contains(got.Error(), "\x1b") {
		t.Errorf("%q", got.Error())
	}
}
