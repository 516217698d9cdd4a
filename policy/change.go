package policy

// FileChange is a file of the policy directory that is new, has changed or is
// gone.
type FileChange struct {
	File File // without Data if it is gone or cannot be read
	Gone bool
}

// VersionChange is a file of which another version is in force now.
type VersionChange struct {
	Name          string
	Before, After *Version // nil: none
	Data          []byte   // the content of After
}

// Change is what became of one thing.
type Change[T any] struct{ Before, After *T } // nil: there is none

// ModelChange is what turns one Model into another: only what differs, in the
// order of the Model's lists.
type ModelChange struct {
	Endpoints []Change[Endpoint]  // by OFPort
	Groups    []Change[RuleGroup] // by ID
	Members   []Change[Member]    // by VPC and Addr
}

// Empty says that nothing differs.
func (c ModelChange) Empty() bool {
	return len(c.Endpoints) == 0 && len(c.Groups) == 0 && len(c.Members) == 0
}
