package unixctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func patiently(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// startOVS runs a private Open vSwitch with a dummy bridge br0 and returns its
// rundir.
func startOVS(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovsdb-tool"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("REQUIRE_OVS") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	dir := shortDir(t)
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "OVS_RUNDIR="+dir, "OVS_LOGDIR="+dir, "OVS_DBDIR="+dir)
		return cmd
	}
	start := func(name string, args ...string) {
		cmd := command(name, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
	run := func(name string, args ...string) {
		if out, err := command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	db := "unix:" + filepath.Join(dir, "db.sock")
	run("ovsdb-tool", "create", filepath.Join(dir, "conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
	start("ovsdb-server", "--remote=p"+db, "--no-chdir", filepath.Join(dir, "conf.db"))
	run("ovs-vsctl", "--retry", "--timeout=30", "--db="+db, "--no-wait", "init")
	start("ovs-vswitchd", "--enable-dummy=override", "--disable-system", "--no-chdir", "--pidfile", db)
	run("ovs-vsctl", "--retry", "--timeout=30", "--db="+db,
		"add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=dummy",
		"--", "add-port", "br0", "p1", "--", "set", "Interface", "p1", "type=dummy", "ofport_request=1")
	return dir
}

// shortDir is a directory whose name leaves room for the 107 bytes of a Unix
// socket's path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ovs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(patiently(t), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestCall(t *testing.T) {
	path, err := Find(startOVS(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx := patiently(t)
	c := dial(t, path)
	call := func(method string, args ...string) string {
		t.Helper()
		out, err := c.Call(ctx, method, args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := call("version"); !strings.Contains(out, "Open vSwitch") {
		t.Errorf("version: %q", out)
	}
	call("revalidator/purge")
	call("revalidator/wait")
	if out := call("fdb/flush", "br0"); !strings.Contains(out, "flushed") {
		t.Errorf("fdb/flush: %q", out)
	}

	if out := call("dpif/show-dp-features", "br0"); !strings.Contains(out, "CT zone: ") {
		t.Errorf("dpif/show-dp-features: %q", out)
	}

	// Refusals are the daemon's own words, and do no harm.
	for _, tt := range []struct {
		method string
		args   []string
		want   string
	}{
		{"no/such/command", nil, "is not a valid command"},
		{"fdb/flush", []string{"br9"}, "no such bridge"},
		{"version", []string{"too", "many"}, "takes at most 0 arguments"},
	} {
		_, err := c.Call(ctx, tt.method, tt.args...)
		var refused *Error
		if !errors.As(err, &refused) || refused.Method != tt.method || !strings.Contains(refused.Message, tt.want) {
			t.Errorf("%s %v: %v", tt.method, tt.args, err)
		}
	}

	// Many calls on one connection.
	for i := range 500 {
		flow := fmt.Sprintf("in_port=1,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,dl_type=0x0800,nw_dst=10.0.%d.%d", i/250, i%250)
		if out := call("ofproto/trace", "br0", flow); !strings.Contains(out, "Datapath actions:") {
			t.Fatalf("trace %s: %q", flow, out)
		}
	}
	if out := call("list-commands"); !strings.Contains(out, "ofproto/trace") {
		t.Errorf("list-commands: %q", out)
	}

	// From many goroutines, each gets its own answer.
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 50 {
				method := fmt.Sprintf("no/such/command%d", i)
				var refused *Error
				if _, err := c.Call(ctx, method); !errors.As(err, &refused) || !strings.Contains(refused.Message, method) {
					t.Errorf("%s: %v", method, err)
				}
			}
		})
	}
	all.Wait()
}

// peer listens on a socket and serves one connection.
func peer(t *testing.T, serve func(net.Conn)) (path string) {
	t.Helper()
	path = filepath.Join(shortDir(t), "ctl")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(conn)
	}()
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
	return path
}

func TestLargeReply(t *testing.T) {
	text := strings.Repeat("recirc_id(0),in_port(1),eth(),eth_type(0x0800) \"\\\n", 200_000)
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text)
	c := dial(t, peer(t, func(conn net.Conn) {
		io.WriteString(conn, `{"error":null,"id":1,"result":"`+quoted+`"}`)
		io.Copy(io.Discard, conn)
	}))
	out, err := c.Call(patiently(t), "dpctl/dump-flows")
	if err != nil || out != text {
		t.Errorf("%d bytes, %v, want %d", len(out), err, len(text))
	}
}

func TestBadReplies(t *testing.T) {
	for _, text := range []string{
		"", "nonsense", "[]", "{}", "\x00\xff",
		`{"id":2,"result":"x","error":null}`,
		`{"id":1,"result":null,"error":null}`,
		`{"id":1,"result":"x","error":"y"}`,
		`{"id":1,"result":7,"error":null}`,
		`{"id":1,"result":"cut of`,
	} {
		c := dial(t, peer(t, func(conn net.Conn) {
			io.WriteString(conn, text)
			conn.(*net.UnixConn).CloseWrite()
			io.Copy(io.Discard, conn)
		}))
		var refused *Error
		if out, err := c.Call(patiently(t), "version"); err == nil || errors.As(err, &refused) {
			t.Errorf("reply %q: %q, %v", text, out, err)
		}
		if _, err := c.Call(patiently(t), "version"); err == nil || !strings.Contains(err.Error(), "given up") {
			t.Errorf("after reply %q: %v", text, err)
		}
	}
}

func TestCallEndsWithContext(t *testing.T) {
	received := make(chan struct{})
	c := dial(t, peer(t, func(conn net.Conn) {
		conn.Read(make([]byte, 1000))
		close(received)
		io.Copy(io.Discard, conn) // never answers
	}))
	ctx, cancel := context.WithCancel(patiently(t))
	failed := make(chan error, 2)
	go func() { _, err := c.Call(ctx, "revalidator/wait"); failed <- err }()
	<-received
	go func() { _, err := c.Call(ctx, "waits/for/its/turn"); failed <- err }()
	cancel()
	for range 2 {
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("Call: %v", err)
		}
	}
	if _, err := c.Call(patiently(t), "version"); err == nil {
		t.Error("the connection is still used")
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if _, err := Find(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a pid file: %v", err)
	}
	for text, want := range map[string]string{
		"1234\n": filepath.Join(dir, "ovs-vswitchd.1234.ctl"),
		"1234":   filepath.Join(dir, "ovs-vswitchd.1234.ctl"),
		"":       "", "x\n": "", "-1\n": "", "0\n": "", "1/../2\n": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, "ovs-vswitchd.pid"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Find(dir)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("pid file %q: %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := Dial(patiently(t), filepath.Join(dir, "nobody")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Dial: %v", err)
	}
}
