package dirsource

// File is one manifest file as read: its name within the policy directory and
// its content.
type File struct {
	Name string
	Data []byte
	// Unreadable says why the file could not be read; empty if it could. Data
	// is then the last content known, or nil.
	Unreadable string
}

// FileChange is a file of the policy directory that is new, has changed or is
// gone.
type FileChange struct {
	File File // without Data if it is gone or cannot be read
	Gone bool
}
