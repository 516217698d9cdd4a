package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// dirHost has one port and the example's policy on a simulated datapath.
func dirHost(t *testing.T) *host {
	h := newHost(t, testbed.Options{Dummy: true})
	h.addDummyPort("web", "tap1", 5)
	h.example()
	return h
}

func stateOf(s control.Status, file string) string {
	for _, f := range s.Files {
		if f.Name == file {
			return strings.TrimSpace(f.State + " " + strings.Join(f.Errors, "; "))
		}
	}
	return "absent"
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A broken file or directory changes nothing of the policy in force, neither
// under this agent nor under the next.
func TestBrokenDirectory(t *testing.T) {
	h := dirHost(t)
	h.spawn()
	h.inForce()
	before := h.epochless()
	unchanged := func(what string) {
		t.Helper()
		same(t, what, h.epochless(), before)
	}
	groups, dir := exampleFile(t, "groups.yaml"), h.path("policy")

	// Half of a file is written in place, then the rest.
	half := strings.Index(groups, "direction:") + 5
	h.write("groups.yaml", groups[:half])
	if got := stateOf(h.inForce(), "groups.yaml"); !strings.HasPrefix(got, "kept groups.yaml:") {
		t.Errorf("half a file is %s", got)
	}
	unchanged("half a file")
	h.murder()
	h.spawn()
	if got := stateOf(h.inForce(), "groups.yaml"); !strings.HasPrefix(got, "kept groups.yaml:") {
		t.Errorf("half a file is %s after a restart", got)
	}
	unchanged("half a file and a restart")
	f, err := os.OpenFile(filepath.Join(dir, "groups.yaml"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString(groups[half:])
	must(t, err, f.Close())
	if got := stateOf(h.inForce(), "groups.yaml"); got != "accepted" {
		t.Errorf("the whole file is %s", got)
	}
	unchanged("the whole file")

	// The directory is removed; the agent keeps the policy in force.
	must(t, os.Rename(dir, h.path("away")))
	s := h.until("that the directory is gone", func(s control.Status) bool { return warns(s, "policy directory: ") })
	if !warns(s, "stays in force") || s.State != "enforcing" {
		t.Errorf("without a directory: %+v", s)
	}
	unchanged("no directory")
	h.murder()
	h.spawn()
	h.waitReady()
	s = h.until("something", func(control.Status) bool { return true })
	unchanged("no directory and a restart")
	t.Logf("a new agent without a directory: %s (%s), warnings %q", s.State, s.Reason, s.Warnings)
	must(t, os.Rename(h.path("away"), dir))
	if s := h.inForce(); len(s.Warnings) > 0 || s.Last != nil && s.Last.Added > 0 {
		t.Errorf("with the directory back: %q, %+v", s.Warnings, s.Last)
	}
	unchanged("the directory back")
	// The agent follows a new directory like the old one.
	must(t, os.Rename(dir, h.path("away")), os.Mkdir(dir, 0o755))
	h.example()
	h.inForce()
	unchanged("a new directory")
	h.write("network.yaml", strings.ReplaceAll(exampleFile(t, "network.yaml"), "10.0.1.0/24", "10.0.0.0/16"))
	h.until("the change in a new directory", func(s control.Status) bool {
		return s.Last != nil && strings.Contains(fmt.Sprint(s.Last.What), "~network.yaml")
	})
	h.example()
	h.inForce()
	unchanged("the change undone")

	// Directory entries that are no regular files, or no manifests.
	const secret = "OfNoOthers"
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo.yaml"), 0o644),
		syscall.Mknod(filepath.Join(dir, "zero.yaml"), syscall.S_IFCHR|0o644, 1<<8|5),
		syscall.Mknod(filepath.Join(dir, "tty.yaml"), syscall.S_IFCHR|0o644, 5<<8),
		os.Symlink("loop.yaml", filepath.Join(dir, "loop.yaml")),
		os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")),
		os.Symlink("/dev/zero", filepath.Join(dir, "link.yaml")),
		os.WriteFile(h.path("shadow"), []byte("root:$y$"+secret+":19000::::::\n"), 0o600),
		os.Symlink("../shadow", filepath.Join(dir, "shadow.yaml")),
		os.WriteFile(filepath.Join(dir, "copied.yaml"), []byte("root:$y$"+secret+":19000::::::\n"), 0o644),
		os.Symlink("..", filepath.Join(dir, "up.yaml")),
		os.Mkdir(filepath.Join(dir, "dir.yaml"), 0o755),
		os.WriteFile(filepath.Join(dir, "binary.yaml"), []byte("\x00\xff\xfe\x01"), 0o644),
		os.WriteFile(filepath.Join(dir, "empty.yaml"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, ".hidden.yaml"), []byte("["), 0o644),
		os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("["), 0o644))
	h.write("huge.yaml", strings.Repeat("# nothing\n", 9<<20/10)) // what is written in place is smaller at first
	for range 2 {
		s = h.inForce()
		for _, name := range []string{"fifo", "zero", "tty", "loop", "dangling", "link", "up", "dir", "binary", "huge", "shadow", "copied"} {
			if got := stateOf(s, name+".yaml"); !strings.HasPrefix(got, "rejected "+name+".yaml") {
				t.Errorf("%s.yaml is %s", name, got)
			}
		}
		if got := stateOf(s, "huge.yaml"); !strings.Contains(got, fmt.Sprint(manifest.MaxFileSize)) {
			t.Errorf("huge.yaml is %s", got)
		}
		for name, want := range map[string]string{"empty.yaml": "accepted", "groups.yaml": "accepted", ".hidden.yaml": "absent", "notes.txt": "absent"} {
			if got := stateOf(s, name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		if got := stateOf(s, "shadow.yaml"); !strings.Contains(got, "leads out of the policy directory") {
			t.Errorf("a link that leads out is %s", got)
		}
		if strings.Contains(fmt.Sprint(s, h.log), secret) {
			t.Errorf("status or log quote a file that is no manifest: %+v\n%s", s.Files, h.log)
		}
		unchanged("things that are no files")
		h.murder() // the next agent gets past them too
		h.spawn()
	}
	// A manifest that becomes such an entry stays in force.
	must(t, os.Remove(filepath.Join(dir, "groups.yaml")), syscall.Mkfifo(filepath.Join(dir, "groups.yaml"), 0o644))
	if got := stateOf(h.inForce(), "groups.yaml"); !strings.HasPrefix(got, "kept ") {
		t.Errorf("a manifest that is a FIFO now is %s", got)
	}
	unchanged("a manifest that is a FIFO now")
}

// A file that is truncated and rewritten is empty for a moment. An agent that
// reads the file in this moment revokes nothing.
func TestTruncatedFile(t *testing.T) {
	h := dirHost(t)
	h.spawn()
	h.inForce()
	before := h.epochless()
	must(t, os.Truncate(h.path("policy", "groups.yaml"), 0))
	if got := stateOf(h.inForce(), "groups.yaml"); !strings.HasPrefix(got, "kept") {
		t.Errorf("an empty file is %s", got)
	}
	same(t, "an empty file", h.epochless(), before)
}

// A ConfigMap is mounted as links into a directory that is replaced as a whole.
func TestConfigMap(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	h.addDummyPort("web", "tap1", 5)
	dir := h.path("policy")
	swap := func(n int, port string) {
		t.Helper()
		data := fmt.Sprintf("..2026_%d", n)
		must(t, os.Mkdir(filepath.Join(dir, data), 0o755))
		for _, name := range []string{"groups.yaml", "network.yaml", "vms.yaml"} {
			must(t, os.WriteFile(filepath.Join(dir, data, name), []byte(strings.ReplaceAll(exampleFile(t, name), "443", port)), 0o644))
		}
		must(t, os.Symlink(data, filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	swap(0, "443")
	for _, name := range []string{"groups.yaml", "network.yaml", "vms.yaml"} {
		must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	h.spawn("--resync", "1h") // so that it is the event that counts
	if s := h.inForce(); len(s.Files) != 3 || !strings.Contains(h.flows(), "tp_dst=443") {
		t.Fatalf("the files are %+v", s.Files)
	}
	for i := 1; i <= 20; i++ {
		port := fmt.Sprint(4000 + i)
		swap(i, port)
		must(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_%d", i-1))))
		s := h.until("change "+port, func(s control.Status) bool { return strings.Contains(h.flows(), "tp_dst="+port) })
		if stateOf(s, "groups.yaml") != "accepted" || len(s.Files) != 3 {
			t.Errorf("swap %d: %+v", i, s.Files)
		}
	}
}

// Thousands of files appear, change and disappear at once.
func TestManyFiles(t *testing.T) {
	t.Parallel() // it waits for the disk
	h := dirHost(t)
	h.spawn()
	h.inForce()
	before := h.epochless()
	const n = 2000
	path := func(i int) string { return h.path("policy", fmt.Sprintf("many%d.yaml", i)) }
	began := time.Now()
	for i := range n {
		must(t, os.WriteFile(path(i), []byte(groupOf(fmt.Sprintf("many%d", i), allIn)), 0o644))
	}
	written := time.Since(began)
	s := h.inForce()
	t.Logf("%d files: written in %v, in force after %v", n, written.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	accepted := 0
	for _, f := range s.Files {
		if f.State == "accepted" {
			accepted++
		}
	}
	if accepted != n+3 {
		t.Errorf("%d of %d files are accepted", accepted, n+3)
	}
	for i := range n {
		must(t, os.Remove(path(i)))
	}
	if s := h.inForce(); len(s.Files) != 3 {
		t.Errorf("%d files are left", len(s.Files))
	}
	same(t, "without them", h.epochless(), before)
}

// Where the kernel grants no inotify instance, which are 128 for a user by
// default, the agent starts all the same: it looks at the directory every second
// and warns, until it gets one.
func TestNoInotify(t *testing.T) {
	h := newHost(t, testbed.Options{Dummy: true})
	h.example()
	const limit = "/proc/sys/user/max_inotify_instances"
	h.under = []string{"unshare", "--user", "--map-root-user", "sh", "-c", "echo 0 > " + limit + "; exec \"$@\"", "sh"}
	h.start()
	warned := func() bool {
		s, err := h.status()
		must(t, err)
		return slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, "its files are looked at every second") })
	}
	h.wait()
	if !warned() {
		t.Error("no warning")
	}
	h.remove("groups.yaml")
	eventually := func(what string, f func() bool) {
		t.Helper()
		if err := testbed.Poll(within(t, 20*time.Second), 10*time.Millisecond, func() (bool, error) { return f(), nil }); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	files := func() int {
		s, err := h.status()
		must(t, err)
		return len(s.Files)
	}
	eventually("a file is gone", func() bool { return files() == 2 })
	h.write("groups.yaml", exampleFile(t, "groups.yaml"))
	if s := h.wait(); len(s.Files) != 3 {
		t.Errorf("after a wait: %+v", s.Files)
	}
	out, err := exec.Command("nsenter", "--user", "--target", strconv.Itoa(h.agent.Process.Pid), "sh", "-c", "echo 128 > "+limit).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually("the directory is watched", func() bool { return !warned() })
	h.remove("groups.yaml")
	eventually("a file is gone again", func() bool { return files() == 2 })
}
