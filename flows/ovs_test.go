package flows_test

import (
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
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

var _ = flows.Compile
