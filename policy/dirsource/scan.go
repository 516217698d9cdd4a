package dirsource

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// entry is what is remembered of a file: enough to see that it has changed.
type entry struct {
	sum   sum
	id    uint64 // digest of the identity
	ino   uint64
	flags uint8
}

const (
	flagRead       = 1 << iota // sum is of its content
	flagUnreadable             // reasons says why
	flagRacy                   // read too soon after a change to trust id
	flagSeen                   // alternates from sweep to sweep
)

// readable says that sum is what was last told of the file.
func (e entry) readable() bool { return e.flags&(flagRead|flagUnreadable) == flagRead }

// settled says that id stands for the content.
func (e entry) settled() bool { return e.readable() && e.flags&flagRacy == 0 }

// scanner looks at files of the directory and remembers what it saw.
type scanner struct {
	dir     string
	place   identity // of the directory that was read
	entries map[string]entry
	prober  prober
	seen    uint8 // flagSeen or 0: what entries get that are looked at

	// What may change without an event: by name the last element of what the
	// symbolic link points to; files with several links or that are mounts;
	// files that somebody had open for writing when they were read; files that
	// cannot be read, with the reason.
	links   map[string]string
	shared  map[string]struct{}
	open    map[string]struct{}
	reasons map[string]string
}

func newScanner(dir string) *scanner {
	return &scanner{
		dir: dir, entries: map[string]entry{},
		links: map[string]string{}, shared: map[string]struct{}{},
		open: map[string]struct{}{}, reasons: map[string]string{},
	}
}

// errReplaced says that the path leads to another directory than before.
var errReplaced = errors.New("is being replaced")

// openDir opens the directory and says which one it is.
func openDir(path string, flags int) (fd int, id identity, err error) {
	fd, err = retry(func() (int, error) { return unix.Open(path, flags|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, id, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Statx_t
	if err := statx(fd, "", unix.AT_EMPTY_PATH, &st); err != nil {
		unix.Close(fd)
		return -1, id, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fd, identify(&st), nil
}

// placeOf says which directory a path leads to.
func placeOf(path string) (identity, error) {
	var st unix.Statx_t
	if err := statx(unix.AT_FDCWD, path, 0, &st); err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	id := identify(&st)
	return id.place(), nil
}

// look looks at some files. It returns what has changed and which files are
// busy; errReplaced if the directory is not the one that was scanned.
func (s *scanner) look(jobs []job) ([]FileChange, []result, error) {
	fd, id, err := openDir(s.dir, unix.O_PATH)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(fd)
	if id.place() != s.place {
		return nil, nil, errReplaced
	}
	results := s.probe(fd, id.mount, jobs)
	for _, r := range results {
		// Were the directory on its way out, they would seem to be deleted.
		if r.verdict == gone {
			if now, err := placeOf(s.dir); err != nil || now != s.place {
				return nil, nil, errReplaced
			}
			break
		}
	}
	changes, waiting := s.apply(results)
	return changes, waiting, nil
}

// scan looks at every file. Unless verify it reads only those whose identity
// has changed.
func (s *scanner) scan(verify bool, h hint) ([]FileChange, []result, error) {
	for range 3 {
		results, id, err := s.list(verify, h)
		if err != nil {
			return nil, nil, fmt.Errorf("read policy directory: %w", err)
		}
		// Had the directory vanished under our hands, its files would seem to
		// have been deleted.
		after, err := placeOf(s.dir)
		if err != nil || after != id {
			continue
		}
		s.place = id
		found := make(map[string]struct{}, len(results))
		for _, r := range results {
			found[r.name] = struct{}{}
		}
		for name := range s.entries {
			if _, ok := found[name]; !ok {
				results = append(results, result{verdict: gone, name: name})
			}
		}
		changes, waiting := s.apply(results)
		return changes, waiting, nil
	}
	return nil, nil, fmt.Errorf("read policy directory: %s %w", s.dir, errReplaced)
}

// batch is how many files a worker takes at a time.
const batch = 256

// list looks at every file of the directory while it lists them.
func (s *scanner) list(verify bool, h hint) ([]result, identity, error) {
	fd, id, err := openDir(s.dir, unix.O_RDONLY)
	if err != nil {
		return nil, id, err
	}
	d := os.NewFile(uintptr(fd), s.dir)
	defer d.Close()
	var results []result
	var mu sync.Mutex
	jobs := make(chan []job)
	done := s.workers(fd, id.mount, jobs, func(part []result) {
		mu.Lock()
		defer mu.Unlock()
		results = append(results, part...)
	})
	defer done()
	for {
		list, err := d.ReadDir(batch)
		var part []job
		for _, e := range list {
			if IsManifest(e.Name()) {
				part = append(part, job{name: e.Name(), hint: h, verify: verify, regular: verify && e.Type().IsRegular()})
			}
		}
		jobs <- part
		if err == io.EOF {
			done()
			return results, id.place(), nil
		}
		if err != nil {
			return nil, id, err
		}
	}
}

// workers looks at the files that come over jobs until done is called.
func (s *scanner) workers(fd int, mount uint64, jobs chan []job, take func([]result)) (done func()) {
	var wg sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			p := prober{dir: fd, mount: mount}
			for part := range jobs {
				results := make([]result, 0, len(part))
				for _, j := range part {
					old, known := s.entries[j.name]
					results = append(results, p.probe(j, old, known))
				}
				take(results)
			}
		})
	}
	return sync.OnceFunc(func() {
		close(jobs)
		wg.Wait()
	})
}

// probe looks at files without remembering anything.
func (s *scanner) probe(fd int, mount uint64, list []job) (results []result) {
	if len(list) <= batch {
		s.prober.dir, s.prober.mount = fd, mount
		for _, j := range list {
			old, known := s.entries[j.name]
			results = append(results, s.prober.probe(j, old, known))
		}
		return results
	}
	var mu sync.Mutex
	jobs := make(chan []job)
	done := s.workers(fd, mount, jobs, func(part []result) {
		mu.Lock()
		defer mu.Unlock()
		results = append(results, part...)
	})
	for part := range slices.Chunk(list, batch) {
		jobs <- part
	}
	done()
	return results
}

// apply remembers what was found.
func (s *scanner) apply(results []result) (changes []FileChange, waiting []result) {
	for _, r := range results {
		old, known := s.entries[r.name]
		switch r.verdict {
		case gone:
			if known {
				delete(s.entries, r.name)
				delete(s.links, r.name)
				delete(s.shared, r.name)
				delete(s.open, r.name)
				delete(s.reasons, r.name)
				changes = append(changes, FileChange{File: File{Name: r.name}, Gone: true})
			}
			continue
		case busy:
			waiting = append(waiting, r)
			if !known {
				continue
			}
		}
		name := r.name
		if !known {
			name = strings.Clone(name) // it may be a piece of a long path
		}
		e := old
		e.flags = old.flags&^flagSeen | s.seen
		switch r.verdict {
		case read:
			e = entry{sum: r.sum, id: r.id.digest(), ino: r.id.ino, flags: flagRead | s.seen}
			if r.racy {
				e.flags |= flagRacy
			}
			if !known || !old.readable() || old.sum != r.sum {
				changes = append(changes, FileChange{File: File{Name: name, Data: r.data}})
			}
			delete(s.reasons, name)
			put(s.open, name, r.open)
		case unreadable:
			if s.reasons[name] != r.reason {
				changes = append(changes, FileChange{File: File{Name: name, Unreadable: r.reason}})
			}
			e.id, e.flags = 0, e.flags|flagUnreadable
			s.reasons[name] = r.reason
		}
		s.entries[name] = e
		if r.verdict == busy {
			continue
		}
		if r.link != "" {
			s.links[name] = filepath.Base(r.link)
		} else {
			delete(s.links, name)
		}
		// One who has it open under another name that is gone still writes.
		_, was := s.shared[name]
		put(s.shared, name, r.shared || was && known && old.ino == r.id.ino)
	}
	slices.SortFunc(changes, func(a, b FileChange) int { return cmp.Compare(a.File.Name, b.File.Name) })
	return changes, waiting
}

// put makes name be in the set or not.
func put(set map[string]struct{}, name string, in bool) {
	if in {
		set[name] = struct{}{}
	} else {
		delete(set, name)
	}
}

// followers are other files whose content may change together with that of
// names: symbolic links to them, and other links of the same file.
func (s *scanner) followers(names map[string]hint) (list []string) {
	inodes := map[uint64]struct{}{}
	for name := range names {
		if _, ok := s.shared[name]; ok {
			inodes[s.entries[name].ino] = struct{}{}
		}
	}
	for name, target := range s.links {
		_, follows := names[target]
		if _, done := names[name]; follows && !done {
			list = append(list, name)
		}
	}
	if len(inodes) == 0 {
		return list
	}
	// Those with several names are not all known as such: a new link is not
	// announced under the old name.
	for name, e := range s.entries {
		_, same := inodes[e.ino]
		if _, done := names[name]; same && !done {
			list = append(list, name)
		}
	}
	return list
}

// unannounced are the files that may have changed without an event.
func (s *scanner) unannounced() map[string]bool {
	names := map[string]bool{} // and whether they must be read
	for name := range s.links {
		names[name] = false
	}
	for name := range s.shared {
		names[name] = false
	}
	for name := range s.open {
		names[name] = true
	}
	for name := range s.reasons {
		names[name] = true
	}
	return names
}
