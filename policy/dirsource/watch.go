package dirsource

import (
	"fmt"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// watch makes sure that the directory and its parent are watched as they are now:
// the same path may have come to mean another directory. The result says whether
// the directory is another than before.
func (w *Watcher) watch() (other bool, err error) {
	if w.fs == nil {
		if w.fs, err = fsnotify.NewBufferedWatcher(queue); err != nil {
			w.fs = nil
			return false, fmt.Errorf("watch %s: %w; its files are looked at every second", w.dir, err)
		}
		if w.completions.file == nil {
			w.completions.stop()
			w.completions = newCompletions()
		}
	}
	list := w.fs.WatchList()
	for _, dir := range []string{w.parent, w.dir} {
		place, statErr := placeOf(dir)
		listed := slices.Contains(list, dir)
		if before, ok := w.watched[dir]; ok && statErr == nil && before == place && listed {
			continue
		}
		delete(w.watched, dir)
		other = other || dir == w.dir
		if listed {
			_ = w.fs.Remove(dir) // fails if a deleted directory was removed meanwhile
		}
		if statErr != nil {
			continue // scanning reports it
		}
		if addErr := w.fs.Add(dir); addErr == nil {
			w.watched[dir] = place
		} else if dir == w.dir {
			err = fmt.Errorf("watch %s: %w", dir, addErr)
		}
		if dir == w.dir {
			w.completions.watch(dir)
		}
	}
	return other, err
}
