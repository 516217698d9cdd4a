package dirsource

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
)

// content is what is known of a file's newest content before it is decoded.
type content struct {
	name       string
	sum        [sha256.Size]byte
	unreadable string // as File.Unreadable
	unknown    bool   // there is no content
	blank      bool   // white space only
}

func contentOf(f File) content {
	return content{
		name: f.Name, sum: sha256.Sum256(f.Data), unreadable: f.Unreadable,
		unknown: f.Unreadable != "" && f.Data == nil, blank: len(bytes.TrimSpace(f.Data)) == 0,
	}
}

// decodeJob is a file to decode, and the revision that it decodes to.
type decodeJob struct {
	file           File
	content        content
	newest, stored *fileState // the states that wait for the revision of the file, of its stored copy

	revision *policy.Revision // nil if the file has errors
	errs     []policy.Problem
}

// decodeJobs decodes the files of all jobs.
func decodeJobs(jobs []decodeJob) {
	files := make([]manifest.File, len(jobs))
	for i := range jobs {
		files[i] = manifest.File{Name: jobs[i].file.Name, Data: jobs[i].file.Data}
	}
	for i, d := range manifest.DecodeAll(files) {
		j := &jobs[i]
		if j.errs = d.Problems; len(d.Problems) == 0 {
			j.revision = &policy.Revision{Name: j.content.name, Sum: j.content.sum, Objects: d.Objects}
		}
	}
}

// trackerUpdate is one Update of a Tracker.
type trackerUpdate struct {
	t         *Tracker
	changed   map[string]*fileState // changed files as they are now; nil if gone
	seeds     []string              // files whose components are to be judged
	seen      map[string]bool       // files that are in some component
	revisions []revisionChange
	status    []policy.UnitStatus
}

// read decodes the files whose content has really changed.
func (u *trackerUpdate) read(changes []FileChange) {
	t := u.t
	var jobs []decodeJob
	for _, c := range changes {
		old, known := t.state(c.File.Name)
		if c.Gone {
			if known {
				u.change(c.File.Name, nil)
			}
			continue
		}
		now := contentOf(c.File)
		if known && now.sum == old.sum && now.unreadable == old.unreadable && now.unknown == old.unknown {
			continue // known and judged
		}
		f := &fileState{content: now, inForce: old.inForce, status: old.status}
		u.change(now.name, f)
		if data, ok := t.stored[now.name]; ok {
			stored := File{Name: now.name, Data: data}
			copied := contentOf(stored)
			if !now.unknown && copied.sum == now.sum {
				jobs = append(jobs, decodeJob{file: c.File, content: now, newest: f, stored: f})
				continue
			}
			jobs = append(jobs, decodeJob{file: stored, content: copied, stored: f})
		}
		switch {
		case now.unknown:
		case f.inForce != nil && f.inForce.Sum == now.sum:
			f.newest, f.data = f.inForce, c.File.Data
		default:
			jobs = append(jobs, decodeJob{file: c.File, content: now, newest: f})
		}
	}
	if !t.started {
		for name := range t.pending { // restored, but not in the directory any more
			if _, ok := u.changed[name]; !ok {
				u.change(name, nil)
			}
		}
	}
	u.decode(jobs)
}

// decode decodes the files of the jobs and completes the states that wait.
func (u *trackerUpdate) decode(jobs []decodeJob) {
	decodeJobs(jobs)
	for i := range jobs {
		j := &jobs[i]
		if j.newest != nil {
			j.newest.newest, j.newest.errs, j.newest.data = j.revision, j.errs, j.file.Data
		}
		if j.stored != nil {
			j.stored.inForce = j.revision
			u.t.noteUndecoded(j)
		}
		if j.revision != nil {
			u.t.definers.add(j.revision)
		}
	}
}

// change notes the new state of a file, nil if the file is gone.
func (u *trackerUpdate) change(name string, f *fileState) {
	u.changed[name] = f
	u.seeds = append(u.seeds, name)
}

// now returns the state of a file as it is now; ok is false if the file is gone.
func (u *trackerUpdate) now(name string) (f fileState, ok bool) {
	if f, ok := u.changed[name]; ok {
		if f == nil {
			return fileState{}, false
		}
		return *f, true
	}
	return u.t.state(name)
}

// inPlay returns the revisions of a file that were in force before this Update or
// may be after it. Some may be nil, or the same.
func (u *trackerUpdate) inPlay(name string) [4]*policy.Revision {
	old, _ := u.t.state(name)
	f, _ := u.now(name)
	return [4]*policy.Revision{old.newest, old.inForce, f.newest, f.inForce}
}

// component returns, sorted, the files that share objects with the named one,
// the files that share objects with those, and so on.
//
// Files of different components do not influence each other: two files do so
// only through an object that revisions of both define. A conflict and its rank
// depend on its two files, and nextRefused takes the first of the highest rank,
// so that the refusals in a component come in the same order when it is judged
// alone as when everything is judged at once. The same holds for taking refusals
// back. A component without a changed file was judged before and would be judged
// the same again; Tracker.recheck names the exceptions. The revisions that a
// changed file had before count as well, because what conflicted with them may
// be accepted now.
func (u *trackerUpdate) component(name string) []string {
	u.seen[name] = true
	names := []string{name}
	for i := 0; i < len(names); i++ {
		revisions := u.inPlay(names[i])
		for j, v := range revisions {
			if v == nil || slices.Contains(revisions[:j], v) {
				continue
			}
			for other := range u.t.definers.sharing(v) {
				if !u.seen[other] {
					u.seen[other] = true
					names = append(names, other)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// judge decides which revisions of the files of a component are in force.
func (u *trackerUpdate) judge(names []string) {
	files := make([]fileState, 0, len(names))
	for _, name := range names {
		if f, ok := u.now(name); ok {
			files = append(files, f)
		} else {
			u.remove(name)
		}
	}
	refused := false
	for i, after := range judged(files) {
		refused = refused || after.status.State != policy.Accepted || len(after.status.Errors) > 0
		u.settle(after)
		files[i] = after
	}
	if !refused {
		return
	}
	// A refusal may change what the next judgement starts from.
	for i, f := range judged(files) {
		if f.inForce != files[i].inForce || !sameStatus(f.status, files[i].status) {
			for _, f := range files {
				u.t.recheck[f.name] = true
			}
			return
		}
	}
}

// judged returns the files, which are sorted by name, with the revision in force
// and the status of each.
func judged(files []fileState) []fileState {
	all := make(candidates, len(files))
	for i := range files {
		f := &files[i]
		all[i] = newCandidate(f.content, f.inForce, func() (*policy.Revision, []policy.Problem) { return f.newest, f.errs })
	}
	if len(all) > 1 {
		all.settle()
		all.restore()
	}
	after := slices.Clone(files)
	for i, c := range all {
		after[i].inForce, after[i].status = c.chosen(), all.status(c)
	}
	return after
}

func sameStatus(a, b policy.UnitStatus) bool {
	return a.State == b.State && slices.Equal(a.Errors, b.Errors)
}

// settle stores the new state of a file, and adds to the Change what differs from
// before.
func (u *trackerUpdate) settle(f fileState) {
	old, _ := u.t.state(f.name)
	u.release(f.name, f.newest, f.inForce)
	if old.inForce != f.inForce {
		c := revisionChange{policy.RevisionChange{Name: f.name, Before: old.inForce, After: f.inForce}, nil}
		switch {
		case f.inForce == nil:
		case f.inForce == f.newest:
			c.data = f.data
		default: // what was restored stays, and the caller does not know it yet
			c.data = u.t.stored[f.name]
		}
		u.revisions = append(u.revisions, c)
	}
	if !sameStatus(old.status, f.status) { // a new file has the status accepted before
		u.status = append(u.status, f.status)
	}
	u.t.setState(f)
}

// remove forgets a file.
func (u *trackerUpdate) remove(name string) {
	old, _ := u.t.state(name)
	u.release(name)
	if old.inForce != nil {
		u.revisions = append(u.revisions, revisionChange{policy.RevisionChange{Name: name, Before: old.inForce}, nil})
	}
	delete(u.t.accepted, name)
	delete(u.t.pending, name)
}

// release removes the revisions of a file from the definers, except those that
// stay.
func (u *trackerUpdate) release(name string, stay ...*policy.Revision) {
	revisions := u.inPlay(name)
	for i, v := range revisions {
		if v != nil && !slices.Contains(revisions[:i], v) && !slices.Contains(stay, v) {
			u.t.definers.remove(v)
		}
	}
}
