package dirsource

import (
	"bytes"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// closes tells which files somebody has closed after writing, which fsnotify
// does not. It only makes waiting shorter: what is missed or comes late is read
// all the same. Its order with respect to other events is not known.
type closes struct {
	names chan string // of manifests
	fd    int
	wd    int
	file  *os.File // nil if there are none to be had
	quit  chan struct{}
	done  chan struct{}
}

func newCloses() *closes {
	c := &closes{names: make(chan string, 64), wd: -1, quit: make(chan struct{}), done: make(chan struct{})}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		close(c.done)
		return c
	}
	c.fd, c.file = fd, os.NewFile(uintptr(fd), "inotify")
	go c.run()
	return c
}

// watch makes dir the directory that is watched.
func (c *closes) watch(dir string) {
	if c.file == nil {
		return
	}
	wd, err := unix.InotifyAddWatch(c.fd, dir, unix.IN_CLOSE_WRITE|unix.IN_ONLYDIR)
	if err != nil {
		wd = -1
	}
	if c.wd >= 0 && c.wd != wd {
		_, _ = unix.InotifyRmWatch(c.fd, uint32(c.wd)) // it may be gone by itself
	}
	c.wd = wd
}

func (c *closes) stop() {
	close(c.quit)
	if c.file != nil {
		_ = c.file.Close()
	}
	<-c.done
}

func (c *closes) run() {
	defer close(c.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := c.file.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
			b = b[end:]
			if !IsManifest(string(name)) {
				continue
			}
			select {
			case c.names <- string(name):
			case <-c.quit:
				return
			}
		}
	}
}
