package dirsource

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// IsManifest reports whether a file of that name belongs to the policy: whether
// the name ends in .yaml or .yml, and begins neither with a dot nor with '#'.
func IsManifest(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	ext := filepath.Ext(name)
	return (ext == ".yaml" || ext == ".yml") && name != ext
}

// identity is what stat tells of a file. While it stays the same, so does the
// content, except within the racy window after a write.
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

// digest returns a hash of an identity.
func (id identity) digest() uint64 { return maphash.Comparable(seed, id) }

// place returns the part of a directory's identity that tells it from other
// directories.
func (id identity) place() identity { return identity{dev: id.dev, ino: id.ino} }

// is reports whether a directory is the one with the place.
func (id identity) is(dir os.FileInfo) bool {
	st, ok := dir.Sys().(*syscall.Stat_t)
	return ok && st.Dev == id.dev && st.Ino == id.ino
}

// The racy window is the time after a change of a file in which a second change
// may get the same time stamp: a tick of the kernel's coarse clock, or two
// seconds where time stamps have no fraction, such as on FAT.
const (
	racyWindow       = 50 * time.Millisecond
	racyWindowCoarse = 2*time.Second + racyWindow
)

// racy reports whether a file could change once more after now without a
// change of its time stamps.
func racy(st *unix.Statx_t, now time.Time) bool {
	window := racyWindow
	if st.Ctime.Nsec == 0 {
		window = racyWindowCoarse
	}
	return now.Sub(time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec))) < window
}

// sum is a checksum of a file's content.
type sum [16]byte

func sumOf(data []byte) sum {
	s := sha256.Sum256(data)
	return sum(s[:16])
}

// job is a file to look at.
type job struct {
	name    string
	verify  bool // read the file even if its identity is the same as before
	wait    bool // do not read a file whose identity differs: it may be being written
	named   bool // by an event; otherwise wait is not for files with several names
	regular bool // the directory says that it is a regular file
	sealed  bool // it is a copy of the state directory: its seal does not count as content
}

type verdict uint8

const (
	gone       verdict = iota
	same               // the identity is the same as before
	unfinished         // the identity differs, but the job says to wait
	read
	unreadable
)

// result is what a reader found of a file.
type result struct {
	verdict verdict
	name    string
	sum     sum
	data    []byte // if sum differs from the sum before
	id      uint64 // digest of the identity
	reason  string // why it is unreadable
	linked  bool   // it is a symbolic link, or has several names
	racy    bool   // it was read too soon after a change to trust id
}

// reader reads files of an open directory. It must not be used by several
// goroutines at once.
type reader struct {
	dir dirHandle
	buf []byte
}

// readFiles reads the files of the jobs. entries has what is known of the files.
func (r *reader) readFiles(jobs []job, entries map[string]entry) []result {
	results := make([]result, 0, len(jobs))
	for _, j := range jobs {
		old, known := entries[j.name]
		results = append(results, r.readFile(j, old, known))
	}
	return results
}

func (r *reader) readFile(j job, old entry, known bool) result {
	for range 3 {
		if res, ok := r.try(j, old, known); ok {
			return res
		}
		j.regular = false // something else has taken its place
	}
	return result{verdict: unreadable, name: j.name, reason: "is being replaced"}
}

// try looks at a file, and reads it if the job says so; ok is false if the name
// came to mean another file meanwhile.
func (r *reader) try(j job, old entry, known bool) (res result, ok bool) {
	res.name = j.name
	failed := func(reason string) (result, bool) {
		res.verdict, res.reason = unreadable, reason
		return res, true
	}
	now := time.Now()
	symlink, unchanged, fd := false, false, -1
	var st unix.Statx_t
	if !j.regular {
		err := statx(r.dir.fd, j.name, unix.AT_SYMLINK_NOFOLLOW, &st)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK && !j.sealed {
			symlink, res.linked = true, true
			f, err := r.follow(j.name)
			if errors.Is(err, errReplaced) {
				return res, false
			} else if err != nil {
				return failed(err.Error())
			}
			defer f.Close()
			fd = int(f.Fd())
			if err := statx(fd, "", unix.AT_EMPTY_PATH, &st); err != nil {
				return failed(err.Error())
			}
		}
		switch {
		case errors.Is(err, unix.ENOENT):
			return res, true // gone
		case err != nil:
			return failed(err.Error())
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			return failed(errNotRegular.Error())
		}
		unchanged = known && old.readable() && old.id == identify(&st).digest()
		res.linked = symlink || st.Nlink > 1
		switch {
		case unchanged && old.settled() && !j.verify:
			res.verdict = same
			return res, true
		case !unchanged && j.wait && !symlink && (j.named || st.Nlink == 1):
			res.verdict = unfinished
			return res, true
		}
	}

	if !symlink {
		var err error
		fd, err = retry(func() (int, error) { return unix.Openat(r.dir.fd, j.name, readFlags|unix.O_NOFOLLOW, 0) })
		switch {
		case errors.Is(err, unix.ENOENT):
			return res, true // gone
		case err != nil && j.regular, errors.Is(err, unix.ELOOP):
			return res, false
		case err != nil:
			return failed(err.Error())
		}
		defer unix.Close(fd)
	}
	if err := statx(fd, "", unix.AT_EMPTY_PATH, &st); err != nil {
		return failed(err.Error())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return failed(errNotRegular.Error())
	}
	limit := manifest.MaxFileSize
	if j.sealed {
		limit += sealSize
	}
	data, err := r.content(fd, st.Size, limit)
	if err != nil {
		return failed(err.Error())
	}
	if unchanged && j.wait {
		// A writer may have begun before the file was read.
		var after unix.Statx_t
		if err := statx(fd, "", unix.AT_EMPTY_PATH, &after); err != nil || identify(&after).digest() != old.id {
			res.verdict = unfinished
			return res, true
		}
	}
	res.verdict, res.sum, res.id = read, sumOf(data), identify(&st).digest()
	if !known || !old.readable() || old.sum != res.sum {
		res.data = append(make([]byte, 0, len(data)), data...)
	}
	res.linked = symlink || st.Nlink > 1
	// What is mounted here may be written elsewhere, by another clock.
	res.racy = racy(&st, now) || st.Mnt_id != r.dir.mount
	return res, true
}

const readFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

var (
	errLeadsOut   = errors.New("is a symbolic link that is absolute or leads out of the policy directory")
	errNotRegular = errors.New("is not a regular file")
)

// follow opens the regular file that a symbolic link of the directory leads to. It
// follows links only below the directory: the agent may read more than those who
// write its directory, and what it says of a file is for others to read.
func (r *reader) follow(name string) (*os.File, error) {
	root, err := os.OpenRoot(r.dir.path)
	if err != nil {
		return nil, errReplaced
	}
	defer root.Close()
	if info, err := root.Stat("."); err != nil || !r.dir.place.is(info) {
		return nil, errReplaced
	}
	info, err := root.Stat(name) // a device must not even be opened
	if err != nil {
		return nil, whyNotBelow(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := root.OpenFile(name, readFlags, 0)
	if err != nil {
		return nil, whyNotBelow(err)
	}
	return f, nil
}

// whyNotBelow returns what an error of an os.Root says of the file: that of the
// system, or else that the link leads out.
func whyNotBelow(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return errLeadsOut
}

var errTooLarge = fmt.Errorf("is larger than %d bytes", manifest.MaxFileSize)

// content reads an open file of about size bytes, up to a limit. The next call
// overwrites the result.
func (r *reader) content(fd int, size uint64, limit int) ([]byte, error) {
	if size > uint64(limit) {
		return nil, errTooLarge
	}
	if uint64(len(r.buf)) <= size {
		r.buf = make([]byte, max(2*size, 16<<10))
	}
	n := 0
	for {
		m, err := retry(func() (int, error) { return unix.Read(fd, r.buf[n:]) })
		if err != nil {
			return nil, err
		}
		short := n+m < len(r.buf)
		n += m
		switch {
		case n > limit:
			return nil, errTooLarge
		case m == 0, short && uint64(n) == size: // the latter saves a call
			return r.buf[:n], nil
		case n == len(r.buf):
			r.buf = append(bytes.Clone(r.buf), make([]byte, n)...)
		}
	}
}

// statx calls statx(2) for the fields that an identity needs. A network
// filesystem asks its server.
func statx(dir int, name string, flags int, st *unix.Statx_t) error {
	const mask = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID
	_, err := retry(func() (int, error) {
		return 0, unix.Statx(dir, name, flags|unix.AT_STATX_FORCE_SYNC, mask, st)
	})
	return err
}

// retry calls a system call again if a signal has interrupted it.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
