package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/policy"
)

const defaultControl = "/run/ovs-sg/control.sock"

type statusCmd struct {
	Control  string        `help:"The agent's control socket." default:"${control}"`
	Wait     bool          `help:"Wait until every manifest and every OVSDB change made before is in force, confirmed by the switch, also for an agent that is not there yet; exit 3: in force, but a file is not accepted, 4: held, 1: not in force."`
	ExitCode bool          `help:"Exit as --wait does, without waiting: 0 only if the agent enforces and every file is accepted."`
	Timeout  time.Duration `help:"How long to wait." default:"30s"`
	Output   string        `short:"o" help:"Output format: text or json." enum:"text,json" default:"text"`
}

// Exit codes of status with --wait or --exit-code, besides 0 and 1.
const (
	exitRefused = 3 // in force, but a file is not accepted
	exitHeld    = 4 // the newest policy is held
)

// Run implements the status command.
func (s *statusCmd) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.Timeout)
	defer cancel()
	client := control.New(s.Control)
	if !s.Wait {
		st, err := s.show(client)
		if err != nil || !s.ExitCode {
			return err
		}
		return notEnforcing(st)
	}
	err := waitFor(ctx, client)
	st, failed := s.show(client) // the status is of use after an error too
	switch {
	case errors.Is(err, control.ErrHeld):
		return &exitError{err, exitHeld}
	case err != nil:
		return err
	case failed != nil:
		return failed
	case s.ExitCode:
		return notEnforcing(st)
	}
	return refused(st)
}

// retryInterval is how often an agent that is not there is looked for.
const retryInterval = 100 * time.Millisecond

// waitFor is client.Wait, also for an agent that does not run yet or is being
// restarted.
func waitFor(ctx context.Context, client *control.Client) error {
	for {
		err := client.Wait(ctx)
		if !control.Absent(err) {
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return fmt.Errorf("timed out: %w", err)
		}
	}
}

// notEnforcing returns an error unless the newest policy is in force as a whole.
func notEnforcing(st control.Status) error {
	switch st.State {
	case "enforcing":
		return refused(st)
	case "held":
		return &exitError{control.ErrHeld, exitHeld}
	}
	return fmt.Errorf("not enforcing: %s: %s", st.State, st.Reason)
}

// refused returns an error that names the files that are not accepted, or nil.
func refused(st control.Status) error {
	var names []string
	for _, f := range st.Files {
		if f.State != "accepted" {
			names = append(names, fmt.Sprintf("%s (%s)", policy.Printable(f.Name), f.State))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return &exitError{errors.New("in force, but not accepted: " + strings.Join(names, ", ")), exitRefused}
}

// show prints the status and returns it.
func (s *statusCmd) show(client *control.Client) (st control.Status, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s.Output == "text" {
		if st, err = client.Status(ctx, false); err == nil {
			err = printStatus(os.Stdout, st)
		}
		return st, err
	}
	body, err := client.StatusJSON(ctx, true)
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(body, &st); err != nil {
		return st, err
	}
	_, err = os.Stdout.Write(body) // as the agent wrote it
	return st, err
}

func printStatus(out io.Writer, s control.Status) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	text := policy.Printable
	fmt.Fprintf(w, "bridge %s: %s", s.Bridge, s.State)
	if s.Reason != "" {
		fmt.Fprintf(w, " (%s)", text(s.Reason))
	}
	fmt.Fprintf(w, ", %d flows, Open vSwitch %s %s\n", s.Flows, text(s.OVS), text(s.Datapath))
	if l := s.Last; l != nil {
		fmt.Fprintf(w, "last change %s: %s: +%d ~%d -%d flows in %s\n", l.Time.Format(time.RFC3339),
			text(strings.Join(l.What, ", ")), l.Added, l.Modified, l.Deleted, l.Took.Round(10*time.Microsecond))
	}
	if d := s.Drift; d != nil && d.Last != nil {
		fmt.Fprintf(w, "changed by somebody else, put right %d times, last %s: %s\n", d.Count,
			d.Last.Time.Format(time.RFC3339), text(strings.Join(d.Last.What, "; ")))
	}
	if n := s.Counts; n.Accepted+n.Kept+n.Rejected > len(s.Files) {
		fmt.Fprintf(w, "%d files accepted, %d kept, %d rejected\n", n.Accepted, n.Kept, n.Rejected)
	}
	if len(s.Files) > 0 {
		fmt.Fprintf(w, "\nFILE\tSTATE\n")
	}
	var below []string // lines that would break the tables
	for _, f := range s.Files {
		fmt.Fprintf(w, "%s\t%s\n", text(f.Name), f.State)
		for _, e := range f.Errors {
			below = append(below, text("error: "+e))
		}
	}
	if len(s.Ports) > 0 {
		fmt.Fprintf(w, "\nPORT\tOFPORT\tKIND\tSTATE\tVM\tADDRESSES\tGROUPS\n")
	}
	for _, p := range s.Ports {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", text(p.Name), p.OFPort, p.Kind, p.State, dash(text(p.VM)),
			dash(strings.Join(p.Addrs, " ")), dash(text(strings.Join(p.Groups, " "))))
		if p.Reason != "" && p.State != "trusted" {
			below = append(below, text(p.Name+": "+p.Reason))
		}
	}
	for _, line := range s.Warnings {
		below = append(below, text("warning: "+line))
	}
	for _, line := range s.Notes {
		below = append(below, text("note: "+line))
	}
	if len(below) > 0 {
		fmt.Fprintf(w, "\n%s\n", strings.Join(below, "\n"))
	}
	return w.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
