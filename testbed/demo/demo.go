package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

type config struct {
	program, example, datapath string
	keep                       bool
}

// demo is the running demonstration.
type demo struct {
	config
	dir   string // holds policy/, state/, control.sock and agent.log
	ovs   *testbed.OVS
	hosts []*host
	agent *testbed.Agent
}

// run shows the whole demonstration.
func run(ctx context.Context, cfg config) (err error) {
	began := time.Now()
	d := &demo{config: cfg}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(ctx); err != nil {
		return err
	}
	before, err := d.probeAll(ctx)
	if err != nil {
		return err
	}
	title("Who can reach whom, asked with real packets over IPv4 and IPv6")
	fmt.Print(before.table())

	after, err := d.change(ctx, before)
	if err != nil {
		return err
	}
	title("Exactly these cells changed")
	fmt.Print(differences(before, after))

	if err := d.showFlows(); err != nil {
		return err
	}
	title("ovs-sg status")
	text, err := d.agent.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Print(text)
	fmt.Printf("\nAll of it took %.1f s.\n", time.Since(began).Seconds())
	if d.keep {
		d.invite()
		<-ctx.Done()
		fmt.Println("\nCleaning up.")
	}
	return nil
}

func title(text string) { fmt.Printf("\n%s\n%s\n", text, strings.Repeat("-", len(text))) }

// start brings up everything, the manifests of the example included.
func (d *demo) start(ctx context.Context) error {
	var err error
	if d.program, err = filepath.Abs(d.program); err != nil {
		return err
	}
	if _, err := os.Stat(d.program); err != nil {
		return fmt.Errorf("%w (make build)", err)
	}
	if d.dir, err = os.MkdirTemp("", "ovs-sg-demo"); err != nil {
		return err
	}
	for _, sub := range []string{"policy", "state"} {
		if err := os.Mkdir(filepath.Join(d.dir, sub), 0o755); err != nil {
			return err
		}
	}
	inventory, err := readExample(d.example)
	if err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if d.ovs, err = testbed.Start(starting, testbed.Options{Datapath: d.datapath}); err != nil {
		return err
	}
	if err := d.setVersion(ctx); err != nil {
		return err
	}
	if err := d.plug(ctx, inventory); err != nil {
		return err
	}
	for _, f := range inventory.files {
		if err := d.put(f.Name, f.Data); err != nil {
			return err
		}
	}
	version, err := testbed.Output(exec.CommandContext(ctx, d.program, "version"))
	if err != nil {
		return err
	}
	if d.agent, err = d.ovs.StartAgent(d.program, d.dir); err != nil {
		return err
	}
	s, err := d.wait(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("Open vSwitch %s, datapath %s, %d hosts, %d flows. The agent is %s.\n",
		s.OVS, s.Datapath, len(d.hosts), s.Flows, strings.TrimSpace(version))
	return nil
}

// setVersion writes the version of Open vSwitch into the database, as the
// system's start script does: what the agent must work around depends on it.
func (d *demo) setVersion(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "ovs-vswitchd", "--version").Output()
	if err != nil {
		return fmt.Errorf("ovs-vswitchd --version: %w", err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	words := strings.Fields(line)
	if len(words) == 0 {
		return errors.New("ovs-vswitchd --version says nothing")
	}
	_, err = d.ovs.Vsctl("set", "Open_vSwitch", ".", "ovs_version="+words[len(words)-1])
	return err
}

// put renames a manifest into place. Every writer into the directory of a running
// agent should do that.
func (d *demo) put(name string, data []byte) error {
	tmp := filepath.Join(d.dir, "new")
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(d.dir, "policy", name))
}

// close ends everything. It may be called at any stage of start.
func (d *demo) close() error {
	var errs []error
	if d.agent != nil {
		errs = append(errs, d.agent.Stop(5*time.Second))
	}
	if d.ovs != nil {
		errs = append(errs, d.ovs.Close())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// invite prints commands to play with the running demonstration.
func (d *demo) invite() {
	title("It stays up until Ctrl-C. In another terminal, as root")
	fmt.Printf("# the policy: change a file, then ask what is in force\n"+
		"ls %s/policy\n%s status --wait --control %s\n\n", d.dir, d.program, d.agent.Control)
	fmt.Printf("# the flows\nOVS_RUNDIR=%s ovs-ofctl -O OpenFlow14 --names dump-flows %s\n\n", d.ovs.Dir(), d.ovs.Bridge())
	fmt.Print("# a host, from the inside; each answers on tcp 22 80 443 8080 3306 and udp 53\n")
	if _, err := exec.LookPath("ping"); err != nil {
		fmt.Print("# (ping is missing here: apt-get install iputils-ping)\n")
	}
	for i, h := range d.hosts {
		to := d.hosts[(i+1)%len(d.hosts)]
		fmt.Printf("nsenter --net=%s ping -c 1 -W 1 %s   # %s to %s\n", h.NetNS(), to.at[0], h.Name, to.Name)
	}
	from, to := d.hosts[len(d.hosts)-1], d.hosts[1]
	fmt.Printf("nsenter --net=%s bash -c 'head -1 </dev/tcp/%s/443'   # %s to %s, tcp 443\n", from.NetNS(), to.at[0], from.Name, to.Name)
}
