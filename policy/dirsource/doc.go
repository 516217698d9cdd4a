// Package dirsource delivers what changes in a policy directory, and keeps the
// accepted copies of its files.
//
// A [Watcher] sends a [Snapshot] of what has changed, the first of all there
// is. An event says which files to look at; what they hold is only known from
// reading them. Every file is read when events are lost, when the path leads to
// another directory, and from time to time, a few at a time, because symbolic
// links that lead elsewhere, files with several names, mounts and mappings
// change without an event. Of what was read the Watcher keeps a checksum.
//
// A file is looked at if its name ends in .yaml or .yml and does not begin with
// a dot or '#'. It must be a regular file or a symbolic link to one; anything
// else is never opened. In-place edits, files renamed into place and the
// swapped links of a mounted ConfigMap all work. A file that is being written
// in place is waited for until it is closed, but not for long, so that
// renaming is better: half of it is read when its writer takes his time, or
// when [Watcher.Sync] asks for what is there now.
//
// Whether somebody has a file open for writing, a lease tells; see fcntl(2).
// Without the capability CAP_LEASE, which must not be in a user namespace, it
// is to be had only for one's own files. For others the end of writing is when
// somebody closes the file, or when nothing more has been announced for a
// while.
//
// A file that cannot be read keeps its last content, and so does a directory
// that vanishes: the snapshot says what is wrong, nothing else changes. An
// empty directory, on the other hand, is empty. Removing a directory with its
// files may show as both, one after the other.
package dirsource
