package vswitch

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait of the tests.
const patience = 2 * time.Minute

// schemaFile is where Debian and Fedora put it.
const schemaFile = "/usr/share/openvswitch/vswitch.ovsschema"

// testOVS is a private Open vSwitch without devices, which needs no root.
type testOVS struct {
	t        *testing.T
	dir      string
	db       *exec.Cmd
	vswitchd *exec.Cmd
}

// startOVS starts ovsdb-server and ovs-vswitchd with a dummy datapath.
func startOVS(t *testing.T) *testOVS {
	o := newOVS(t)
	o.startDB()
	o.vsctl("--no-wait", "init")
	o.startVswitchd()
	return o
}

// newOVS makes an empty database and starts nothing.
func newOVS(t *testing.T) *testOVS {
	t.Helper()
	for _, program := range []string{"ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovsdb-tool"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("REQUIRE_OVS") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	// t.TempDir() is too long for the path of a Unix socket.
	dir, err := os.MkdirTemp("", "ovs")
	if err != nil {
		t.Fatal(err)
	}
	o := &testOVS{t: t, dir: dir}
	t.Cleanup(func() {
		o.stop(&o.vswitchd)
		o.stop(&o.db)
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("%s", log)
		}
		os.RemoveAll(dir)
	})
	o.run("ovsdb-tool", "create", o.path("conf.db"), schemaFile)
	return o
}

func (o *testOVS) path(name string) string { return filepath.Join(o.dir, name) }

// endpoint is where ovsdb-server listens.
func (o *testOVS) endpoint() string { return "unix:" + o.path("db.sock") }

func (o *testOVS) startDB() {
	o.t.Helper()
	o.db = o.start("ovsdb-server", "--remote=punix:"+o.path("db.sock"), "--no-chdir", o.path("conf.db"))
}

func (o *testOVS) startVswitchd() {
	o.t.Helper()
	o.vswitchd = o.start("ovs-vswitchd", "--enable-dummy=override", "--disable-system",
		"--no-chdir", "--pidfile", "-vconsole:warn", o.endpoint())
}

// start starts a program in the foreground, as a child of the test.
func (o *testOVS) start(name string, args ...string) *exec.Cmd {
	o.t.Helper()
	log, err := os.OpenFile(o.path("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		o.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Env = o.env()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	return cmd
}

// stop kills a child and waits for its end.
func (o *testOVS) stop(cmd **exec.Cmd) {
	if *cmd != nil {
		(*cmd).Process.Kill()
		(*cmd).Wait()
		*cmd = nil
	}
}

func (o *testOVS) env() []string {
	return append(os.Environ(), "OVS_RUNDIR="+o.dir, "OVS_LOGDIR="+o.dir, "OVS_DBDIR="+o.dir, "OVS_SYSCONFDIR="+o.dir)
}

// vsctl runs ovs-vsctl. It waits for ovsdb-server to answer and, unless told
// --no-wait, for ovs-vswitchd to have done it.
func (o *testOVS) vsctl(args ...string) string {
	o.t.Helper()
	return o.run("ovs-vsctl", append([]string{"--retry", "--timeout=120", "--db=" + o.endpoint()}, args...)...)
}

func (o *testOVS) run(name string, args ...string) string {
	o.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = o.env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// addPort is the argument list that plugs a dummy interface in.
func addPort(bridge, name string, settings ...string) []string {
	args := []string{"--", "add-port", bridge, name, "--", "set", "Interface", name, "type=dummy"}
	return append(args, settings...)
}

// follower is a running Client with a receiver.
type follower struct {
	*Client
	t    *testing.T
	last Snapshot
	seen int
}

// follow runs a client until the end of the test.
func follow(t *testing.T, config Config) *follower {
	t.Helper()
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Errorf("Run returned %v", err)
		}
	})
	return &follower{Client: client, t: t}
}

// until receives snapshots until one is as wanted.
func (f *follower) until(what string, wanted func(Snapshot) bool) Snapshot {
	f.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case snap := <-f.Snapshots():
			if snap.Seq <= f.last.Seq {
				f.t.Fatalf("snapshot %d came after %d", snap.Seq, f.last.Seq)
			}
			// Those in between, which were never received, may have differed.
			if f.seen > 0 && snap.Seq == f.last.Seq+1 && snap.Equal(f.last) {
				f.t.Fatalf("snapshots %d and %d are equal", f.last.Seq, snap.Seq)
			}
			f.last = snap
			f.seen++
			if wanted(snap) {
				return snap
			}
		case <-deadline.C:
			f.t.Fatalf("no snapshot shows: %s; the last is %+v; %+v", what, f.last, f.Status())
		}
	}
}

// untilStatus waits until the state of the connection is as wanted.
func (f *follower) untilStatus(wanted func(Status) bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !wanted(f.Status()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("status: %+v", f.Status())
		}
	}
}

// patiently is a context for one step.
func patiently(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// port finds a port by name. It is zero when there is none.
func (s Snapshot) port(name string) Port {
	for _, p := range s.Ports {
		if p.Name == name {
			return p
		}
	}
	return Port{}
}

// usable tells whether flows can be made for the port.
func (p Port) usable() bool { return p.State == Trusted || p.State == Pending }
