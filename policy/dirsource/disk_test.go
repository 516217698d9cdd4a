package dirsource

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// inNamespace runs the test that calls it once more, in user and mount namespaces
// of its own, and returns true there. The kernel removes what is mounted there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const variable = "DIRSOURCE_IN_NAMESPACE"
	if os.Getenv(variable) == t.Name() {
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), variable+"="+t.Name(), "GOCOVERDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return false
}

// mount mounts an empty filesystem of a size in bytes.
func mount(t *testing.T, dir string, size int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// diskTest is a Source whose state directory is a filesystem of its own.
type diskTest struct {
	*sourceTest
	cfg  Config
	logs *observer.ObservedLogs
}

func newDiskTest(t *testing.T) *diskTest {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	mount(t, state, 64<<10)
	d := &diskTest{sourceTest: &sourceTest{t: t}, cfg: Config{Dir: filepath.Join(dir, "policy.d"), StateDir: state}}
	d.again()
	return d
}

// again runs another Source on the directories; the one before is left alone as
// if it was killed.
func (d *diskTest) again() {
	d.t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	cfg := d.cfg
	cfg.Logger = zap.New(core)
	s, err := New(cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.sourceTest = &sourceTest{Source: s, t: d.t, inForce: map[string]*policy.Revision{}}
	d.logs = logs
	d.deliverOnly()
}

// change puts files in force.
func (d *diskTest) change(files ...File) {
	d.t.Helper()
	d.find("", files...)
	d.Enforced(d.until(d.watcher.seq).Seq)
}

// fill takes all that is left of the filesystem, and returns what gives it back.
func (d *diskTest) fill() (free func()) {
	d.t.Helper()
	name := filepath.Join(d.cfg.StateDir, "ballast")
	f, err := os.Create(name)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
	return func() {
		if err := os.Remove(name); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *diskTest) remount(flags uintptr) {
	d.t.Helper()
	if err := unix.Mount("none", d.cfg.StateDir, "tmpfs", unix.MS_REMOUNT|flags, ""); err != nil {
		d.t.Fatal(err)
	}
}

// copies returns the groups in the state directory, by file. A Source may be
// writing to the directory.
func (d *diskTest) copies() string {
	d.t.Helper()
	paths, err := filepath.Glob(filepath.Join(d.cfg.StateDir, "*"+acceptedSuffix))
	if err != nil {
		d.t.Fatal(err)
	}
	var out []string
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			d.t.Fatal(err)
		}
		content, _, reason := unseal(data)
		objects, _ := manifest.Decode(manifest.File{Data: content})
		if reason != "" || len(objects.Groups) != 1 {
			d.t.Fatalf("%s: %s %q", path, reason, data)
		}
		out = append(out, strings.TrimSuffix(filepath.Base(path), acceptedSuffix)+"="+objects.Groups[0].Key.Name)
	}
	return strings.Join(out, " ")
}

// saved waits until the state directory holds what is wanted; the test's own limit
// ends it.
func (d *diskTest) saved(want string) {
	d.t.Helper()
	for d.copies() != want {
		time.Sleep(time.Millisecond)
	}
}

// unsaved waits until the status says how many files are not saved.
func (d *diskTest) unsaved(want int) {
	d.t.Helper()
	var got int
	var warnings []string
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(time.Millisecond) {
		status, _ := d.Status(1000)
		got, warnings = status.Unsaved, status.Warnings
		if got == want && (want > 0) == (len(warnings) > 0) {
			return
		}
	}
	d.t.Fatalf("%d files are not saved, want %d; %q", got, want, warnings)
}

func (d *diskTest) logged(level zapcore.Level, text string) (n int) {
	for _, e := range d.logs.All() {
		if e.Level == level && strings.Contains(e.Message, text) {
			n++
		}
	}
	return n
}

func broken(name string) File { return File{Name: name, Data: []byte("{")} }

// What could not be saved is saved when it can be, so that a rule that was revoked
// meanwhile does not come back with the next agent.
func TestFullDisk(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, fault := range []string{"full", "read-only"} {
		d := newDiskTest(t)
		d.change(group("a.yaml", "old"), group("gone.yaml", "gone"))
		d.saved("a.yaml=old gone.yaml=gone")
		var recover func()
		if fault == "full" {
			recover = d.fill()
		} else {
			d.remount(unix.MS_RDONLY)
			recover = func() { d.remount(0) }
		}
		d.change(group("a.yaml", "new"))
		d.unsaved(1)
		d.change(group("b.yaml", "more"))
		d.lose("gone.yaml")
		d.Enforced(d.until(d.watcher.seq).Seq)
		d.expect("in force meanwhile", d.groups(), "a.yaml=new b.yaml=more")
		if fault == "full" {
			d.unsaved(2) // removing takes no room
		} else {
			d.unsaved(3)
		}
		if n := d.logged(zap.ErrorLevel, "save accepted files"); n != 1 {
			t.Errorf("%s: the outage is logged %d times", fault, n)
		}
		recover()
		d.unsaved(0)
		d.expect("kept", d.copies(), "a.yaml=new b.yaml=more")
		if n := d.logged(zap.InfoLevel, "accepted files saved"); n != 1 {
			t.Errorf("%s: the end is logged %d times", fault, n)
		}
		d.again() // after a kill
		d.find("", broken("a.yaml"), broken("b.yaml"), broken("gone.yaml"))
		d.until(1)
		d.expect("in force after a restart", d.groups(), "a.yaml=new b.yaml=more")
	}
}

// At the end what could not be saved is tried once more. If that fails, the log
// says so.
func TestFullDiskAtTheEnd(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, recovered := range []bool{false, true} {
		d := newDiskTest(t)
		d.change(group("a.yaml", "old"))
		d.saved("a.yaml=old")
		free := d.fill()
		d.change(group("a.yaml", "new"))
		d.unsaved(1)
		want := "a.yaml=old"
		if recovered {
			free()
			want = "a.yaml=new"
		}
		d.stop()
		d.expect("kept", d.copies(), want)
		if n := d.logged(zap.ErrorLevel, "accepted files not saved"); n == 1 == recovered {
			t.Errorf("recovered %v: %d lines say that a file is not saved", recovered, n)
		}
	}
}

// A filesystem that stays full does not make the keeper hoard what it has saved.
func TestKeeperLetsGoOfWhatIsSaved(t *testing.T) {
	k := newKeeperTest(t, 0)
	if err := os.MkdirAll(filepath.Join(k.store.path("a.yaml"), "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	k.put(1, "a.yaml", "one")
	k.put(2, "b.yaml", "two")
	k.allow(2)
	for k.state().files != 1 {
		time.Sleep(time.Millisecond)
	}
	if err := os.RemoveAll(k.store.path("a.yaml")); err != nil {
		t.Fatal(err)
	}
	if got := k.end(); got["a.yaml"] != "one" || got["b.yaml"] != "two" {
		t.Errorf("kept %q", got)
	}
}

// A disk that does not answer is warned of, too.
func TestDiskThatHangs(t *testing.T) {
	s := newSourceTest(t, false, nil)
	s.keeper.writing = time.Now().Add(-slowDisk / 2)
	if status, _ := s.Status(0); status.Unsaved > 0 || len(status.Warnings) > 0 {
		t.Errorf("after a while: %+v", status)
	}
	s.keeper.writing = time.Now().Add(-2 * slowDisk)
	if status, _ := s.Status(0); status.Unsaved != 1 || !strings.Contains(strings.Join(status.Warnings, ""), "writing has taken 20s") {
		t.Errorf("after a long while: %+v", status)
	}
}
