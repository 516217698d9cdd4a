package dirsource

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// IsManifest reports whether a file of that name is looked at.
func IsManifest(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	ext := filepath.Ext(name)
	return (ext == ".yaml" || ext == ".yml") && name != ext
}

// identity is what stat tells of a file. As long as it is the same, so is the
// content, except within racyWindow of a write.
type identity struct {
	dev, ino, mount uint64
	size            uint64
	mtime, ctime    unix.StatxTimestamp
	mode            uint16
}

func identify(st *unix.Statx_t) identity {
	return identity{
		dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino, mount: st.Mnt_id,
		size: st.Size, mtime: st.Mtime, ctime: st.Ctime, mode: st.Mode,
	}
}

var seed = maphash.MakeSeed()

// digest is short for an identity.
func (id identity) digest() uint64 { return maphash.Comparable(seed, id) }

// place reduces the identity of a directory to which one it is.
func (id identity) place() identity { return identity{dev: id.dev, ino: id.ino} }

// racyWindow is how long after a change of a file the kernel's coarse clock may
// give a second change the same time.
const racyWindow = 50 * time.Millisecond

// sum tells contents apart.
type sum [16]byte

func sumOf(data []byte) sum {
	s := sha256.Sum256(data)
	return sum(s[:16])
}

// hint is what is known of the writing of a file that is looked at.
type hint uint8

const (
	written  hint = iota // it was written; whether that is all is not known
	created              // there is a new file of that name
	complete             // nothing says that it is being written
	forced               // read it as it is
)

// job is a file to look at.
type job struct {
	name    string
	hint    hint
	verify  bool // read it even if it seems to be the same
	regular bool // the directory says that it is a regular file
}

type verdict uint8

const (
	gone verdict = iota
	same
	read
	unreadable
	busy // is being written
)

// result is what was found.
type result struct {
	verdict verdict
	name    string
	sum     sum
	data    []byte // if sum is not the one before
	id      identity
	reason  string
	link    string // the text of the symbolic link, if it is one
	shared  bool   // it has other names, or is a mount
	racy    bool   // read too soon after a change to trust id
	leased  bool   // whether somebody writes could be found out
	open    bool   // somebody has it open for writing
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID

// prober looks at files. It is for one goroutine.
type prober struct {
	dir   int // the directory
	mount uint64
	buf   []byte
}

// longAgo is when a file that was changed then is not being written.
const longAgo = 10 * time.Second

// probe looks at a file of which old was known.
func (p *prober) probe(j job, old entry, known bool) result {
	for range 3 {
		if r, ok := p.try(j, old, known); ok {
			return r
		}
		j.regular = false // something else took its place meanwhile
	}
	return result{verdict: unreadable, name: j.name, reason: "is being replaced"}
}

func (p *prober) try(j job, old entry, known bool) (r result, ok bool) {
	r.name = j.name
	failed := func(reason string) (result, bool) {
		r.verdict, r.reason = unreadable, reason
		return r, true
	}
	now := time.Now()
	var st unix.Statx_t
	if !j.regular {
		err := statx(p.dir, j.name, unix.AT_SYMLINK_NOFOLLOW, &st)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			text := make([]byte, unix.PathMax)
			n, lerr := unix.Readlinkat(p.dir, j.name, text)
			if lerr != nil {
				return r, false
			}
			r.link = string(text[:n])
			err = statx(p.dir, j.name, 0, &st)
		}
		switch {
		case errors.Is(err, unix.ENOENT) && r.link == "":
			return r, true // gone
		case err != nil:
			return failed(err.Error())
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			return failed("is not a regular file")
		}
		r.id = identify(&st)
		r.shared = st.Nlink > 1 || st.Mnt_id != p.mount
		if known && !j.verify && old.settled() && old.id == r.id.digest() {
			r.verdict = same
			return r, true
		}
	}

	flags := unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	if r.link == "" {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := retry(func() (int, error) { return unix.Openat(p.dir, j.name, flags, 0) })
	switch {
	case errors.Is(err, unix.ENOENT) && r.link == "":
		return r, true // gone
	case err != nil && j.regular, errors.Is(err, unix.ELOOP) && r.link == "":
		return r, false
	case err != nil:
		return failed(err.Error())
	}
	defer unix.Close(fd)
	if err := statx(fd, "", unix.AT_EMPTY_PATH, &st); err != nil {
		return failed(err.Error())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return failed("is not a regular file")
	}
	r.id = identify(&st)
	r.shared = st.Nlink > 1 || st.Mnt_id != p.mount

	changed := time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec))
	if !known && now.Sub(changed) > longAgo {
		// As good as a lease, and cheaper where there are many.
		r.leased = true
	} else {
		switch setLease(fd) {
		case nil:
			defer unlease(fd)
			r.leased = true
		case unix.EAGAIN:
			r.leased, r.open = true, true
			if j.hint != forced {
				r.verdict = busy
				return r, true
			}
		default: // nobody can say
			if j.hint == written || j.hint == created && st.Size == 0 {
				r.verdict = busy
				return r, true
			}
		}
	}
	data, err := p.content(fd, st.Size)
	if err != nil {
		return failed(err.Error())
	}
	r.verdict, r.sum = read, sumOf(data)
	if !known || !old.readable() || old.sum != r.sum {
		r.data = append(make([]byte, 0, len(data)), data...)
	}
	// What is mounted here may be written elsewhere, by another clock.
	r.racy = now.Sub(changed) < racyWindow || r.id.mount != p.mount
	return r, true
}

// lease takes a read lease on a file, which is had only while nobody has it
// open for writing: EAGAIN says that somebody has. Any other error means that
// there is no lease to be had: the file is of somebody else and we have no
// CAP_LEASE, or it is of a filesystem without leases.
//
// As long as it is held, which is for one read, somebody who opens the file for
// writing waits; with O_NONBLOCK, which makes no sense on regular files, that
// fails with EWOULDBLOCK. The kernel then sends SIGIO, which Go ignores.
func lease(fd int) error {
	_, err := retry(func() (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK) })
	return err
}

// setLease is lease, but for tests.
var setLease = lease

func unlease(fd int) { _, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK) }

var errTooLarge = fmt.Errorf("is larger than %d bytes", manifest.MaxFileSize)

// content reads a file; what it returns is good until the next call.
func (p *prober) content(fd int, size uint64) ([]byte, error) {
	if size > manifest.MaxFileSize {
		return nil, errTooLarge
	}
	if uint64(len(p.buf)) <= size {
		p.buf = make([]byte, max(2*size, 16<<10))
	}
	n := 0
	for {
		m, err := retry(func() (int, error) { return unix.Read(fd, p.buf[n:]) })
		if err != nil {
			return nil, err
		}
		short := n+m < len(p.buf)
		n += m
		switch {
		case n > manifest.MaxFileSize:
			return nil, errTooLarge
		case m == 0, short && uint64(n) == size: // which saves asking once more
			return p.buf[:n], nil
		case n == len(p.buf):
			p.buf = append(bytes.Clone(p.buf), make([]byte, n)...)
		}
	}
}

func statx(dir int, name string, flags int, st *unix.Statx_t) error {
	_, err := retry(func() (int, error) { return 0, unix.Statx(dir, name, flags, statMask, st) })
	return err
}

// retry does it again when a signal came in between.
func retry(do func() (int, error)) (int, error) {
	for {
		n, err := do()
		if err != unix.EINTR {
			return n, err
		}
	}
}
