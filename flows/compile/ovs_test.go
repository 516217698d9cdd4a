package compile_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/flows/openflow"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// TestGoldenOnSwitch gives each golden text to the real switch, which must
// print it back as it was.
func TestGoldenOnSwitch(t *testing.T) {
	o := testbed.New(t, testbed.Options{Dummy: true})
	for _, s := range loadScenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			if err := o.ReplaceFlows(s.want); err != nil {
				t.Fatal(err)
			}
			got, err := o.DumpFlows()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.TrimSpace(got), strings.TrimSpace(testbed.SortFlows(withoutComments(s.want))); got != want {
				t.Errorf("the switch prints it differently:\n%s", lineDiff(want, got))
			}
		})
	}
}

func withoutComments(text string) string {
	var out []string
	for _, l := range strings.Split(text, "\n") {
		if l != "" && !strings.HasPrefix(l, "#") {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n") + "\n"
}

// TestGoldenThroughConn compiles each scenario and installs the flows as the
// agent does. The flows that it reads back are the golden text, and the
// difference to the desired flows is empty.
func TestGoldenThroughConn(t *testing.T) {
	o := testbed.New(t, testbed.Options{Dummy: true})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := openflow.Dial(ctx, o.Mgmt(), openflow.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, s := range loadScenarios(t) {
		t.Run(s.name, func(t *testing.T) {
			desired, err := compile.Full(s.in)
			if err != nil {
				t.Fatal(err)
			}
			installed, err := conn.Dump(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Apply(ctx, flows.Diff(desired, installed)); err != nil {
				t.Fatal(err)
			}
			if installed, err = conn.Dump(ctx); err != nil {
				t.Fatal(err)
			}
			if got := s.shown(installed).String(); got != s.want {
				t.Errorf("read back:\n%s", lineDiff(s.want, got))
			}
			if d := flows.Diff(desired, installed); !d.Empty() {
				t.Errorf("left to do:\n%s", d)
			}
			text, err := o.DumpFlows()
			if err != nil {
				t.Fatal(err)
			}
			if want := testbed.SortFlows(withoutComments(installed.String())); strings.TrimSpace(text) != strings.TrimSpace(want) {
				t.Errorf("ovs-ofctl prints:\n%s", lineDiff(want, text))
			}
		})
	}
}
