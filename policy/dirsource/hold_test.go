package dirsource

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-sg/ovs-sg/policy"
)

// holdTest is a Source of a directory that can be replaced.
type holdTest struct{ *sourceTest }

func (h *holdTest) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *holdTest) put(name, text string) {
	h.t.Helper()
	tmp := h.cfg.Dir + ".tmp"
	h.must(os.WriteFile(tmp, manifestNamed(text), 0o600))
	h.must(os.Rename(tmp, filepath.Join(h.cfg.Dir, name)))
}

// now receives updates up to everything that was done before.
func (h *holdTest) now() policy.Update {
	h.t.Helper()
	seq, err := h.Sync(h.t.Context())
	h.must(err)
	u := h.until(seq)
	if !u.Restored {
		h.Enforced(u.Seq)
	}
	return u
}

// check compares what is in force, and whether the directory is held.
func (h *holdTest) check(what, want string, held bool) {
	h.t.Helper()
	u := h.now()
	h.expect(what, h.groups(), want)
	if (u.Held != "") != held || u.Err != nil {
		h.t.Errorf("%s: held %q, error %v", what, u.Held, u.Err)
	}
}

// again ends the Source and runs another on the same directories.
func (h *holdTest) again() {
	h.t.Helper()
	h.stop()
	h.sourceTest = openSourceTest(h.t, h.cfg)
	h.run()
}

// move puts another directory in the place of the policy directory, with the
// groups as files, and keeps the one before as .away.
func (h *holdTest) move(groups ...string) {
	h.t.Helper()
	h.must(os.Rename(h.cfg.Dir, h.cfg.Dir+".away"))
	h.must(os.Mkdir(h.cfg.Dir+".next", 0o700))
	for _, g := range groups {
		h.must(os.WriteFile(filepath.Join(h.cfg.Dir+".next", g+".yaml"), manifestNamed(g), 0o600))
	}
	h.must(os.Rename(h.cfg.Dir+".next", h.cfg.Dir))
}

func (h *holdTest) moveBack() {
	h.t.Helper()
	h.must(os.RemoveAll(h.cfg.Dir))
	h.must(os.Rename(h.cfg.Dir+".away", h.cfg.Dir))
}

func newHoldTest(t *testing.T, guarded bool) *holdTest {
	h := &holdTest{newSourceTest(t, guarded, nil)}
	h.must(os.Mkdir(h.cfg.Dir, 0o700))
	h.put("a.yaml", "one")
	h.put("b.yaml", "two")
	h.run()
	h.check("at first", "a.yaml=one b.yaml=two", false)
	return h
}

// both runs a test with a Source that may hold changes and with one that may not.
func both(t *testing.T, f func(t *testing.T, h *holdTest)) {
	for name, guarded := range map[string]bool{"guarded": true, "unguarded": false} {
		t.Run(name, func(t *testing.T) { f(t, newHoldTest(t, guarded)) })
	}
}

// Another directory without a manifest revokes nothing before the release,
// whether the agent runs or is restarted, and the directory of before may come
// back.
func TestAnotherEmptyDirectoryIsHeld(t *testing.T) {
	both(t, func(t *testing.T, h *holdTest) {
		const all = "a.yaml=one b.yaml=two"
		h.move()
		h.must(os.WriteFile(filepath.Join(h.cfg.Dir, "README"), nil, 0o600))
		h.check("held", all, true)
		h.again()
		h.check("held after a restart", all, true)
		h.again()
		h.check("held after another", all, true)
		h.moveBack()
		h.check("the directory is back", all, false)
		if released, err := h.Release(t.Context()); err != nil || released {
			t.Errorf("released %v, %v with nothing held", released, err)
		}
		h.move()
		h.again()
		h.moveBack()
		h.check("the directory is back before it is missed", all, false)

		h.move()
		h.check("held again", all, true)
		if released, err := h.Release(t.Context()); err != nil || !released {
			t.Errorf("released %v, %v", released, err)
		}
		h.check("released", "", false)
		h.again()
		h.check("released, after a restart", "", false)
	})
}

// A release is of the directory as it is then: when it is in the way again, it is
// held again.
func TestReleaseCountsOnce(t *testing.T) {
	both(t, func(t *testing.T, h *holdTest) {
		release := func(want bool) {
			t.Helper()
			if released, err := h.Release(t.Context()); err != nil || released != want {
				t.Fatalf("released %v, %v", released, err)
			}
		}
		swap := func() { // the empty directory and the one with the files
			t.Helper()
			h.must(os.Rename(h.cfg.Dir, h.cfg.Dir+".2"))
			h.must(os.Rename(h.cfg.Dir+".away", h.cfg.Dir))
			h.must(os.Rename(h.cfg.Dir+".2", h.cfg.Dir+".away"))
		}
		const all = "a.yaml=one b.yaml=two"
		h.move()
		h.check("held", all, true)
		release(true)
		h.check("released", "", false)
		swap()
		h.check("the files are back", all, false)
		swap()
		h.check("the same empty directory", all, true)
		// What is not there cannot be released.
		h.must(os.Rename(h.cfg.Dir, h.cfg.Dir+".2"))
		if _, err := h.Sync(t.Context()); err == nil {
			t.Fatal("a directory that is gone can be read")
		}
		release(false)
		h.must(os.Rename(h.cfg.Dir+".2", h.cfg.Dir))
		h.check("it is back", all, true)
	})
}

// After a restart the status names the files that are in force without being in
// the directory that is held.
func TestStatusWhileHeld(t *testing.T) {
	both(t, func(t *testing.T, h *holdTest) {
		h.move()
		h.again()
		seq := h.now().Seq
		for _, most := range []int{0, 1000} {
			status, ok := h.Status(most)
			if !ok || status.Seq != seq || status.Accepted != 0 || status.Kept != 2 || len(status.Units) != 2 {
				t.Fatalf("most %v: %v %+v", most, ok, status)
			}
			for i, name := range []string{"a.yaml", "b.yaml"} {
				if u := status.Units[i]; u.Name != name || u.State != policy.Kept || len(u.Errors) != 1 {
					t.Errorf("%+v", u)
				}
			}
		}
		if _, err := h.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.now()
		if status, ok := h.Status(1000); !ok || len(status.Units) != 0 || status.Kept != 0 {
			t.Errorf("released: %v %+v", ok, status)
		}
	})
}

// The copies of a released directory go: they are not there for a later agent.
func TestReleaseAfterRestart(t *testing.T) {
	both(t, func(t *testing.T, h *holdTest) {
		h.move()
		h.again()
		h.check("held", "a.yaml=one b.yaml=two", true)
		if released, err := h.Release(t.Context()); err != nil || !released {
			t.Fatalf("released %v, %v", released, err)
		}
		h.check("released", "", false)
		h.must(os.WriteFile(filepath.Join(h.cfg.Dir, "a.yaml"), []byte("{"), 0o600))
		h.again()
		h.check("nothing comes back", "", false)
	})
}

// What is no mistake is not held: files that are removed, while the agent runs or
// does not, and another directory with manifests.
func TestNotHeld(t *testing.T) {
	both(t, func(t *testing.T, h *holdTest) {
		h.move("c")
		h.check("another directory", "c.yaml=c", false)
		h.must(os.Remove(filepath.Join(h.cfg.Dir, "c.yaml")))
		h.check("its file removed", "", false)
		h.put("d.yaml", "four")
		h.check("a file comes", "d.yaml=four", false)
		h.must(os.Remove(filepath.Join(h.cfg.Dir, "d.yaml")))
		h.again()
		h.check("removed while no agent runs", "", false)
		h.must(os.RemoveAll(h.cfg.Dir + ".away"))
		h.move()
		h.check("nothing was in force", "", false)
		h.must(os.RemoveAll(h.cfg.Dir + ".away"))
		h.put("e.yaml", "five")
		h.check("the new directory is followed", "e.yaml=five", false)
		// The same files in another directory: that is the directory from now on.
		h.must(os.Mkdir(h.cfg.Dir+".next", 0o700))
		h.must(os.WriteFile(h.cfg.Dir+".next/e.yaml", manifestNamed("five"), 0o600))
		h.must(os.Rename(h.cfg.Dir, h.cfg.Dir+".away"))
		h.must(os.Rename(h.cfg.Dir+".next", h.cfg.Dir))
		h.check("the same files elsewhere", "e.yaml=five", false)
		h.must(os.Remove(filepath.Join(h.cfg.Dir, "e.yaml")))
		h.again()
		h.check("removed there", "", false)
	})
}

// Where an earlier release has left copies, nothing says which directory they are
// of. An empty directory is held then, too.
func TestHeldAfterAnUpgrade(t *testing.T) {
	h := &holdTest{newSourceTest(t, false, nil)}
	h.must(os.Mkdir(h.cfg.Dir, 0o700))
	h.must(os.WriteFile(filepath.Join(h.cfg.StateDir, "a.yaml"+acceptedSuffix), manifestNamed("one"), 0o600))
	h.sourceTest = openSourceTest(t, h.cfg)
	h.run()
	h.check("held", "a.yaml=one", true)
	h.put("b.yaml", "two")
	h.check("a manifest comes", "b.yaml=two", false)
}

// A directory that cannot be read while it is held, and is there again, is not
// taken for the first one.
func TestHeldThenGone(t *testing.T) {
	both(t, func(t *testing.T, h *holdTest) {
		h.move()
		h.again()
		h.check("held", "a.yaml=one b.yaml=two", true)
		h.must(os.Remove(h.cfg.Dir))
		var u policy.Update
		for u.Err == nil {
			if _, err := h.Sync(t.Context()); err == nil {
				t.Fatal("a directory that is gone can be read")
			}
			u = h.next()
		}
		h.expect("gone", h.groups(), "a.yaml=one b.yaml=two")
		h.must(os.Mkdir(h.cfg.Dir, 0o700))
		h.check("empty again", "a.yaml=one b.yaml=two", true)
		h.moveBack()
		h.check("back", "a.yaml=one b.yaml=two", false)
	})
}

// A filesystem is mounted on the policy directory, goes and comes back.
func TestUnmounted(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	both(t, func(t *testing.T, h *holdTest) {
		h.stop()
		mount(t, h.cfg.Dir, 64<<10)
		h.put0("a.yaml", "one")
		h.sourceTest = openSourceTest(t, h.cfg)
		h.run()
		h.check("mounted", "a.yaml=one", false)
		bind := h.cfg.Dir + ".bind"
		h.must(os.Mkdir(bind, 0o700))
		h.must(os.RemoveAll(h.cfg.Dir + ".tmp"))
		h.must(unix.Mount(h.cfg.Dir, bind, "", unix.MS_BIND, ""))
		h.must(unix.Unmount(h.cfg.Dir, unix.MNT_DETACH))
		for _, name := range []string{"a.yaml", "b.yaml"} { // what was there before the mount
			if err := os.Remove(filepath.Join(h.cfg.Dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		h.check("unmounted", "a.yaml=one", true)
		h.again()
		h.check("unmounted, after a restart", "a.yaml=one", true)
		h.must(unix.Mount(bind, h.cfg.Dir, "", unix.MS_MOVE, ""))
		for end := time.Now().Add(deadline); ; {
			if u := h.now(); u.Held == "" || time.Now().After(end) {
				break
			}
		}
		h.check("mounted again", "a.yaml=one", false)
		h.must(unix.Unmount(h.cfg.Dir, unix.MNT_DETACH))
	})
}

// put0 writes a file in place, where it cannot be renamed to.
func (h *holdTest) put0(name, text string) {
	h.t.Helper()
	h.must(os.WriteFile(filepath.Join(h.cfg.Dir, name), manifestNamed(text), 0o600))
}
