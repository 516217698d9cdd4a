package policy

import (
	"cmp"
	"slices"
)

// Ledger is Accept kept up to date: it knows every file and the version of it
// that is in force, and the work of a change depends on what the change
// concerns. It keeps no file's bytes but those of a version that is refused for
// a conflict and may come in force later. The zero value is an empty ledger, for
// use by one goroutine at a time.
type Ledger struct {
	plain   map[string]*Revision // files whose newest version is in force, by name
	odd     map[string]*filing   // all others
	uses    uses                 // of the versions in play: newest and in force
	names   names
	stored  map[string][]byte // restored copies that were not looked at yet
	started bool              // Update has been called
	told    bool              // what was restored is known to the caller
	again   map[string]bool   // files to judge again in the next Update
}

// filing is what is known of a file.
type filing struct {
	reading
	newest  *Revision // nil if the content is unknown or does not decode
	errs    []Problem // of decoding
	data    []byte    // of newest, unless it is in force
	inForce *Revision // nil if none
	status  UnitStatus
}

// LedgerChange is what an Update changed, sorted by name.
type LedgerChange struct {
	Versions []RevisionChange // files of which another version is in force now
	// Status is that of the files that are refused, or refused for other
	// reasons than before, and of those that are not refused any more.
	Status []UnitStatus
}

// Restore gives the accepted copies of an earlier run: they are in force before
// the first Update. It must be called before that, if at all. A copy is decoded
// when it is needed; one that does not decode any more is left out.
func (l *Ledger) Restore(files []File) {
	l.stored = make(map[string][]byte, len(files))
	for _, f := range files {
		l.stored[f.Name] = f.Data
	}
}

// Restored returns all that was restored, from nothing, sorted by name. Whoever
// does not ask for it gets what stays of it from the first Update: the changes
// that were returned always add up to what is in force.
func (l *Ledger) Restored() []RevisionChange {
	if l.started || l.told {
		return nil
	}
	l.told = true
	l.make()
	var jobs []job
	changes := make([]RevisionChange, 0, len(l.stored))
	for name, data := range l.stored {
		f := File{Name: name, Data: data}
		jobs = append(jobs, job{f: f, r: readingOf(f)})
	}
	l.names.decode(jobs)
	for i := range jobs {
		if v := jobs[i].v; v != nil {
			changes = append(changes, RevisionChange{Name: v.Name, After: v, Data: jobs[i].f.Data})
		}
	}
	l.stored = nil
	slices.SortFunc(changes, func(a, b RevisionChange) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range changes {
		l.odd[c.Name] = &filing{reading: reading{name: c.Name, unknown: true}, inForce: c.After}
		l.uses.add(c.After)
	}
	return changes
}

func (l *Ledger) make() {
	if l.plain == nil {
		l.plain, l.odd = make(map[string]*Revision), make(map[string]*filing)
		l.again = make(map[string]bool)
		l.uses = newUses()
	}
}

// Update takes what has changed in the directory, at most one change for each
// name; the first time that is the whole directory. What it leaves in force is
// what Accept gives for the whole directory and what was in force before.
func (l *Ledger) Update(changes []FileChange) LedgerChange {
	l.make()
	u := updating{l: l, pending: make(map[string]*filing, len(changes)), seen: make(map[string]bool, len(changes))}
	u.read(changes)
	for name := range l.again {
		if _, ok := u.pending[name]; !ok {
			u.seeds = append(u.seeds, name)
		}
	}
	clear(l.again)
	slices.Sort(u.seeds)
	for _, name := range u.seeds {
		if !u.seen[name] {
			u.judge(u.component(name))
		}
	}
	l.started, l.stored = true, nil
	slices.SortFunc(u.out.Versions, func(a, b RevisionChange) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(u.out.Status, func(a, b UnitStatus) int { return cmp.Compare(a.Name, b.Name) })
	return u.out
}

// Status returns what became of every file, sorted by name.
func (l *Ledger) Status() []UnitStatus {
	if !l.started {
		return nil
	}
	all := make([]UnitStatus, 0, len(l.plain)+len(l.odd))
	for name := range l.plain {
		all = append(all, UnitStatus{Name: name})
	}
	for _, f := range l.odd {
		all = append(all, f.status)
	}
	slices.SortFunc(all, func(a, b UnitStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// filing returns what is known of a file; ok is false if it is not known.
func (l *Ledger) filing(name string) (f filing, ok bool) {
	if v := l.plain[name]; v != nil {
		return filing{reading: reading{name: v.Name, sum: v.Sum}, newest: v, inForce: v, status: UnitStatus{Name: v.Name}}, true
	}
	if f := l.odd[name]; f != nil {
		return *f, true
	}
	return filing{}, false
}

// file puts f in the place of what was known of the file.
func (l *Ledger) file(f filing) {
	if f.status.State == Accepted && f.newest == f.inForce {
		l.plain[f.name] = f.inForce
		delete(l.odd, f.name)
		return
	}
	odd := f
	if f.newest == f.inForce {
		odd.data = nil
	}
	l.odd[f.name] = &odd
	delete(l.plain, f.name)
}
