package dirsource

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// watch makes sure that the directory and its parent are watched as they are
// now: the same path may have become another directory. It says whether the
// directory is another than before.
func (w *Watcher) watch() (other bool, err error) {
	list := w.fs.WatchList()
	for _, dir := range []string{w.parent, w.dir} {
		id, statErr := placeOf(dir)
		listed := slices.Contains(list, dir)
		if was, ok := w.watched[dir]; ok && was == id && listed {
			continue
		}
		delete(w.watched, dir)
		other = other || dir == w.dir
		if listed {
			_ = w.fs.Remove(dir) // it may be gone by itself meanwhile
		}
		if statErr != nil {
			continue // the scan says so
		}
		if addErr := w.fs.Add(dir); addErr == nil {
			w.watched[dir] = id
		} else if dir == w.dir {
			err = fmt.Errorf("watch %s: %w", dir, addErr)
		}
		if dir == w.dir {
			w.closes.watch(dir)
			w.trusted = err == nil && announces(dir)
		}
	}
	return other, err
}

// announces says whether every change of a file in the directory is announced:
// on a filesystem that others may write to, over the network or behind the
// kernel's back, it is not.
func announces(dir string) bool {
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Statfs(dir, &st) }); err != nil {
		return false
	}
	const zfs = 0x2fc12fc1
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC,
		unix.RAMFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, zfs:
		return true // ext2 and ext3 say ext4
	}
	return false
}
