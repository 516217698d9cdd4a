package dirsource

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The names of files in a state directory.
const (
	acceptedSuffix = ".accepted" // follows the name of the policy file
	// placeName is the file that says which directory the copies are of. It is
	// named like a copy, but no policy file has such a name.
	placeName  = "directory" + acceptedSuffix
	tempPrefix = ".new-" // begins the name of a copy that is being written
	// formerParsed is a file that earlier releases kept beside the copies. It
	// is removed, because a release that still reads it must not find an old one.
	formerParsed = "parsed"
)

// fewFiles is how many files are synced one by one. For more files the whole
// filesystem is synced, with whatever else was written to it.
const fewFiles = 4

// Store keeps a copy of the accepted content of every file in a state directory,
// so that a file that is broken when the agent starts still has its last accepted
// content. Beside the copies it keeps which directory they are of. It is not safe
// for concurrent use.
type Store struct {
	dir      string
	sums     map[string]sum  // by name of the policy file; of the content
	plain    map[string]bool // copies without a checksum, of an earlier release
	damaged  []string        // copies that OpenStore left out, and why
	files    []File          // until Files is called
	place    identity        // of the policy directory; zero: not known
	unsynced bool            // the directory could not be synced
}

// OpenStore opens the state directory and reads the copies that it holds. It
// makes the directory if that is missing, and removes copies that an earlier
// run has not written to the end. A copy that cannot be read, or that is not as it
// was written, is left out.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	defer d.Close()
	list, err := d.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	s := &Store{dir: dir, sums: map[string]sum{}, plain: map[string]bool{}}
	var jobs []job
	for _, e := range list {
		if strings.HasPrefix(e.Name(), tempPrefix) || e.Name() == formerParsed {
			_ = os.Remove(filepath.Join(dir, e.Name()))
			continue
		}
		if name, ok := strings.CutSuffix(e.Name(), acceptedSuffix); ok && IsManifest(name) || e.Name() == placeName {
			switch {
			case e.Type().IsRegular():
				jobs = append(jobs, job{name: e.Name(), verify: true, regular: true, sealed: true})
			case !e.IsDir():
				s.take(result{verdict: unreadable, name: e.Name(), reason: errNotRegular.Error()})
			}
		}
	}
	for _, r := range readParallel(dirHandle{fd: int(d.Fd())}, nil, slices.Chunk(jobs, batch)) {
		s.take(r)
	}
	slices.Sort(s.damaged)
	slices.SortFunc(s.files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return s, nil
}

// take takes in what was found of a file of the state directory.
func (s *Store) take(r result) {
	name := strings.TrimSuffix(r.name, acceptedSuffix)
	data, sealed, reason := r.data, false, r.reason
	if r.verdict == read {
		data, sealed, reason = unseal(r.data)
	} else if reason == "" {
		reason = "is gone"
	}
	switch {
	case reason != "":
		s.damaged = append(s.damaged, r.name+": "+reason)
		if r.name != placeName {
			s.sums[name] = sum{} // which no content has
		}
	case r.name == placeName:
		s.place = parsePlace(data)
	default:
		s.sums[name] = sumOf(data)
		if !sealed {
			s.plain[name] = true
		}
		s.files = append(s.files, File{Name: name, Data: data})
	}
}

// Files returns the copies that the store held when it was opened, sorted by
// name. It returns them once: the store does not keep the contents.
func (s *Store) Files() []File {
	files := s.files
	s.files = nil
	return files
}

// Save stores the files that have changed and deletes the copies of files that
// are removed. A content that is stored already is not written again. Each copy
// is replaced atomically, and all are on disk when Save returns. Save continues
// after an error and returns all errors joined.
func (s *Store) Save(changed []File, removed []string) error {
	return s.save(keeping{changed: changed, removed: removed})
}

// save is Save, and stores the place of the policy directory as well.
func (s *Store) save(b keeping) error {
	var errs []error
	failed := func(what string, err error) { errs = append(errs, fmt.Errorf("%s: %w", what, err)) }
	var todo []File
	for _, f := range b.changed {
		switch {
		case !IsManifest(f.Name) || f.Name != filepath.Base(f.Name):
			failed("write accepted copy", fmt.Errorf("%q is no name of a policy file", f.Name))
		case !s.holds(f):
			todo = append(todo, File{Name: f.Name + acceptedSuffix, Data: f.Data})
		}
	}
	if b.place != (identity{}) && b.place != s.place {
		todo = append(todo, File{Name: placeName, Data: formatPlace(b.place)})
	}
	if len(todo) == 0 && !slices.ContainsFunc(b.removed, s.has) && !s.unsynced {
		return errors.Join(errs...)
	}
	// The directory is opened before anything is written, because syncfs reports
	// the errors that have occurred since.
	d, err := os.Open(s.dir)
	if err != nil {
		failed("write accepted copies", err)
		return errors.Join(errs...)
	}
	defer d.Close()

	temp := func(i int) string { return filepath.Join(s.dir, tempPrefix+strconv.Itoa(i)) }
	each := len(todo) <= fewFiles
	written := s.write(todo, temp, each, failed)
	if !each {
		if err := unix.Syncfs(int(d.Fd())); err != nil {
			written = s.write(todo, temp, true, failed)
		}
	}
	for i, f := range todo {
		if !written[i] {
			continue
		}
		if err := os.Rename(temp(i), filepath.Join(s.dir, f.Name)); err != nil {
			_ = os.Remove(temp(i))
			failed("write "+f.Name, err)
			continue
		}
		if f.Name == placeName {
			s.place = b.place
			continue
		}
		name := strings.TrimSuffix(f.Name, acceptedSuffix)
		s.sums[name] = sumOf(f.Data)
		delete(s.plain, name)
	}
	for _, name := range b.removed {
		if !s.has(name) {
			continue
		}
		if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed("remove accepted copy", err)
			continue
		}
		delete(s.sums, name)
		delete(s.plain, name)
	}
	s.unsynced = false
	if err := d.Sync(); err != nil {
		s.unsynced = true
		failed("sync state directory", err)
	}
	return errors.Join(errs...)
}

// missing returns what of b the store does not hold on disk.
func (s *Store) missing(b keeping) keeping {
	if s.unsynced {
		return b
	}
	b.changed = slices.DeleteFunc(slices.Clone(b.changed), s.holds)
	b.removed = slices.DeleteFunc(slices.Clone(b.removed), func(name string) bool { return !s.has(name) })
	if b.place == s.place {
		b.place = identity{}
	}
	return b
}

// has reports whether there is a copy, damaged or not.
func (s *Store) has(name string) bool {
	_, ok := s.sums[name]
	return ok
}

// holds reports whether the copy of a file is as it would be written.
func (s *Store) holds(f File) bool {
	have, ok := s.sums[f.Name]
	return ok && !s.plain[f.Name] && have == sumOf(f.Data)
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name+acceptedSuffix) }

// write writes the temporary files, syncing each of them if sync is set, and
// returns which of them are complete.
func (s *Store) write(files []File, temp func(int) string, sync bool, failed func(string, error)) []bool {
	written := make([]bool, len(files))
	for i, f := range files {
		if err := writeFile(temp(i), seal(f.Data), sync); err != nil {
			_ = os.Remove(temp(i))
			failed("write "+f.Name, err)
			continue
		}
		written[i] = true
	}
	return written
}

func writeFile(path string, data []byte, sync bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
