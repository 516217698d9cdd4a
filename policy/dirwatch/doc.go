// Package dirwatch delivers the content of a policy directory, and keeps the
// accepted copies of its files.
//
// A [Watcher] sends a [Snapshot] of the whole directory whenever its content
// has changed. It takes every event as a mere hint: on any of them it looks at
// the directory again, and it does so from time to time without one, because
// events are lost when a queue overflows, when a directory is mounted over or
// when a symbolic link leads elsewhere.
//
// A file is looked at if its name ends in .yaml or .yml and does not begin with
// a dot or '#'. It must be a regular file or a symbolic link to one; anything
// else is never opened. In-place edits, files renamed into place and the
// swapped links of a mounted ConfigMap all work. A file that is written in
// place can be read half-written, so renaming is better.
//
// A file that cannot be read keeps its last content, and so does a directory
// that vanishes: the snapshot says what is wrong, its files stay. An empty
// directory, on the other hand, is empty. Removing a directory with its files
// may show as both, one after the other.
package dirwatch
