package dirwatch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ovs-sg/ovs-sg/policy"
)

// identity is what stat tells of a file. As long as it is the same, so is the
// content, except within racyWindow of a write.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
	mode         fs.FileMode
}

// identify returns the identity of a file.
func identify(fi fs.FileInfo) identity {
	id := identity{size: fi.Size(), mode: fi.Mode()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino, id.mtime, id.ctime = uint64(st.Dev), st.Ino, st.Mtim, st.Ctim
	}
	return id
}

// place reduces the identity of a directory to which one it is.
func (id identity) place() identity { return identity{dev: id.dev, ino: id.ino} }

// racyWindow is how long after a change of a file the kernel's coarse clock may
// give a second change the same time.
const racyWindow = 50 * time.Millisecond

// entry is a file as it was last read.
type entry struct {
	file policy.File
	id   identity
	racy bool // read too soon after a change to trust id
}

// scanner reads the directory and remembers what it read.
type scanner struct {
	dir     string
	entries map[string]entry // by name
}

// scan returns the files sorted by name. Unless full it reads only those whose
// identity has changed.
func (s *scanner) scan(full bool) ([]policy.File, error) {
	for range 3 {
		before, err := os.Stat(s.dir)
		if err != nil {
			return nil, fmt.Errorf("read policy directory: %w", err)
		}
		list, err := os.ReadDir(s.dir) // sorted
		if err != nil {
			return nil, fmt.Errorf("read policy directory: %w", err)
		}
		entries := make(map[string]entry, len(list))
		files := make([]policy.File, 0, len(list))
		for _, d := range list {
			name := d.Name()
			if !IsManifest(name) {
				continue
			}
			if e, ok := s.read(name, full); ok {
				entries[name] = e
				files = append(files, e.file)
			}
		}
		// Had the directory vanished under our hands, its files would seem to
		// have been deleted.
		after, err := os.Stat(s.dir)
		if err == nil && identify(after).place() == identify(before).place() {
			s.entries = entries
			return files, nil
		}
	}
	return nil, fmt.Errorf("read policy directory: %s is being replaced", s.dir)
}

// IsManifest reports whether a file of that name is looked at.
func IsManifest(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	ext := filepath.Ext(name)
	return (ext == ".yaml" || ext == ".yml") && name != ext
}

// read returns the file as it is now; ok is false if it is gone.
func (s *scanner) read(name string, full bool) (e entry, ok bool) {
	old, known := s.entries[name]
	path := filepath.Join(s.dir, name)
	unreadable := func(reason string) (entry, bool) {
		return entry{file: policy.File{Name: name, Data: old.file.Data, Unreadable: reason}}, true
	}
	fi, err := os.Stat(path)
	if err != nil {
		if _, lerr := os.Lstat(path); errors.Is(lerr, fs.ErrNotExist) {
			return entry{}, false
		}
		return unreadable(reason(err))
	}
	if !fi.Mode().IsRegular() {
		return unreadable("is not a regular file")
	}
	if known && !full && !old.racy && old.file.Unreadable == "" && old.id == identify(fi) {
		return old, true
	}
	data, id, err := readRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, lerr := os.Lstat(path); errors.Is(lerr, fs.ErrNotExist) {
			return entry{}, false
		}
	}
	if err != nil {
		return unreadable(reason(err))
	}
	if known && old.file.Data != nil && bytes.Equal(old.file.Data, data) {
		data = old.file.Data // one copy is enough
	}
	changed := time.Unix(id.ctime.Unix())
	return entry{file: policy.File{Name: name, Data: data}, id: id, racy: time.Since(changed) < racyWindow}, true
}

// readRegular reads a regular file. It does not block on anything else that
// has taken its place meanwhile.
func readRegular(path string) ([]byte, identity, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, identity{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, identity{}, err
	}
	if !fi.Mode().IsRegular() {
		return nil, identity{}, errors.New("is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, policy.MaxFileSize+1))
	if err != nil {
		return nil, identity{}, err
	}
	if len(data) > policy.MaxFileSize {
		return nil, identity{}, fmt.Errorf("is larger than %d bytes", policy.MaxFileSize)
	}
	return data, identify(fi), nil
}

// reason is err without the path, which stands beside it anyway.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

func sameFiles(a, b []policy.File) bool {
	return slices.EqualFunc(a, b, func(x, y policy.File) bool {
		return x.Name == y.Name && x.Unreadable == y.Unreadable && bytes.Equal(x.Data, y.Data)
	})
}
