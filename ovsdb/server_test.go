package ovsdb

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of the tests.
const patience = 2 * time.Minute

// schema is a database that has nothing to do with Open vSwitch.
const schema = `{"name": "Pairs", "version": "1.0.0", "tables": {
	"Left": {"isRoot": true, "columns": {"name": {"type": "string"}, "number": {"type": "integer"}, "unused": {"type": "string"}}},
	"Right": {"isRoot": true, "columns": {"name": {"type": "string"}, "number": {"type": {"key": "integer", "min": 0, "max": "unlimited"}}}}}}`

type (
	left struct {
		UUID   string `ovsdb:"_uuid"`
		Name   string `ovsdb:"name"`
		Number int    `ovsdb:"number"`
	}
	right struct {
		UUID   string `ovsdb:"_uuid"`
		Number []int  `ovsdb:"number"`
	}
)

// server is a private ovsdb-server.
type server struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd
}

// newServer makes a database and starts nothing.
func newServer(t *testing.T) *server {
	t.Helper()
	for _, program := range []string{"ovsdb-server", "ovsdb-tool"} {
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
	s := &server{t: t, dir: dir}
	t.Cleanup(func() {
		s.stop()
		os.RemoveAll(dir)
	})
	if err := os.WriteFile(s.path("schema"), []byte(schema), 0o644); err != nil {
		t.Fatal(err)
	}
	s.create()
	return s
}

func startServer(t *testing.T) *server {
	s := newServer(t)
	s.start()
	return s
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }
func (s *server) endpoint() string        { return "unix:" + s.path("sock") }

// create makes an empty database, in the place of the one before.
func (s *server) create() {
	s.t.Helper()
	_ = os.Remove(s.path("db"))
	if out, err := exec.Command("ovsdb-tool", "create", s.path("db"), s.path("schema")).CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
}

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command("ovsdb-server", "--remote=punix:"+s.path("sock"), "--unixctl="+s.path("ctl"), "--no-chdir", s.path("db"))
	s.cmd.Env = append(os.Environ(), "OVS_RUNDIR="+s.dir, "OVS_LOGDIR="+s.dir, "OVS_DBDIR="+s.dir)
	_ = os.Remove(s.path("sock"))
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("unix", s.path("sock"))
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal(err)
		}
	}
}

// stop kills the server and waits for its end.
func (s *server) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// hang stops the server as a debugger does, or lets it go on.
func (s *server) hang(on bool) {
	s.t.Helper()
	signal := map[bool]syscall.Signal{true: syscall.SIGSTOP, false: syscall.SIGCONT}[on]
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}

// follower is a running client, with a channel that rings when Run says that
// the copy may have changed.
type follower struct {
	*Client
	changed chan struct{}
}

// run runs a client of the pairs until the end of the test.
func run(t *testing.T, config Config) *follower {
	t.Helper()
	config.Database = "Pairs"
	config.Tables = map[string]Model{"Left": &left{}, "Right": &right{}}
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	c := &follower{client, make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(ctx, func() {
			select {
			case c.changed <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Errorf("Run returned %v", err)
		}
	})
	return c
}

// until takes pictures until one is as wanted.
func until(t *testing.T, c *follower, what string, wanted func(Picture) bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case <-c.changed:
			if p, ok := c.Picture(); ok && wanted(p) {
				return
			}
		case <-deadline.C:
			p, ok := c.Picture()
			t.Fatalf("no picture shows: %s; the last is %v, %v; %+v", what, p, ok, c.Status())
		}
	}
}

// untilStatus waits until the state of the connection is as wanted.
func untilStatus(t *testing.T, c interface{ Status() Status }, wanted func(Status) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !wanted(c.Status()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("status: %+v", c.Status())
		}
	}
}

// patiently is a context for one step.
func patiently(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// insert adds a row to Left.
func insert(t *testing.T, c *follower, name string) {
	t.Helper()
	if _, err := c.Transact(patiently(t), Operation{Op: "insert", Table: "Left", Row: Row{"name": name}}); err != nil {
		t.Fatal(err)
	}
}

// names are those of the rows of Left.
func names(p Picture) map[string]bool {
	out := map[string]bool{}
	for _, row := range All[left](p, "Left") {
		out[row.Name] = true
	}
	return out
}
