package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asProgram in the environment makes the test binary behave as ovs-sg itself.
const asProgram = "OVS_SG_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runCLI runs ovs-sg to its end.
func runCLI(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	return out.String(), errs.String(), code
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	group := func(rule string) string {
		return "apiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: g}\nspec:\n  rules:\n  - " + rule + "\n"
	}
	if _, stderr, code := runCLI(t, "check", "../../docs/example"); code != 0 || stderr != "" {
		t.Errorf("the documented example: exit %d, %s", code, stderr)
	}
	good := put("good.yaml", group("{direction: Ingress, protocol: TCP, port: 22}"))
	bad := put("bad.yaml", group("{direction: Ingress, protocol: ICMP, port: 22}"))
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"good", []string{good}, 0, nil},
		{"bad", []string{bad}, 1, []string{bad + ":6:", "spec.rules[0].port: "}},
		{"both in a directory", []string{dir}, 1, []string{bad + ":6:"}},
		{"one object in two files", []string{good, put("again.yaml", group("{direction: Egress}"))}, 1, []string{"again.yaml:", "good.yaml:"}},
		{"no such file", []string{filepath.Join(dir, "none.yaml")}, 1, []string{"none.yaml"}},
		{"a dangling reference is a warning", []string{put("warn.yaml", strings.Replace(group("{direction: Ingress, remote: {securityGroupRef: {name: nobody}}}"), "name: g", "name: w", 1))}, 0, []string{"nobody", "(warning)"}},
	} {
		_, stderr, code := runCLI(t, append([]string{"check"}, c.args...)...)
		if code != c.code {
			t.Errorf("%s: exit %d, want %d; stderr:\n%s", c.name, code, c.code, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: no %q in:\n%s", c.name, want, stderr)
			}
		}
		if c.want == nil && stderr != "" {
			t.Errorf("%s: %s", c.name, stderr)
		}
	}
}

// check reads regular files only, and no more of a file than the agent reads.
func TestCheckReadsRegularFiles(t *testing.T) {
	dir := t.TempDir()
	fifo, sparse := filepath.Join(dir, "fifo.yaml"), filepath.Join(dir, "sparse.yaml")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(sparse, nil, 0o600), os.Truncate(sparse, 1<<40)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{fifo: "is not a regular file", "/dev/zero": "is not a regular file", sparse: "is larger than"} {
		if _, stderr, code := runCLI(t, "check", path); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", path, code, stderr)
		}
	}
}

func TestBadConfigFile(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	for _, c := range []struct{ text, want string }{
		{"brigde: br0\n", "brigde"}, {"bridge: [\n", "line"},
		{"resync: 30\n", "resync: 30 has no unit"}, {"resync: 1.5\n", "resync: 1.5 has no unit"},
	} {
		if err := os.WriteFile(config, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, stderr, code := runCLI(t, "--config", config, "agent", "--bridge", "x", "--policy-dir", "y"); code == 0 || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit %d, %s", c.text, code, stderr)
		}
	}
}

// Text from outside cannot forge a line of an error.
func TestErrorsArePrintable(t *testing.T) {
	const evil = "a\nb\x1b[2J\u202ec.yaml"
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("\"a\\nb\\e[2J\\u202e\": 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", filepath.Join(t.TempDir(), evil)},
		{"status", "--control", filepath.Join(t.TempDir(), evil)},
		{"--config", config, "agent", "--bridge", "x", "--policy-dir", "y"},
	} {
		_, stderr, code := runCLI(t, args...)
		if code == 0 || !strings.Contains(stderr, `a\nb\x1b[2J\u202e`) || strings.ContainsAny(stderr, "\x1b\u202e") {
			t.Errorf("%q: exit %d, %q", args, code, stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	if stdout, _, code := runCLI(t, "version"); code != 0 || !strings.HasPrefix(stdout, "ovs-sg ") {
		t.Errorf("exit %d, %q", code, stdout)
	}
}
