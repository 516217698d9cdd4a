package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/policy"
)

type auditCmd struct {
	Control string        `help:"The agent's control socket." default:"${control}"`
	Repair  bool          `help:"Put the differences right, flows of others in the agent's tables included, and compare again."`
	Timeout time.Duration `help:"How long to wait." default:"30s"`
	Output  string        `short:"o" help:"Output format: text or json." enum:"text,json" default:"text"`
}

// Run implements the audit command.
func (a *auditCmd) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.Timeout)
	defer cancel()
	result, err := control.New(a.Control).Audit(ctx, a.Repair)
	if err != nil {
		return err
	}
	if a.Output == "json" {
		err = json.NewEncoder(os.Stdout).Encode(result)
	} else {
		err = printAudit(os.Stdout, result, a.Repair)
	}
	if err == nil && len(result.Left) > 0 {
		err = errSilent
	}
	return err
}

func printAudit(out io.Writer, a control.Audit, repair bool) error {
	list := func(what string, differences []string) {
		for _, d := range differences {
			fmt.Fprintf(out, "%s: %s\n", what, policy.Printable(d))
		}
	}
	switch {
	case !repair:
		list("differs", a.Found)
	default:
		list("found", a.Found)
		list("still differs", a.Left)
	}
	var err error
	if len(a.Left) == 0 {
		_, err = fmt.Fprintln(out, "the switch has what the agent has installed")
	}
	return err
}
