package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ovs-sg/ovs-sg/controller"
)

const defaultControl = "/run/ovs-sg/control.sock"

type statusCmd struct {
	Control string        `help:"The agent's control socket." default:"${control}"`
	Wait    bool          `help:"Return 0 only when every manifest and every OVSDB change made before is in force, confirmed by the switch."`
	Timeout time.Duration `help:"How long to wait." default:"30s"`
	Output  string        `short:"o" help:"Output format: text or json." enum:"text,json" default:"text"`
}

// Run implements the status command.
func (s *statusCmd) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.Timeout)
	defer cancel()
	client := controlClient(s.Control)
	if s.Wait {
		if _, err := call(ctx, client, http.MethodPost, "/wait"); err != nil {
			// Show how things are all the same.
			_ = s.show(client)
			return err
		}
	}
	return s.show(client)
}

type releaseCmd struct {
	Control string `help:"The agent's control socket." default:"${control}"`
}

// Run implements the release command.
func (r *releaseCmd) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := call(ctx, controlClient(r.Control), http.MethodPost, "/release")
	return err
}

// controlClient talks to an agent, whatever the host in the URL.
func controlClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

func (s *statusCmd) show(client *http.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	path := "/status"
	if s.Output == "text" {
		path += "?files=refused"
	}
	body, err := call(ctx, client, http.MethodGet, path)
	if err != nil {
		return err
	}
	if s.Output == "json" {
		_, err := os.Stdout.Write(body)
		return err
	}
	var st controller.Status
	if err := json.Unmarshal(body, &st); err != nil {
		return err
	}
	return printStatus(os.Stdout, st)
}

func call(ctx context.Context, client *http.Client, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://ovs-sg"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, errors.New("timed out")
	}
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, errors.New(strings.TrimSpace(string(body)))
	}
	return body, nil
}

func printStatus(out io.Writer, s controller.Status) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "bridge %s: %s", s.Bridge, s.State)
	if s.Reason != "" {
		fmt.Fprintf(w, " (%s)", s.Reason)
	}
	fmt.Fprintf(w, ", %d flows, Open vSwitch %s %s\n", s.Flows, s.OVS, s.Datapath)
	if l := s.Last; l != nil {
		fmt.Fprintf(w, "last change %s: %s: +%d ~%d -%d flows in %s\n", l.Time.Format(time.RFC3339),
			strings.Join(l.What, ", "), l.Added, l.Modified, l.Deleted, l.Took.Round(10*time.Microsecond))
	}
	if n := s.Counts; n.Accepted+n.Kept+n.Rejected > len(s.Files) {
		fmt.Fprintf(w, "%d files accepted, %d kept, %d rejected\n", n.Accepted, n.Kept, n.Rejected)
	}
	if len(s.Files) > 0 {
		fmt.Fprintf(w, "\nFILE\tSTATE\n")
	}
	var below []string // what would tear a table apart
	for _, f := range s.Files {
		fmt.Fprintf(w, "%s\t%s\n", f.Name, f.State)
		for _, e := range f.Errors {
			below = append(below, "error: "+e)
		}
	}
	if len(s.Ports) > 0 {
		fmt.Fprintf(w, "\nPORT\tOFPORT\tKIND\tSTATE\tVM\tADDRESSES\tGROUPS\n")
	}
	for _, p := range s.Ports {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.OFPort, p.Kind, p.State, dash(p.VM),
			dash(strings.Join(p.Addrs, " ")), dash(strings.Join(p.Groups, " ")))
		if p.Reason != "" && p.State != "trusted" {
			below = append(below, p.Name+": "+p.Reason)
		}
	}
	for _, line := range s.Warnings {
		below = append(below, "warning: "+line)
	}
	for _, line := range s.Notes {
		below = append(below, "note: "+line)
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
