package dirsource

import (
	"bytes"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// completions tells which files of the directory are complete: closed by a
// writer, or renamed into place. The events of fsnotify do not tell either from
// a file that is still being written.
//
// completions only makes waiting shorter: each file that it names has an event
// of fsnotify too, except for the closing, and a file is not waited for longer
// than a limit. Lost events do no harm. The events of the two come in no
// particular order.
type completions struct {
	ready chan struct{} // receives when there are completions to read; the receiver must call again
	acks  chan struct{}
	fd    int
	wd    int
	file  *os.File // nil if the kernel grants no inotify instance
	quit  chan struct{}
	done  chan struct{}
	buf   []byte
}

// noCompletions returns completions that name no file.
func noCompletions() *completions {
	c := &completions{quit: make(chan struct{}), done: make(chan struct{}), fd: -1, wd: -1}
	close(c.done)
	return c
}

// newCompletions returns completions that name no file if the kernel grants no
// inotify instance.
func newCompletions() *completions {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return noCompletions()
	}
	c := &completions{
		ready: make(chan struct{}), acks: make(chan struct{}, 1),
		wd: -1, quit: make(chan struct{}), done: make(chan struct{}),
	}
	c.fd, c.file, c.buf = fd, os.NewFile(uintptr(fd), "inotify"), make([]byte, 64<<10)
	go c.run()
	return c
}

// watch watches dir instead of the directory before.
func (c *completions) watch(dir string) {
	if c.file == nil {
		return
	}
	wd, err := unix.InotifyAddWatch(c.fd, dir, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	if err != nil {
		wd = -1
	}
	if c.wd >= 0 && c.wd != wd {
		_, _ = unix.InotifyRmWatch(c.fd, uint32(c.wd)) // fails if the old directory is deleted
	}
	c.wd = wd
}

// watching reports whether a directory is watched.
func (c *completions) watching() bool { return c.wd >= 0 }

// run wakes the receiver of ready. run reads no completions, so that the receiver
// gets all that the kernel has at the time when it calls read.
func (c *completions) run() {
	defer close(c.done)
	conn, err := c.file.SyscallConn()
	for err == nil {
		err = conn.Read(func(fd uintptr) bool {
			n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0
		})
		if err != nil {
			return
		}
		select {
		case c.ready <- struct{}{}:
			<-c.acks
		case <-c.quit:
			return
		}
	}
}

// read calls complete for each manifest that was completed since the last call.
// It does not block.
func (c *completions) read(complete func(name string)) {
	for c.file != nil {
		n, err := retry(func() (int, error) { return unix.Read(c.fd, c.buf) })
		if err != nil || n <= 0 {
			return
		}
		for b := c.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
			wd := int(int32(binary.NativeEndian.Uint32(b)))
			b = b[end:]
			if wd == c.wd && IsManifest(string(name)) {
				complete(string(name))
			}
		}
	}
}

// again makes run send on ready at the next completion.
func (c *completions) again() { c.acks <- struct{}{} }

func (c *completions) stop() {
	close(c.quit)
	if c.file != nil {
		_ = c.file.Close()
	}
	<-c.done
}
