package policy

import "slices"

// updating is one Update of a Ledger.
type updating struct {
	l       *Ledger
	pending map[string]*filing // changed files as they are now; nil if gone
	seeds   []string           // the files to begin with
	seen    map[string]bool    // files that are in some component
	out     LedgerChange
}

// read decodes the files that have really changed.
func (u *updating) read(changes []FileChange) {
	l := u.l
	var jobs []job
	for _, c := range changes {
		if len(jobs) >= manyJobs {
			u.decode(jobs)
			jobs = jobs[:0]
		}
		old, known := l.filing(c.File.Name)
		if c.Gone {
			if known {
				u.put(c.File.Name, nil)
			}
			continue
		}
		r := readingOf(c.File)
		if known && r.sum == old.sum && r.unreadable == old.unreadable && r.unknown == old.unknown {
			continue // known and judged
		}
		f := &filing{reading: r, inForce: old.inForce, status: old.status}
		u.put(r.name, f)
		if data, ok := l.stored[r.name]; ok {
			stored := File{Name: r.name, Data: data}
			sr := readingOf(stored)
			if !r.unknown && sr.sum == r.sum {
				jobs = append(jobs, job{f: c.File, r: r, newest: f, stored: f})
				continue
			}
			jobs = append(jobs, job{f: stored, r: sr, stored: f})
		}
		switch {
		case r.unknown:
		case f.inForce != nil && f.inForce.Sum == r.sum:
			f.newest, f.data = f.inForce, c.File.Data
		default:
			jobs = append(jobs, job{f: c.File, r: r, newest: f})
		}
	}
	if !l.started {
		for name := range l.odd { // restored and not there any more
			if _, ok := u.pending[name]; !ok {
				u.put(name, nil)
			}
		}
	}
	u.decode(jobs)
}

// manyJobs is how many files are decoded at a time.
const manyJobs = 1024

// decode does the jobs and gives the files what came of them.
func (u *updating) decode(jobs []job) {
	u.l.names.decode(jobs)
	for i := range jobs {
		j := &jobs[i]
		if j.newest != nil {
			j.newest.newest, j.newest.errs, j.newest.data = j.v, j.errs, j.f.Data
		}
		if j.stored != nil {
			j.stored.inForce = j.v
		}
		if j.v != nil {
			u.l.uses.add(j.v)
		}
	}
}

func (u *updating) put(name string, f *filing) {
	u.pending[name] = f
	u.seeds = append(u.seeds, name)
}

// now returns the file as it is now; ok is false if it is gone.
func (u *updating) now(name string) (filing, bool) {
	if f, ok := u.pending[name]; ok {
		if f == nil {
			return filing{}, false
		}
		return *f, true
	}
	return u.l.filing(name)
}

// inPlay returns the versions of a file that may be in force before or after
// this Update; some may be nil or the same.
func (u *updating) inPlay(name string) [4]*Revision {
	old, _ := u.l.filing(name)
	f, _ := u.now(name)
	return [4]*Revision{old.newest, old.inForce, f.newest, f.inForce}
}

// component returns the files that share objects with the named one, with those
// that share objects with it, and so on, sorted.
//
// To judge components apart gives what Accept gives for everything at once. Two
// files influence each other only through an object that versions of both
// define: a conflict and its rank depend on the two files that have it, and
// what is refused next is the first of the highest rank, so that among the
// refusals of everything at once those of a component come in the order they
// have when it is judged alone; what is refused elsewhere changes nothing here.
// The same holds for taking refusals back. A component without a changed file
// has been judged before, with the outcome in force now, and would be judged
// the same again; where that is not so, Ledger.again says it. The versions that
// a changed file had before are looked at too, since what it stood against may
// be free now.
func (u *updating) component(name string) []string {
	u.seen[name] = true
	names := []string{name}
	for i := 0; i < len(names); i++ {
		versions := u.inPlay(names[i])
		for j, v := range versions {
			if v == nil || slices.Contains(versions[:j], v) {
				continue
			}
			u.l.uses.with(v, func(other string) {
				if !u.seen[other] {
					u.seen[other] = true
					names = append(names, other)
				}
			})
		}
	}
	slices.Sort(names)
	return names
}

// judge settles a component and files the outcome.
func (u *updating) judge(names []string) {
	files := make([]filing, 0, len(names))
	for _, name := range names {
		if f, ok := u.now(name); ok {
			files = append(files, f)
		} else {
			u.remove(name)
		}
	}
	refused := false
	for i, after := range judged(files) {
		refused = refused || after.status.State != Accepted || len(after.status.Errors) > 0
		u.settle(after)
		files[i] = after
	}
	if !refused {
		return
	}
	for i, f := range judged(files) {
		if f.inForce != files[i].inForce || !sameStatus(f.status, files[i].status) {
			for _, f := range files {
				u.l.again[f.name] = true
			}
			return
		}
	}
}

// judged returns the files as Accept leaves them. They are sorted by name.
func judged(files []filing) []filing {
	a := make(acceptance, len(files))
	for i := range files {
		f := &files[i]
		a[i] = newContender(f.reading, f.inForce, func() (*Revision, []Problem) { return f.newest, f.errs })
	}
	if len(a) > 1 {
		a.settle()
		a.restore()
	}
	after := slices.Clone(files)
	for i, c := range a {
		after[i].inForce, after[i].status = c.chosen(), a.status(c)
	}
	return after
}

func sameStatus(a, b UnitStatus) bool {
	return a.State == b.State && slices.Equal(a.Errors, b.Errors)
}

// settle files the outcome for a file and reports what is new.
func (u *updating) settle(f filing) {
	old, _ := u.l.filing(f.name)
	u.release(f.name, f.newest, f.inForce)
	if old.inForce != f.inForce {
		c := RevisionChange{Name: f.name, Before: old.inForce, After: f.inForce}
		switch {
		case f.inForce == nil:
		case f.inForce == f.newest:
			c.Data = f.data
		default: // what was restored stays, and the caller does not know it
			c.Data = u.l.stored[f.name]
		}
		u.out.Versions = append(u.out.Versions, c)
	}
	if !sameStatus(old.status, f.status) { // that of a new file is accepted
		u.out.Status = append(u.out.Status, f.status)
	}
	u.l.file(f)
}

// remove forgets a file.
func (u *updating) remove(name string) {
	old, _ := u.l.filing(name)
	u.release(name)
	if old.inForce != nil {
		u.out.Versions = append(u.out.Versions, RevisionChange{Name: name, Before: old.inForce})
	}
	delete(u.l.plain, name)
	delete(u.l.odd, name)
}

// release takes the versions of a file out of play but for those that stay.
func (u *updating) release(name string, stay ...*Revision) {
	versions := u.inPlay(name)
	for i, v := range versions {
		if v != nil && !slices.Contains(versions[:i], v) && !slices.Contains(stay, v) {
			u.l.uses.remove(v)
		}
	}
}
