package dirwatch

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ovs-sg/ovs-sg/policy"
)

// The file of the accepted versions in parsed form. It stands for the copies,
// which need not be read then, as long as they are what they were when it was
// written: whoever changes one removes it before.
const (
	parsedName   = "parsed"
	parsedMagic  = "ovs-sg parsed versions\n"
	parsedFormat = 1
	parsedMax    = 1 << 30 // bytes: more is not read
)

// executable identifies the program that runs, which is not what has taken its
// place on disk. What another build has parsed is not trusted.
var executable = func() (id []byte, err error) {
	var st unix.Statx_t
	if err := statx(unix.AT_FDCWD, "/proc/self/exe", 0, &st); err != nil {
		return nil, err
	}
	for _, n := range []uint64{
		unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino, st.Size,
		uint64(st.Mtime.Sec), uint64(st.Mtime.Nsec), uint64(st.Ctime.Sec), uint64(st.Ctime.Nsec),
	} {
		id = binary.BigEndian.AppendUint64(id, n)
	}
	return id, nil
}

// parsedHeader is what the file begins with.
func parsedHeader() ([]byte, error) {
	id, err := executable()
	if err != nil {
		return nil, err
	}
	return append(append([]byte(parsedMagic), parsedFormat), id...), nil
}

// Versions returns what was stored in parsed form when the store was opened,
// sorted by name; Files returns nothing then. It does so once.
func (s *Store) Versions() []*policy.Version {
	versions := s.versions
	s.versions = nil
	return versions
}

// SaveParsed keeps the accepted versions in parsed form as well, so that the
// next start is quick. It is for the end: the next Save throws that away. It
// does nothing if they are not the versions of the copies, or if they are
// stored already.
func (s *Store) SaveParsed(versions []*policy.Version) error {
	if s.parsed == trusted || len(versions) != len(s.sums) {
		return nil
	}
	for _, v := range versions {
		if old, ok := s.sums[v.Name]; !ok || old != sum(v.Sum[:len(old)]) {
			return nil
		}
	}
	temp := filepath.Join(s.dir, tempPrefix+parsedName)
	if err := s.writeParsed(temp, versions); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write parsed versions: %w", err)
	}
	s.parsed = trusted
	return nil
}

func (s *Store) writeParsed(temp string, versions []*policy.Version) error {
	header, err := parsedHeader()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, hash), 1<<18)
	_, _ = out.Write(header) // Flush tells of all errors
	_, _ = out.Write(binary.AppendUvarint(nil, uint64(len(versions))))
	var w policy.VersionWriter
	var b []byte
	for _, v := range versions {
		b = w.Append(b[:0], v)
		_, _ = out.Write(b)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if _, err := f.Write(hash.Sum(nil)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	s.parsed = doubtful
	if err := os.Rename(temp, filepath.Join(s.dir, parsedName)); err != nil {
		return err
	}
	return s.syncDir()
}

func (s *Store) syncDir() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// dropParsed removes the file, and sees to it that it is gone even if the
// machine stops now.
func (s *Store) dropParsed() error {
	if s.parsed == absent {
		return nil
	}
	s.parsed = doubtful
	if err := os.Remove(filepath.Join(s.dir, parsedName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.syncDir(); err != nil {
		return err
	}
	s.parsed = absent
	return nil
}

// readParsed takes the versions out of the file, if it is to be trusted and
// has one for each of the copies, of which names are given.
func (s *Store) readParsed(names []string) bool {
	versions, err := loadParsed(filepath.Join(s.dir, parsedName))
	if err != nil || len(versions) != len(names) {
		return false
	}
	sums := make(map[string]sum, len(versions))
	for _, v := range versions {
		sums[v.Name] = sum(v.Sum[:len(sum{})])
	}
	for _, name := range names { // which are all different
		if _, ok := sums[name]; !ok {
			return false
		}
	}
	s.sums, s.versions = sums, versions
	return true
}

var errParsed = errors.New("not to be trusted")

func loadParsed(path string) ([]*policy.Version, error) {
	data, err := readOwn(path)
	if err != nil {
		return nil, err
	}
	header, err := parsedHeader()
	if err != nil {
		return nil, err
	}
	end := len(data) - sha256.Size
	if end < len(header) || string(data[:len(header)]) != string(header) ||
		sha256.Sum256(data[:end]) != [sha256.Size]byte(data[end:]) {
		return nil, errParsed
	}
	data = data[len(header):end]
	count, size := binary.Uvarint(data)
	if size <= 0 || count > uint64(len(data)) {
		return nil, errParsed
	}
	data = data[size:]
	var r policy.VersionReader
	versions := make([]*policy.Version, count)
	for i := range versions {
		if versions[i], data, err = r.Read(data); err != nil {
			return nil, err
		}
	}
	if len(data) > 0 {
		return nil, errParsed
	}
	return versions, nil
}

// readOwn reads a file that nobody else can have written.
func readOwn(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o022 != 0 || int(st.Uid) != os.Geteuid() || st.Size > parsedMax {
		return nil, errParsed
	}
	data := make([]byte, st.Size)
	_, err = io.ReadFull(f, data)
	return data, err
}
