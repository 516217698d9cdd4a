package dirsource

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const killedFiles = 8

// version is the content of every file in one round of saving.
func version(n int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "version %8d\n", n), 100+n%300)
}

// saveWithoutEnd saves one version after the other and says which are saved.
func saveWithoutEnd(dir string, from int) error {
	s, err := OpenStore(dir)
	if err != nil {
		return err
	}
	for n := from; ; n++ {
		var changed []File
		for i := range killedFiles {
			changed = append(changed, File{Name: fmt.Sprintf("%d.yaml", i), Data: version(n)})
		}
		fmt.Println("try", n)
		for b := (keeping{changed: changed}); ; b = s.missing(b) {
			if err := s.save(b); err == nil {
				break
			}
		}
		fmt.Println("saved", n)
	}
}

// An agent that is killed while the disk is full, or becomes full, leaves copies
// that are whole: each is the one that was saved last, or one that was being saved.
func TestKilledOnAFullDisk(t *testing.T) {
	const variable = "DIRSOURCE_SAVE_WITHOUT_END"
	if arg := os.Getenv(variable); arg != "" {
		var from int
		dir, number, _ := strings.Cut(arg, " ")
		if _, err := fmt.Sscan(number, &from); err != nil {
			t.Fatal(err)
		}
		t.Fatal(saveWithoutEnd(dir, from))
	}
	if !inNamespace(t) {
		return
	}
	dir := filepath.Join(t.TempDir(), "state")
	mount(t, dir, 128<<10) // room for the copies, not always for two versions of them
	tried, saved, full := 0, 0, 0
	for round := range 20 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", variable, dir, tried+1))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		take := func() bool {
			if !lines.Scan() {
				return false
			}
			var word string
			var n int
			if _, err := fmt.Sscan(lines.Text(), &word, &n); err == nil && word == "try" {
				tried = n
			} else if err == nil && word == "saved" {
				saved = n
			}
			return true
		}
		for range 2 + rand.IntN(6) {
			take()
		}
		if round%2 == 0 { // no room is left while a version is saved
			ballast, err := os.Create(filepath.Join(dir, "ballast"))
			for err == nil {
				_, err = ballast.Write(make([]byte, 4096))
			}
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			ballast.Close()
			full++
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // not a wait: the kill comes at any moment
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for take() {
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		_ = os.Remove(filepath.Join(dir, "ballast"))

		s := open(t, dir)
		if len(s.damaged) > 0 {
			t.Fatalf("round %d: damaged: %q", round, s.damaged)
		}
		files := s.Files()
		if len(files) != killedFiles && saved > 0 {
			t.Fatalf("round %d: %d copies", round, len(files))
		}
		for _, f := range files {
			var n int
			if _, err := fmt.Sscanf(string(f.Data), "version %d", &n); err != nil || !bytes.Equal(f.Data, version(n)) || n < saved || n > tried {
				t.Fatalf("round %d: %s has version %d (%v), saved is %d, tried %d", round, f.Name, n, err, saved, tried)
			}
		}
	}
	t.Logf("%d versions were tried, %d was saved last; the disk was full %d times", tried, saved, full)
	if saved == 0 || tried-saved > 20 {
		t.Errorf("tried %d versions, saved %d", tried, saved)
	}
}
