// Command ovs-sg enforces cloud security groups on the VM ports of an Open
// vSwitch bridge.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"github.com/ovs-sg/ovs-sg/policy"
)

// version is set by the Makefile.
var version = "devel"

type cli struct {
	Config kong.ConfigFlag `help:"Read flags from a YAML file: the flags' names without dashes in front, one per line." type:"existingfile" placeholder:"FILE"`

	Agent   agentCmd   `cmd:"" help:"Enforce the manifests of a directory on a bridge, until SIGTERM. The flows stay."`
	Status  statusCmd  `cmd:"" help:"Show what a running agent enforces, or wait until it enforces what is there now."`
	Release releaseCmd `cmd:"" help:"Let a change of policy go on that --max-revoke holds."`
	Audit   auditCmd   `cmd:"" help:"Compare the switch with what the agent has installed; exit 0: it agrees, 1: it differs."`
	Check   checkCmd   `cmd:"" help:"Validate manifests without a switch."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

type versionCmd struct{}

// Run implements the version command.
func (versionCmd) Run() error {
	_, err := fmt.Println("ovs-sg " + version)
	return err
}

func main() {
	ctx := kong.Parse(&cli{},
		kong.Name("ovs-sg"),
		kong.Description("Cloud security groups for Open vSwitch."),
		kong.Configuration(loadConfig),
		kong.Vars{"control": defaultControl},
		kong.UsageOnError())
	if err := ctx.Run(); err != nil {
		if !errors.Is(err, errSilent) {
			fmt.Fprintln(os.Stderr, "ovs-sg: "+policy.Printable(err.Error()))
		}
		code := 1
		if coded, ok := errors.AsType[*exitError](err); ok {
			code = coded.code
		}
		os.Exit(code)
	}
}

// exitError is an error with an exit code of its own.
type exitError struct {
	error
	code int
}
