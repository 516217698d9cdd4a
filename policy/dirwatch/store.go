package dirwatch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovs-sg/ovs-sg/policy"
)

// The names of files in a state directory.
const (
	acceptedSuffix = ".accepted" // after the name of the policy file
	tempPrefix     = ".new-"
)

// Store keeps a copy of the accepted version of every file in a state
// directory, so that a file that is broken when the agent starts still has its
// last accepted version. It is not safe for concurrent use.
type Store struct {
	dir   string
	saved map[string][]byte // by name of the policy file
}

// OpenStore opens the state directory, which is made if it is missing, and
// reads what it holds.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	s := &Store{dir: dir, saved: make(map[string][]byte)}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	for _, d := range list {
		path := filepath.Join(dir, d.Name())
		if strings.HasPrefix(d.Name(), tempPrefix) {
			_ = os.Remove(path) // of a write that was interrupted
			continue
		}
		name, ok := strings.CutSuffix(d.Name(), acceptedSuffix)
		if !ok || !d.Type().IsRegular() || !IsManifest(name) {
			continue
		}
		data, err := readRegular(path)
		if err != nil {
			return nil, fmt.Errorf("open state directory: %w", err)
		}
		s.saved[name] = data
	}
	return s, nil
}

// Versions returns what is stored, decoded, for policy.Accept as the versions
// in force before. A copy that the policy package does not accept any more is
// left out.
func (s *Store) Versions() []policy.Version {
	var files []policy.File
	for name, data := range s.saved {
		files = append(files, policy.File{Name: name, Data: data})
	}
	versions, _ := policy.Accept(nil, files) // sorts them
	return versions
}

// Save makes the store hold exactly versions, writing and removing only what
// differs. Each file is replaced atomically and is on disk when Save returns.
// It goes on after an error and returns all of them.
func (s *Store) Save(versions []policy.Version) error {
	var errs []error
	keep := make(map[string]bool, len(versions))
	dirty := false
	for _, v := range versions {
		name := v.File.Name
		keep[name] = true
		if old, ok := s.saved[name]; ok && bytes.Equal(old, v.File.Data) {
			continue
		}
		dirty = true
		if err := s.write(name, v.File.Data); err != nil {
			errs = append(errs, err)
			continue
		}
		s.saved[name] = v.File.Data
	}
	for name := range s.saved {
		if keep[name] {
			continue
		}
		dirty = true
		err := os.Remove(s.path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove accepted copy: %w", err))
			continue
		}
		delete(s.saved, name)
	}
	if dirty {
		if err := syncDir(s.dir); err != nil {
			errs = append(errs, fmt.Errorf("sync state directory: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name+acceptedSuffix) }

func (s *Store) write(name string, data []byte) (err error) {
	if !IsManifest(name) || name != filepath.Base(name) {
		return fmt.Errorf("write accepted copy: %q is no name of a policy file", name)
	}
	f, err := os.CreateTemp(s.dir, tempPrefix+"*")
	if err != nil {
		return fmt.Errorf("write accepted copy: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write accepted copy of %s: %w", name, err)
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(name))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// readRegular reads a file of the state directory.
func readRegular(path string) ([]byte, error) {
	p := prober{dir: unix.AT_FDCWD}
	r := p.probe(job{name: path, hint: forced, verify: true}, entry{}, false)
	if r.verdict != read {
		return nil, fmt.Errorf("%s: %s", path, r.reason)
	}
	return r.data, nil
}
