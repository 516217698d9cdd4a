package dirsource

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// sentinel is a file in a watched directory of its own. Events of one inotify
// instance come in order, so that once a change of it is announced, everything
// that happened before has been.
type sentinel struct {
	dir  string
	n    int
	lock *os.File // held as long as the directory is in use
}

const (
	privatePrefix = "ovs-sg-sync-"
	privateAge    = time.Minute // so old is a private directory that has its lock
)

func newSentinel(fs *fsnotify.Watcher, places ...string) (*sentinel, error) {
	err := fmt.Errorf("no place for a private directory")
	for _, place := range places {
		if place == "" {
			continue
		}
		tidy(place)
		s := &sentinel{}
		if s.dir, err = os.MkdirTemp(place, privatePrefix); err != nil {
			continue
		}
		if s.lock, err = lockDir(s.dir); err == nil {
			err = os.WriteFile(s.path(), nil, 0o600)
		}
		if err == nil && announces(s.dir) {
			if err = fs.Add(s.dir); err == nil {
				return s, nil
			}
		}
		s.remove()
	}
	return nil, err
}

func (s *sentinel) path() string { return filepath.Join(s.dir, strconv.Itoa(s.n)) }

// raise makes an event that says that the file has come to path.
func (s *sentinel) raise() (path string, err error) {
	old := s.path()
	s.n++
	return s.path(), os.Rename(old, s.path())
}

func (s *sentinel) remove() {
	_ = os.RemoveAll(s.dir)
	if s.lock != nil {
		s.lock.Close()
	}
}

// lockDir locks a directory unless somebody has locked it.
func lockDir(dir string) (*os.File, error) {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// tidy removes private directories of those who were killed.
func tidy(place string) {
	list, _ := filepath.Glob(filepath.Join(place, privatePrefix+"*"))
	for _, dir := range list {
		fi, err := os.Lstat(dir)
		if err != nil || !fi.IsDir() || time.Since(fi.ModTime()) < privateAge {
			continue
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
			continue
		}
		if lock, err := lockDir(dir); err == nil {
			_ = os.RemoveAll(dir)
			lock.Close()
		}
	}
}
