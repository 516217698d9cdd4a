package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// agent is a Backend that answers what its fields say.
type agent struct {
	status  func(all bool) (Status, error)
	wait    func(context.Context) error
	release error
	audit   func(repair bool) (Audit, error)
}

func (a *agent) Status(_ context.Context, all bool) (Status, error)  { return a.status(all) }
func (a *agent) Wait(ctx context.Context) error                      { return a.wait(ctx) }
func (a *agent) Release(context.Context) error                       { return a.release }
func (a *agent) Audit(_ context.Context, repair bool) (Audit, error) { return a.audit(repair) }

// serve serves an agent and returns its socket and a client. The server ends
// with the test.
func serve(t *testing.T, b Backend) (socket string, c *Client) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "deep", "control.sock")
	l, err := Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- Serve(ctx, l, b) }()
	c = New(socket)
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return socket, c
}

// full is a Status none of whose fields is empty.
var full = Status{
	State: "held", Reason: "reason", Bridge: "br0", OVS: "3.1.0", Datapath: "netdev", Flows: 1, Rounds: 2, Failures: 3,
	Counts: FileCounts{Accepted: 4, Kept: 5, Rejected: 6}, Unsaved: 21,
	Files: []FileStatus{{Name: "a.yaml", State: "kept", Errors: []string{"a.yaml:1: bad"}}},
	Ports: []PortStatus{{Name: "tap0", OFPort: 7, Kind: "vm", State: "enforced", VM: "default/web", VLAN: 8, MAC: "02:00:00:00:00:01",
		Addrs: []string{"10.0.0.1"}, Groups: []string{"g"}, Epochs: &PortEpochs{Egress: 9, Ingress: 10}, Reason: "why"}},
	Warnings: []string{"warning"}, Notes: []string{"note"},
	Held: &Held{Reason: "much", Rules: 11, Removed: 12, VMs: 13, Cut: 14, Displaced: 15},
	Last: &LastChange{Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), What: []string{"~a.yaml"}, Added: 15, Modified: 16, Deleted: 17,
		Took: 18, Compile: 19, Switch: 20},
	Drift: &DriftStatus{Count: 21, Last: &Drift{Time: time.Date(2026, 1, 2, 3, 4, 5, 7, time.UTC), What: []string{"1 flow gone"}, Took: 22}},
}

// empty lists the fields of a value, below path too, that are zero.
func empty(path string, v reflect.Value) (out []string) {
	switch {
	case v.IsZero():
		return []string{path}
	case v.Kind() == reflect.Pointer:
		return empty(path, v.Elem())
	case v.Kind() == reflect.Slice:
		return empty(path+"[0]", v.Index(0))
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			out = append(out, empty(path+"."+v.Type().Field(i).Name, v.Field(i))...)
		}
	}
	return out
}

// TestJSON holds the names of the JSON fields, which scripts read.
func TestJSON(t *testing.T) {
	if fields := empty("Status", reflect.ValueOf(full)); fields != nil {
		t.Fatalf("fields that the test leaves out: %s", fields)
	}
	text, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"state":"held","reason":"reason","bridge":"br0","ovsVersion":"3.1.0","datapathType":"netdev","flows":1,"rounds":2,"failures":3,` +
		`"fileCounts":{"accepted":4,"kept":5,"rejected":6},"unsavedFiles":21,"files":[{"name":"a.yaml","state":"kept","errors":["a.yaml:1: bad"]}],` +
		`"ports":[{"name":"tap0","ofport":7,"kind":"vm","state":"enforced","vm":"default/web","vlan":8,"mac":"02:00:00:00:00:01",` +
		`"addresses":["10.0.0.1"],"groups":["g"],"epochs":{"egress":9,"ingress":10},"reason":"why"}],"warnings":["warning"],"notes":["note"],` +
		`"held":{"reason":"much","rules":11,"removed":12,"vms":13,"cut":14,"displaced":15},` +
		`"lastChange":{"time":"2026-01-02T03:04:05.000000006Z","what":["~a.yaml"],"added":15,"modified":16,"deleted":17,` +
		`"tookNanoseconds":18,"compileNanoseconds":19,"switchNanoseconds":20},` +
		`"drift":{"count":21,"last":{"time":"2026-01-02T03:04:05.000000007Z","what":["1 flow gone"],"tookNanoseconds":22}}}`
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	text, _ = json.Marshal(Status{})
	want = `{"state":"","bridge":"","flows":0,"rounds":0,"failures":0,"fileCounts":{"accepted":0,"kept":0,"rejected":0},` +
		`"files":null,"ports":null,"warnings":null,"notes":null}`
	if string(text) != want {
		t.Errorf("a status without anything: got\n%s\nwant\n%s", text, want)
	}
}

func TestStatus(t *testing.T) {
	var asked []bool
	_, c := serve(t, &agent{status: func(all bool) (Status, error) {
		asked = append(asked, all)
		return full, nil
	}})
	for _, all := range []bool{true, false} {
		if got, err := c.Status(t.Context(), all); err != nil || !reflect.DeepEqual(got, full) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if !slices.Equal(asked, []bool{true, false}) {
		t.Errorf("the agent was asked for all: %v", asked)
	}
	body, err := c.StatusJSON(t.Context(), true)
	if want, _ := json.Marshal(full); err != nil || string(body) != string(want)+"\n" {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestAudit(t *testing.T) {
	_, c := serve(t, &agent{audit: func(repair bool) (Audit, error) {
		if repair {
			return Audit{Found: []string{"1 flow gone"}, Left: []string{}}, nil
		}
		return Audit{}, errors.New("not in force")
	}})
	a, err := c.Audit(t.Context(), true)
	if err != nil || !reflect.DeepEqual(a, Audit{Found: []string{"1 flow gone"}, Left: []string{}}) {
		t.Errorf("got %+v, %v", a, err)
	}
	if _, err := c.Audit(t.Context(), false); err == nil || err.Error() != "not in force" {
		t.Errorf("got %v", err)
	}
}

// An error of the agent reaches the caller of the client with the same text.
func TestRefusal(t *testing.T) {
	no := errors.New("no, because\nof that")
	_, c := serve(t, &agent{
		status:  func(bool) (Status, error) { return full, no },
		wait:    func(context.Context) error { return no },
		release: no,
	})
	_, err := c.Status(t.Context(), true)
	for what, err := range map[string]error{"status": err, "wait": c.Wait(t.Context()), "release": c.Release(t.Context())} {
		if err == nil || err.Error() != no.Error() {
			t.Errorf("%s: got %v, want %v", what, err, no)
		}
	}
}

// A wait that ends because the change is held is told from others.
func TestHeld(t *testing.T) {
	held := fmt.Errorf("wait: %w", ErrHeld)
	_, c := serve(t, &agent{wait: func(context.Context) error { return held }, release: ErrHeld})
	if err := c.Wait(t.Context()); !errors.Is(err, ErrHeld) {
		t.Errorf("got %v", err)
	}
	if err := c.Release(t.Context()); err == nil || errors.Is(err, ErrHeld) {
		t.Errorf("release: got %v", err)
	}
}

func TestCommands(t *testing.T) {
	_, c := serve(t, &agent{wait: func(context.Context) error { return nil }})
	if err := c.Wait(t.Context()); err != nil {
		t.Errorf("wait: %v", err)
	}
	if err := c.Release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
}

// A wait ends on both sides when the client's patience does.
func TestDeadline(t *testing.T) {
	ended := make(chan error, 1)
	_, c := serve(t, &agent{wait: func(ctx context.Context) error {
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Wait(ctx); err == nil || err.Error() != "timed out" {
		t.Errorf("got %v", err)
	}
	if err := <-ended; err != context.Canceled {
		t.Errorf("the agent's wait ended with %v", err)
	}
}

// A server that ends ends the waits of its clients.
func TestServerEnds(t *testing.T) {
	l, err := Listen(filepath.Join(t.TempDir(), "s"), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- Serve(ctx, l, &agent{wait: func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}})
	}()
	if err := New(l.Addr().String()).Wait(t.Context()); err == nil {
		t.Error("the wait succeeded")
	}
	if err := <-ended; err != context.Canceled {
		t.Errorf("Serve ended with %v", err)
	}
	if _, err := net.Dial("unix", l.Addr().String()); err == nil {
		t.Error("the socket still answers")
	}
}

func TestUnreachable(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nobody.sock")
	_, err := New(socket).Status(t.Context(), true)
	if err == nil || !strings.HasPrefix(err.Error(), "ask the agent: ") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestListen(t *testing.T) {
	socket, c := serve(t, &agent{status: func(bool) (Status, error) { return full, nil }})
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(socket, ""); err == nil || !strings.Contains(err.Error(), "another agent answers there") {
		t.Errorf("a second agent: %v", err)
	}
	if _, err := c.Status(t.Context(), true); err != nil {
		t.Errorf("after a second agent: %v", err)
	}

	// A dead agent left its socket.
	left := filepath.Join(t.TempDir(), "left.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	again, err := Listen(left, "")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()

	// What is no socket stays.
	dir := t.TempDir()
	file, link := filepath.Join(dir, "precious"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("text"), 0o600), os.Symlink(left, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		if _, err := Listen(path, ""); err == nil || !strings.Contains(err.Error(), "no socket") {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}

	if _, err := Listen(filepath.Join(t.TempDir(), "s"), "no-such-group"); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("a group that does not exist: %v", err)
	}
}
