package testbed

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/digitalocean/go-openvswitch/ovs"
	"github.com/ovs-sg/ovs-sg/ovsdb/unixctl"
)

// commandTimeout bounds each call of an Open vSwitch program.
const commandTimeout = 15 * time.Second

// command prepares a program that talks to this switch.
func (o *OVS) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), o.Env()...)
	cmd.Dir = o.dir
	return cmd
}

// run calls an Open vSwitch program and returns what it printed on standard
// output, trimmed.
func (o *OVS) run(stdin io.Reader, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := o.command(ctx, name, args...)
	cmd.Stdin = stdin
	out, err := Output(cmd)
	return strings.TrimSpace(out), err
}

// Output runs a program and returns what it prints on standard output. An error
// has what it prints on standard error.
func Output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), err
}

// Client returns a client of this switch that takes typed values: flows, bundles,
// bridges. Do not parse flows with the client: it loses registers and ct fields
// silently.
func (o *OVS) Client() *ovs.Client {
	return ovs.New(
		ovs.Exec(func(cmd string, args ...string) ([]byte, error) {
			out, err := o.run(nil, cmd, args...)
			return []byte(out), err
		}),
		ovs.Pipe(func(stdin io.Reader, cmd string, args ...string) ([]byte, error) {
			out, err := o.run(stdin, cmd, args...)
			return []byte(out), err
		}),
		ovs.Protocols([]string{ovs.ProtocolOpenFlow14}),
	)
}

// Vsctl runs ovs-vsctl. Unless told --no-wait it returns when ovs-vswitchd has
// taken over the change.
func (o *OVS) Vsctl(args ...string) (string, error) {
	return o.run(nil, "ovs-vsctl", append([]string{"--timeout=10"}, args...)...)
}

// Ofctl runs ovs-ofctl with OpenFlow 1.4.
func (o *OVS) Ofctl(args ...string) (string, error) {
	return o.run(nil, "ovs-ofctl", append([]string{"-O", "OpenFlow14"}, args...)...)
}

// Appctl calls a command of ovs-vswitchd, as ovs-appctl does, and returns what
// it says, trimmed.
func (o *OVS) Appctl(command string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	ctl, err := unixctl.Dial(ctx, o.Ctl())
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	defer ctl.Close()
	text, err := ctl.Call(ctx, command, args...)
	return strings.TrimSpace(text), err
}

// AddFlows adds flows, one to a line in the syntax of ovs-ofctl, all or none.
func (o *OVS) AddFlows(text string) error {
	_, err := o.run(strings.NewReader(text), "ovs-ofctl", "-O", "OpenFlow14", "--bundle", "add-flows", o.Bridge(), "-")
	return err
}

// ReplaceFlows makes the flows in the text the only ones of the bridge, all or
// none.
func (o *OVS) ReplaceFlows(text string) error {
	_, err := o.run(strings.NewReader(text), "ovs-ofctl", "-O", "OpenFlow14", "--bundle", "replace-flows", o.Bridge(), "-")
	return err
}

// DumpFlows lists the bridge's flows without statistics and with numbers for
// names, in the order of SortFlows.
func (o *OVS) DumpFlows() (string, error) {
	text, err := o.Ofctl("--no-stats", "--no-names", "dump-flows", o.Bridge())
	return SortFlows(text), err
}

// SortFlows puts the lines of a flow dump in order: table, priority from the
// highest, text. Blanks around a line are removed; each ends in a newline.
func SortFlows(text string) string {
	type flow struct {
		table, priority int
		line            string
	}
	var flows []flow
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		match, _, _ := strings.Cut(line, "actions=")
		flows = append(flows, flow{numberAfter(match, "table=", 0), numberAfter(match, "priority=", 32768), line})
	}
	slices.SortFunc(flows, func(a, b flow) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(b.priority, a.priority), cmp.Compare(a.line, b.line))
	})
	var b strings.Builder
	for _, f := range flows {
		b.WriteString(f.line + "\n")
	}
	return b.String()
}

// numberAfter reads the number behind a key such as table= that begins a word.
func numberAfter(s, key string, absent int) int {
	for i := 0; ; {
		j := strings.Index(s[i:], key)
		if j < 0 {
			return absent
		}
		i += j + len(key)
		if before := i - len(key) - 1; before >= 0 && s[before] != ' ' && s[before] != ',' {
			continue
		}
		digits := s[i:]
		if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			digits = digits[:end]
		}
		if n, err := strconv.Atoi(digits); err == nil {
			return n
		}
	}
}

// Purge empties the datapath's flow cache, so that the present flows decide about
// every packet from then on. Without Purge the cache follows a change of flows
// within moments; a test of the agent should leave that to the agent.
func (o *OVS) Purge() error {
	_, err := o.Appctl("revalidator/purge")
	return err
}

// Megaflows lists the datapath's flow cache.
func (o *OVS) Megaflows() ([]string, error) { return o.appctlLines("dpctl/dump-flows", "-m") }

// Conntrack lists the datapath's tracked connections.
func (o *OVS) Conntrack() ([]string, error) { return o.appctlLines("dpctl/dump-conntrack", "-m") }

func (o *OVS) appctlLines(command string, args ...string) ([]string, error) {
	text, err := o.Appctl(command, args...)
	if text == "" {
		return nil, err
	}
	return strings.Split(text, "\n"), err
}

// OFPort returns the OpenFlow port number that the switch gave an interface.
func (o *OVS) OFPort(iface string) (int, error) {
	text, err := o.Vsctl("get", "Interface", iface, "ofport")
	if err != nil {
		return 0, err
	}
	port, err := strconv.Atoi(text)
	if err != nil || port <= 0 {
		reason, _ := o.Vsctl("get", "Interface", iface, "error")
		return 0, fmt.Errorf("interface %s has no OpenFlow port (ofport %s): %w", iface, text, errors.New(reason))
	}
	return port, nil
}
