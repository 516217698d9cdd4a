package dirsource

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// entry is what a scanner remembers of a file: enough to see that the file has
// changed.
type entry struct {
	sum   sum
	id    uint64 // digest of the identity
	pass  uint32 // the last pass over the directory that listed the file
	flags uint8
}

const (
	flagRead       = 1 << iota // sum is of the file's content
	flagUnreadable             // scanner.reasons says why
	flagRacy                   // read too soon after a change to trust id
	flagLinked                 // may change together with another file
)

// readable reports whether the file could be read, so that sum is that of its
// content.
func (e entry) readable() bool { return e.flags&(flagRead|flagUnreadable) == flagRead }

// settled reports whether the content is the same as long as id is.
func (e entry) settled() bool { return e.readable() && e.flags&flagRacy == 0 }

// scanner reads files of the directory and remembers what it found.
type scanner struct {
	dir     string
	place   identity // of the directory that was read
	entries map[string]entry
	reasons map[string]string // why files are unreadable
	linked  int               // number of entries with flagLinked
	// kept says that files of an earlier run are in force, whose directory is
	// place. It is false once the directory was read.
	kept     bool
	empty    identity // the directory that scan has not taken: see errEmptied
	released identity // the directory that scan takes all the same, once
	pass     uint32   // number of passes over the directory that have begun
	listed   int      // number of manifests that the last pass listed
	reader   reader
}

func newScanner(dir string) *scanner {
	return &scanner{dir: dir, entries: map[string]entry{}, reasons: map[string]string{}}
}

// errReplaced means that the path leads to another directory than before.
var errReplaced = errors.New("is being replaced")

// errEmptied means that the path leads to another directory than before, which
// holds no manifest: the place where a filesystem should be mounted looks so.
var errEmptied = errors.New("is another directory than before, and it holds no manifest (is a filesystem not mounted?)")

// dirHandle is an open directory.
type dirHandle struct {
	path  string
	fd    int
	place identity
	mount uint64
}

func openDir(path string, flags int) (dirHandle, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, flags|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return dirHandle{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Statx_t
	if err := statx(fd, "", unix.AT_EMPTY_PATH, &st); err != nil {
		unix.Close(fd)
		return dirHandle{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	id := identify(&st)
	return dirHandle{path: path, fd: fd, place: id.place(), mount: id.mount}, nil
}

// placeOf returns which directory a path leads to.
func placeOf(path string) (identity, error) {
	var st unix.Statx_t
	if err := statx(unix.AT_FDCWD, path, 0, &st); err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	id := identify(&st)
	return id.place(), nil
}

// batch is how many files a worker takes at a time.
const batch = 256

// readParallel reads the files of all parts, several at a time.
func readParallel(dir dirHandle, entries map[string]entry, parts iter.Seq[[]job]) (results []result) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	jobs := make(chan []job)
	for range 2 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			r := reader{dir: dir}
			for part := range jobs {
				found := r.readFiles(part, entries)
				mu.Lock()
				results = append(results, found...)
				mu.Unlock()
			}
		})
	}
	for part := range parts {
		jobs <- part
	}
	close(jobs)
	wg.Wait()
	return results
}

// readFiles reads some files. It fails if the directory is not the one that was
// scanned.
func (s *scanner) readFiles(jobs []job) ([]result, error) {
	dir, err := openDir(s.dir, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir.fd)
	if dir.place != s.place {
		return nil, errReplaced
	}
	var results []result
	if len(jobs) <= batch {
		s.reader.dir = dir
		results = s.reader.readFiles(jobs, s.entries)
	} else {
		results = readParallel(dir, s.entries, slices.Chunk(jobs, batch))
	}
	// While a directory is being deleted, its files vanish one by one.
	if slices.ContainsFunc(results, func(r result) bool { return r.verdict == gone }) {
		if now, err := placeOf(s.dir); err != nil || now != s.place {
			return nil, errReplaced
		}
	}
	return results, nil
}

// scan looks at every file as plan says.
func (s *scanner) scan(plan func(name string) job) ([]result, error) {
	s.empty = identity{}
	for range 3 {
		results, place, err := s.readListed(plan)
		if err != nil {
			return nil, fmt.Errorf("read policy directory: %w", err)
		}
		// If the directory has vanished meanwhile, its files seemed deleted.
		if after, err := placeOf(s.dir); err == nil && after == place {
			if s.emptied(place) {
				s.empty = place
				return nil, fmt.Errorf("%s %w", s.dir, errEmptied)
			}
			s.place, s.kept, s.released = place, false, identity{}
			return results, nil
		}
	}
	return nil, fmt.Errorf("read policy directory: %s %w", s.dir, errReplaced)
}

// emptied reports whether the directory that was listed last is no successor of
// the one before.
func (s *scanner) emptied(place identity) bool {
	return place != s.place && place != s.released && s.listed == 0 && (s.kept || len(s.entries) > 0)
}

// readListed looks at the files that the directory lists, and at those that it
// lists no longer.
func (s *scanner) readListed(plan func(name string) job) ([]result, identity, error) {
	dir, err := openDir(s.dir, unix.O_RDONLY)
	if err != nil {
		return nil, identity{}, err
	}
	d := os.NewFile(uintptr(dir.fd), s.dir)
	defer d.Close()
	s.pass++
	results := readParallel(dir, s.entries, func(yield func([]job) bool) {
		for err == nil {
			var list []os.DirEntry
			list, err = listManifests(d, batch)
			part := make([]job, len(list))
			for i, e := range list {
				part[i] = plan(e.Name())
				part[i].regular = part[i].verify && !part[i].wait && e.Type().IsRegular()
			}
			if !yield(part) {
				return
			}
		}
	})
	if err != io.EOF {
		return nil, identity{}, err
	}
	s.listed = len(results)
	for _, r := range results {
		s.mark(r.name)
	}
	var missing []job
	for _, name := range s.unlisted(s.pass) {
		missing = append(missing, plan(name))
	}
	return append(results, readParallel(dir, s.entries, slices.Chunk(missing, batch))...), dir.place, nil
}

// listManifests returns the manifests among the next n files of a directory, and io.EOF
// after the last.
func listManifests(d *os.File, n int) ([]os.DirEntry, error) {
	list, err := d.ReadDir(n)
	return slices.DeleteFunc(list, func(e os.DirEntry) bool { return !IsManifest(e.Name()) }), err
}

// mark remembers that this pass over the directory has listed a file.
func (s *scanner) mark(name string) {
	if e, ok := s.entries[name]; ok {
		e.pass = s.pass
		s.entries[name] = e
	}
}

// unlisted returns the files that no pass has listed since the given one. They
// are gone, or were renamed while the directory was listed.
func (s *scanner) unlisted(pass uint32) (names []string) {
	for name, e := range s.entries {
		if e.pass < pass {
			names = append(names, name)
		}
	}
	return names
}

// remember stores the results and returns the changes, sorted by name.
func (s *scanner) remember(results []result) (changes []FileChange) {
	for _, r := range results {
		old, known := s.entries[r.name]
		e := entry{pass: s.pass}
		name := r.name
		if !known {
			name = strings.Clone(name) // it may be part of a long path
		}
		switch r.verdict {
		case gone:
			if known {
				s.count(old, entry{})
				delete(s.entries, name)
				delete(s.reasons, name)
				changes = append(changes, FileChange{File: File{Name: name}, Gone: true})
			}
			continue
		case unfinished, same:
			continue
		case read:
			e.sum, e.id, e.flags = r.sum, r.id, flagRead
			if r.racy {
				e.flags |= flagRacy
			}
			if !known || !old.readable() || old.sum != r.sum {
				changes = append(changes, FileChange{File: File{Name: name, Data: r.data}})
			}
			delete(s.reasons, name)
		case unreadable:
			e.sum, e.flags = old.sum, old.flags&flagRead|flagUnreadable
			if s.reasons[name] != r.reason {
				changes = append(changes, FileChange{File: File{Name: name, Unreadable: r.reason}})
			}
			s.reasons[name] = r.reason
		}
		e.flags &^= flagLinked
		if r.linked {
			e.flags |= flagLinked
		}
		s.count(old, e)
		s.entries[name] = e
	}
	slices.SortFunc(changes, func(a, b FileChange) int { return cmp.Compare(a.File.Name, b.File.Name) })
	return changes
}

// count updates the number of linked files when an entry becomes another.
func (s *scanner) count(before, after entry) {
	s.linked += int(after.flags&flagLinked)/flagLinked - int(before.flags&flagLinked)/flagLinked
}
