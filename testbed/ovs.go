package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Schema is the database schema that ships with Open vSwitch.
const Schema = "/usr/share/openvswitch/vswitch.ovsschema"

// Options say what switch to start. The zero value is a userspace switch with
// real devices and one bridge br0 in fail_mode=secure.
type Options struct {
	Dummy      bool     // simulated devices (--enable-dummy=override): no root, no packets
	Bridge     string   // default br0
	Datapath   string   // datapath_type; default netdev, or dummy with Dummy
	Standalone bool     // fail_mode=standalone: the bridge begins with a NORMAL flow
	NoBridge   bool     // start without a bridge
	BridgeArgs []string // more columns for ovs-vsctl set Bridge, such as other_config:mac-table-size=100
	Switchd    []string // more arguments of ovs-vswitchd, such as --enable-dummy
}

// OVS is a running private Open vSwitch. Its methods may be used from several
// goroutines.
type OVS struct {
	opt Options
	dir string
	ns  *namespace // of ovs-vswitchd; nil with Options.Dummy

	mu       sync.Mutex
	nursery  *nursery
	ovsdb    *daemon
	switchd  *daemon
	hosts    []*Host
	closed   bool
	failures []error // daemons that ended by themselves
}

// Start brings up the daemons and the bridge. The caller must Close the result;
// ctx limits the start only.
func Start(ctx context.Context, opt Options) (_ *OVS, err error) {
	if opt.Bridge == "" {
		opt.Bridge = "br0"
	}
	if opt.Datapath == "" {
		opt.Datapath = "netdev"
		if opt.Dummy {
			opt.Datapath = "dummy"
		}
	}
	if err := checkTools(opt); err != nil {
		return nil, err
	}
	o := &OVS{opt: opt, nursery: newNursery()}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start open vswitch: %w%s", err, o.logTail())
			_ = o.Close()
		}
	}()
	if o.dir, err = shortTempDir(); err != nil {
		return nil, err
	}
	if !opt.Dummy {
		if o.ns, err = newNamespace(); err != nil {
			return nil, err
		}
		// The switch's side of a link is a wire, not an IPv6 host.
		if err := o.ns.do(func() error { return sysctl("ipv6/conf/default/disable_ipv6", "1") }); err != nil {
			return nil, err
		}
		if err := waitUptime(ctx); err != nil {
			return nil, err
		}
	}
	if out, err := o.command(ctx, "ovsdb-tool", "create", o.conf(), Schema).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("create database: %w: %s", err, out)
	}
	if err := o.startOvsdb(ctx); err != nil {
		return nil, err
	}
	if !opt.NoBridge {
		mode := "secure"
		if opt.Standalone {
			mode = "standalone"
		}
		args := []string{"--no-wait", "--", "add-br", opt.Bridge, "--", "set", "Bridge", opt.Bridge,
			"datapath_type=" + opt.Datapath, "fail_mode=" + mode}
		if _, err := o.Vsctl(append(args, opt.BridgeArgs...)...); err != nil {
			return nil, err
		}
	} else if _, err := o.Vsctl("--no-wait", "init"); err != nil {
		return nil, err
	}
	if err := o.startSwitchd(ctx); err != nil {
		return nil, err
	}
	return o, nil
}

// Close ends everything that Start and the other methods began and removes the
// directory. It reports a daemon that had ended by itself.
func (o *OVS) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	for _, h := range o.hosts {
		h.close()
	}
	// The daemons are killed, because nothing in the directory is worth saving.
	errs := append(o.failures, o.switchd.stop(syscall.SIGKILL), o.ovsdb.stop(syscall.SIGKILL))
	o.nursery.close()
	if o.ns != nil {
		o.ns.close()
	}
	if o.dir != "" {
		errs = append(errs, os.RemoveAll(o.dir))
	}
	return errors.Join(errs...)
}

// Dir returns the run directory: sockets, pid files, logs and the database.
func (o *OVS) Dir() string { return o.dir }

// Env returns the environment variables that a program needs to use this switch.
func (o *OVS) Env() []string { return runEnv(o.dir) }

// Bridge returns the name of the bridge.
func (o *OVS) Bridge() string { return o.opt.Bridge }

// DB returns the database's address in the form that Open vSwitch programs take.
func (o *OVS) DB() string { return "unix:" + filepath.Join(o.dir, "db.sock") }

// Mgmt returns the bridge's OpenFlow management socket.
func (o *OVS) Mgmt() string { return "unix:" + filepath.Join(o.dir, o.opt.Bridge+".mgmt") }

func (o *OVS) conf() string { return filepath.Join(o.dir, "conf.db") }

// Ctl returns the path of the control socket of ovs-vswitchd. As in production
// the process id is a part of it: a restarted switch has another.
func (o *OVS) Ctl() string {
	return filepath.Join(o.dir, fmt.Sprintf("ovs-vswitchd.%d.ctl", o.SwitchdPID()))
}

// SwitchdPID returns the process id of the latest ovs-vswitchd, 0 before the
// first.
func (o *OVS) SwitchdPID() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.switchd == nil {
		return 0
	}
	return o.switchd.cmd.Process.Pid
}

// KillSwitchd ends ovs-vswitchd as a crash would: sockets and pid file stay.
func (o *OVS) KillSwitchd() error { return o.kill(func() *daemon { return o.switchd }) }

// KillOvsdb ends ovsdb-server as a crash would.
func (o *OVS) KillOvsdb() error { return o.kill(func() *daemon { return o.ovsdb }) }

func (o *OVS) kill(which func() *daemon) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return which().stop(syscall.SIGKILL)
}

// StartSwitchd starts ovs-vswitchd again and waits until the bridge answers.
func (o *OVS) StartSwitchd() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return o.startSwitchd(ctx)
}

// StartOvsdb starts ovsdb-server again, with the database as it was.
func (o *OVS) StartOvsdb() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return o.startOvsdb(ctx)
}

func (o *OVS) startOvsdb(ctx context.Context) error {
	err := o.launch(&o.ovsdb, nil, "ovsdb-server", o.conf(), "--remote=punix:"+filepath.Join(o.dir, "db.sock"),
		"--pidfile", "--log-file", "-vconsole:off")
	if err != nil {
		return err
	}
	return o.ready(ctx, o.ovsdb, filepath.Join(o.dir, "db.sock"))
}

func (o *OVS) startSwitchd(ctx context.Context) error {
	argv := []string{"ovs-vswitchd", o.DB(), "--pidfile", "--log-file", "-vconsole:off"}
	if o.opt.Dummy {
		argv = append(argv, "--enable-dummy=override")
	}
	argv = append(argv, o.opt.Switchd...)
	if err := o.launch(&o.switchd, o.ns, argv...); err != nil {
		return err
	}
	if err := o.ready(ctx, o.switchd, o.Ctl()); err != nil || o.opt.NoBridge {
		return err
	}
	// The switch makes a bridge with its ports and management socket in one go,
	// and answers no question meanwhile.
	err := Poll(ctx, 2*time.Millisecond, func() (bool, error) {
		if !o.switchd.running() {
			return false, o.switchd.ended()
		}
		list, _ := o.Appctl("ofproto/list") // at first there is no such command
		return slices.Contains(strings.Fields(list), o.opt.Bridge), nil
	})
	if err != nil {
		return fmt.Errorf("wait for bridge %s: %w", o.opt.Bridge, err)
	}
	return nil
}

func (o *OVS) launch(slot **daemon, ns *namespace, argv ...string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return fmt.Errorf("start %s: %w", argv[0], os.ErrClosed)
	}
	if old := *slot; old != nil {
		if old.running() {
			return fmt.Errorf("start %s: still running", argv[0])
		}
		if err := old.stop(syscall.SIGKILL); err != nil {
			o.failures = append(o.failures, err)
		}
	}
	d, err := o.nursery.start(ns, o.dir, argv...)
	if err == nil {
		*slot = d
	}
	return err
}

// ready waits until the socket accepts connections.
func (o *OVS) ready(ctx context.Context, d *daemon, path string) error {
	err := Poll(ctx, 2*time.Millisecond, func() (bool, error) {
		if !d.running() {
			return false, d.ended()
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			return false, nil
		}
		return true, c.Close()
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", path, err)
	}
	return nil
}

// Poll calls f until it says true or fails, or until the context ends.
func Poll(ctx context.Context, interval time.Duration, f func() (bool, error)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if ok, err := f(); err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// shortTempDir leaves room for socket names within the 107 bytes that a Unix
// socket address holds.
func shortTempDir() (string, error) {
	base := os.TempDir()
	if len(base) > 40 {
		base = "/tmp"
	}
	return os.MkdirTemp(base, "sgtest")
}

// waitUptime passes the first ten seconds after the machine's boot, in which
// a starting ovs-vswitchd 3.1.0 may count no CPU and drop every upcall.
func waitUptime(ctx context.Context) error {
	return Poll(ctx, 100*time.Millisecond, func() (bool, error) {
		b, err := os.ReadFile("/proc/uptime")
		if err != nil {
			return false, err
		}
		up, _, _ := strings.Cut(string(b), " ")
		seconds, err := strconv.ParseFloat(up, 64)
		return seconds > 11, err
	})
}

func checkTools(opt Options) error {
	tools := []string{"ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl"}
	if !opt.Dummy {
		if os.Geteuid() != 0 {
			return errors.New("root is needed for network namespaces (or use Options.Dummy)")
		}
		tools = append(tools, "ip")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w (testbed/provision.sh installs it)", err)
		}
	}
	if _, err := os.Stat(Schema); err != nil {
		return fmt.Errorf("%w (testbed/provision.sh installs it)", err)
	}
	return nil
}

// logTail returns the last warnings and errors of the daemons, for error
// messages.
func (o *OVS) logTail() string {
	var b strings.Builder
	for _, name := range []string{"ovsdb-server", "ovs-vswitchd"} {
		for _, suffix := range []string{".out", ".log"} {
			text, err := os.ReadFile(filepath.Join(o.dir, name+suffix))
			if o.dir == "" || err != nil {
				continue
			}
			var lines []string
			for line := range strings.Lines(string(text)) {
				if !strings.Contains(line, "|INFO|") && !strings.Contains(line, "|DBG|") {
					lines = append(lines, "\n\t"+name+": "+strings.TrimSpace(line))
				}
			}
			for _, line := range lines[max(0, len(lines)-15):] {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}
