package dirsource

import (
	"cmp"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Tracker knows every file of the policy directory and the revision of it that
// is in force.
//
// A file with errors keeps its revision in force, and so does a file that has
// become empty. An object that two files define belongs to the file that is in
// force with it already, else to the first by name; the other file is refused as
// a whole and keeps its revision in force. A file is refused for a conflict only
// with a revision that is in force in the end. A file that is gone is in force no
// more.
//
// The work of a change depends on what the change concerns. A Tracker keeps the
// content of a file only while it is refused for a conflict, because it may come
// in force later. The zero value is a Tracker without files. A Tracker must not
// be used by several goroutines at once.
type Tracker struct {
	accepted     map[string]*policy.Revision // files whose newest content is in force, by name
	pending      map[string]*fileState       // all other files
	definers     definers                    // of the revisions that are newest or in force
	stored       map[string][]byte           // restored copies that are not decoded yet
	started      bool                        // Update has been called
	restoredRead bool                        // the caller has called Restored
	recheck      map[string]bool             // files to judge again in the next Update
	undecoded    []string                    // restored copies that do not decode, and why
}

// fileState is what is known of a file.
type fileState struct {
	content
	newest  *policy.Revision // nil if the content is unknown or does not decode
	errs    []policy.Problem // of decoding
	data    []byte           // of newest, unless it is in force
	inForce *policy.Revision // nil if none
	status  policy.UnitStatus
}

// Change is what an Update of a Tracker changed.
type Change struct {
	// Revisions are the files whose revision in force has changed, sorted by
	// name.
	Revisions []policy.RevisionChange
	// Data is the content of After of each of Revisions, nil where After is nil.
	Data [][]byte
	// Status has the files that are refused now, or refused for other reasons
	// than before, and the files that are not refused any more, sorted by name.
	Status []policy.UnitStatus
}

// revisionChange is one element of Change.Revisions and of Change.Data.
type revisionChange struct {
	policy.RevisionChange
	data []byte
}

// newChange returns the Change of an Update, sorted.
func newChange(revisions []revisionChange, status []policy.UnitStatus) Change {
	slices.SortFunc(revisions, func(a, b revisionChange) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(status, func(a, b policy.UnitStatus) int { return cmp.Compare(a.Name, b.Name) })
	c := Change{Status: status}
	for _, r := range revisions {
		c.Revisions, c.Data = append(c.Revisions, r.RevisionChange), append(c.Data, r.data)
	}
	return c
}

// Restore gives the accepted copies of an earlier run, which are in force before
// the first Update. It must be called before that, if at all. A copy is decoded
// when it is needed; a copy that does not decode any more is left out.
func (t *Tracker) Restore(files []File) {
	t.stored = make(map[string][]byte, len(files))
	for _, f := range files {
		t.stored[f.Name] = f.Data
	}
}

// Restored returns the change from nothing to what Restore gave. A caller need
// not call Restored; the first Update then includes what is left of that change.
// The returned changes always add up to the revisions in force.
func (t *Tracker) Restored() Change {
	if t.started || t.restoredRead {
		return Change{}
	}
	t.restoredRead = true
	t.init()
	var jobs []decodeJob
	for name, data := range t.stored {
		f := File{Name: name, Data: data}
		jobs = append(jobs, decodeJob{file: f, content: contentOf(f)})
	}
	decodeJobs(jobs)
	t.stored = nil
	var revisions []revisionChange
	for i := range jobs {
		t.noteUndecoded(&jobs[i])
		if v := jobs[i].revision; v != nil {
			revisions = append(revisions, revisionChange{policy.RevisionChange{Name: v.Name, After: v}, jobs[i].file.Data})
			t.pending[v.Name] = &fileState{content: content{name: v.Name, unknown: true}, inForce: v}
			t.definers.add(v)
		}
	}
	return newChange(revisions, nil)
}

// noteUndecoded remembers a restored copy that does not decode any more.
func (t *Tracker) noteUndecoded(j *decodeJob) {
	if len(j.errs) > 0 {
		t.undecoded = append(t.undecoded, j.content.name+acceptedSuffix+": "+j.errs[0].Error())
	}
}

// takeUndecoded returns what noteUndecoded has remembered, sorted, and forgets it.
func (t *Tracker) takeUndecoded() []string {
	list := t.undecoded
	t.undecoded = nil
	slices.Sort(list)
	return list
}

func (t *Tracker) init() {
	if t.accepted == nil {
		t.accepted, t.pending = make(map[string]*policy.Revision), make(map[string]*fileState)
		t.recheck = make(map[string]bool)
		t.definers = newDefiners()
	}
}

// Update applies changes of the directory, at most one for each name; the changes
// of the first call are the whole directory. It returns what they change.
func (t *Tracker) Update(changes []FileChange) Change {
	t.init()
	u := trackerUpdate{t: t, changed: make(map[string]*fileState, len(changes)), seen: make(map[string]bool, len(changes))}
	u.read(changes)
	for name := range t.recheck {
		if _, ok := u.changed[name]; !ok {
			u.seeds = append(u.seeds, name)
		}
	}
	clear(t.recheck)
	slices.Sort(u.seeds)
	for _, name := range u.seeds {
		if !u.seen[name] {
			u.judge(u.component(name))
		}
	}
	t.started, t.stored = true, nil
	return newChange(u.revisions, u.status)
}

// state returns what is known of a file; ok is false if the file is not known.
func (t *Tracker) state(name string) (f fileState, ok bool) {
	if v := t.accepted[name]; v != nil {
		return fileState{content: content{name: v.Name, sum: v.Sum}, newest: v, inForce: v, status: policy.UnitStatus{Name: v.Name}}, true
	}
	if f := t.pending[name]; f != nil {
		return *f, true
	}
	return fileState{}, false
}

// setState replaces what is known of a file.
func (t *Tracker) setState(f fileState) {
	if f.status.State == policy.Accepted && f.newest == f.inForce {
		t.accepted[f.name] = f.inForce
		delete(t.pending, f.name)
		return
	}
	if f.newest == nil || f.newest == f.inForce {
		f.data = nil // it can never come in force, or is
	}
	t.pending[f.name] = &f
	delete(t.accepted, f.name)
}
