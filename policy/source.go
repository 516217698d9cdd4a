package policy

import (
	"context"
	"crypto/sha256"
	"strconv"
	"time"
)

// A Source tells what the policy is: a watched directory, for example, or a
// database. It delivers revisions of units. A unit is what is accepted or
// refused as a whole: a file of the directory, a document of the database.
//
// A Source decodes and judges; the revisions that it delivers are in force as
// soon as they are delivered, and they never define an object twice.
type Source interface {
	// String names the source in the status: "policy directory".
	String() string
	// Updates returns the channel of updates, which is the same at each call
	// and is never closed. Added up in order, the changes of all updates are
	// the revisions in force. An update that was not received is part of the
	// next. The first update without Restored is the whole policy.
	Updates() <-chan Update
	// Sync returns the Seq of an update that holds everything that was changed
	// before the call; that update may have been received already. Sync fails
	// when the source cannot be read, and when ctx ends.
	Sync(ctx context.Context) (seq uint64, err error)
	// Status tells the state of the units and lists them. If more than most are
	// accepted, only the others are listed. ok is false before the first update
	// without Restored; only Unsaved and Warnings count then.
	Status(most int) (status SourceStatus, ok bool)
	// Release makes the source deliver what it holds (see Update.Held), and reports
	// whether it held anything. An update that is delivered afterwards tells of it.
	Release(ctx context.Context) (released bool, err error)
	// Enforced tells the source that every update up to seq, which is that of the
	// newest update received, is in force in the switch, or was sent to the switch
	// and will be sent again until it is. A source that keeps accepted content
	// across restarts keeps it from then on, because an update that the controller
	// holds back must not be kept. Enforced does not block.
	Enforced(seq uint64)
}

// Update is what has changed since the update before.
type Update struct {
	// Seq numbers the updates of a source; it grows. Numbers may be left out.
	Seq uint64
	// Changes are sorted by name. There is one for each unit whose revision in
	// force has changed.
	Changes []RevisionChange
	// Since is the time of the first event that led to this update; zero if that
	// time is not known.
	Since time.Time
	// Err says why the source cannot be read now; what was in force stays so.
	Err error
	// Held says why the source does not deliver what it reads now: that looks like
	// a mistake, and waits for Release. What was in force stays so.
	Held string
	// Restored says that this is not yet the policy, but what was in force in an
	// earlier run: the controller enforces nothing because of such an update, but
	// compares later changes with it. Only the first update may be Restored, and
	// it is never merged with another.
	Restored bool
}

// SourceStatus is the state of the units of a Source.
type SourceStatus struct {
	Seq                      uint64       // of the newest update that the numbers include; it may not be received yet
	Accepted, Kept, Rejected int          // numbers of units
	Units                    []UnitStatus // sorted by name

	Unsaved  int      // accepted units that the source could not keep for the next run yet
	Warnings []string // other than errors of units
}

// Revision is an accepted content of a unit.
type Revision struct {
	Name    string            // of the unit
	Sum     [sha256.Size]byte // SHA-256 of the content
	Objects Objects
}

// UnitState says whether the newest content of a unit is in force.
type UnitState uint8

// The states of a unit.
const (
	// Accepted: the newest content is in force.
	Accepted UnitState = iota
	// Kept: the newest content is refused, an older revision is in force.
	Kept
	// Rejected: the newest content is refused and nothing is in force.
	Rejected
)

// String returns the word for s.
func (s UnitState) String() string {
	switch s {
	case Accepted:
		return "accepted"
	case Kept:
		return "kept"
	case Rejected:
		return "rejected"
	}
	return "UnitState(" + strconv.Itoa(int(s)) + ")"
}

// UnitStatus is the state of a unit, and the reasons for it.
type UnitStatus struct {
	Name   string
	State  UnitState
	Errors []Problem // sorted; empty if and only if accepted
}
