// Package dirsource is a directory of manifest files as a source of policy.
//
// A [Source] has three parts. A [Watcher] delivers what changes in the directory,
// a [Tracker] decides which revision of each file is in force, and a [Store]
// keeps copies of the accepted contents across restarts. The Source runs them in
// a goroutine of its own, apart from the controller.
//
// A [Watcher] sends a [Snapshot] of the files that have changed; the first
// Snapshot holds every file. An event only says which files to look at: a file
// has changed if the checksum of its content has. Each file is read again from
// time to time, a few files at a time between the events, because some changes
// have no event: those of files that symbolic links lead to or that have several
// names, of mounts and of memory mappings.
//
// A file belongs to the policy if its name ends in .yaml or .yml and begins
// neither with a dot nor with '#'. It must be a regular file, or a symbolic link to
// one below the directory; anything else is never opened. Edits in place, files that are renamed
// into place and the links of a mounted ConfigMap all work. If the directory
// holds symbolic links or files with several names, each event leads to a look at
// every file, so that files that change together are delivered together.
//
// fsnotify announces that a file has changed. A second inotify instance, of the
// Watcher's own, tells when the file is complete. A file that is renamed into
// place or closed after writing is read at once; any other file is read when it
// is closed, or after ten times [Options.Debounce] at the latest. Renaming is
// better, because half of a file is read if its writer takes longer or if
// [Watcher.Sync] asks meanwhile. While a file is being written, the removal of
// another file waits just as long, because the two may be the halves of a rename.
// While the kernel grants no inotify instance, the Watcher looks at every file
// once a second.
//
// Sync looks at every file. It reads the files whose size, times or inode differ
// from before, and the files that were read so soon after a change that a second
// change might have left the times the same.
//
// A file that cannot be read keeps its last content, and so does every file of a
// directory that vanishes: the snapshot says what is wrong and nothing else
// changes. An empty directory, on the other hand, is an empty policy, unless it is
// another directory than before: that looks like a mount point whose filesystem is
// missing, and waits for [Watcher.Release]. When a directory is removed with its
// files, both may be delivered, one after the other.
package dirsource
