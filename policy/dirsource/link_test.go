package dirsource

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// linked links a name to a file in a directory below, where no event tells of a
// change, and returns the path of that file.
func (b *bench) linked(name string) string {
	b.Helper()
	b.must(os.MkdirAll(b.path("..hidden"), 0o755))
	b.must(os.Symlink("..hidden/target", b.path(name)))
	return b.path("..hidden/target")
}

// link replaces what is in place by a link.
func (b *bench) link(name, target string) {
	b.Helper()
	b.must(os.Symlink(target, b.path(".link")))
	b.must(os.Rename(b.path(".link"), b.path(name)))
}

// shows reports whether a text is in what a snapshot tells of the files.
func shows(s Snapshot, text string) bool {
	return slices.ContainsFunc(s.Changes, func(c FileChange) bool {
		return strings.Contains(string(c.File.Data)+c.File.Unreadable, text)
	})
}

// Links are followed below the directory only, whatever way they take. What is
// outside is not read, and its content is nowhere in what is said of the file.
func TestLinks(t *testing.T) {
	outside := t.TempDir()
	const secret = "root:$y$secret:19000:0:99999:7:::"
	if err := os.WriteFile(filepath.Join(outside, "shadow"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, "", time.Hour)
	b.must(os.MkdirAll(b.path("below/deep"), 0o755))
	b.must(os.WriteFile(b.path("below/deep/file"), []byte("1"), 0o644))
	b.must(os.Symlink(outside, b.path("out")))
	b.must(os.Symlink("../..", b.path("below/deep/up")))
	out := " (" + errLeadsOut.Error() + ")"
	for target, want := range map[string]string{
		"below/deep/file":                    "1",
		"below/../below/deep/file":           "1",
		"below/deep/up/below/deep/file":      "1",
		b.path("below/deep/file"):            out,
		filepath.Join(outside, "shadow"):     out,
		"out/shadow":                         out,
		"below/deep/up/out/shadow":           out,
		"../" + filepath.Base(b.dir) + "/x":  out,
		"/proc/self/environ":                 out,
		"nowhere":                            " (no such file or directory)",
		"below/deep":                         " (is not a regular file)",
		"link.yaml":                          " (too many levels of symbolic links)",
		"../" + strings.Repeat("../", 20):    out,
		"below/deep/up/below/deep/up/../../": out,
	} {
		_ = os.Remove(b.path("link.yaml"))
		b.must(os.Symlink(target, b.path("link.yaml")))
		_, err := b.sync()
		b.must(err)
		s := <-b.w.Snapshots()
		if shows(s, "secret") {
			t.Fatalf("%s: the secret is delivered", target)
		}
		b.take(s)
		f := b.have["link.yaml"]
		got := string(f.Data)
		if f.Unreadable != "" {
			got = " (" + f.Unreadable + ")"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
		b.must(os.Remove(b.path("link.yaml")))
		_, err = b.sync()
		b.must(err)
		b.take(<-b.w.Snapshots())
	}
}

// A link that is swapped between two targets while it is read is never followed
// out of the directory.
func TestLinkThatIsSwapped(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "file"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := startWith(t, "", Options{Resync: time.Millisecond})
	for _, d := range []string{"1", "2"} {
		b.must(os.Mkdir(b.path(d), 0o755))
		b.must(os.WriteFile(b.path(d+"/file"), []byte(d), 0o644))
	}
	b.link("data", "1")
	b.must(os.Symlink("data/file", b.path("a.yaml")))
	b.until("a.yaml=1")
	end := time.Now().Add(300 * time.Millisecond)
	for i := 0; time.Now().Before(end); i++ {
		b.link("data", []string{"1", outside, "2", outside}[i%4])
		if i%8 == 0 {
			_, err := b.sync()
			b.must(err)
		}
		select {
		case s := <-b.w.Snapshots():
			if shows(s, "secret") {
				t.Fatal("the secret is delivered")
			}
			b.take(s)
		default:
		}
	}
	b.link("data", "2")
	for string(b.have["a.yaml"].Data) != "2" || b.have["a.yaml"].Unreadable != "" {
		b.take(<-b.w.Snapshots())
	}
}
