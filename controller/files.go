package controller

import (
	"maps"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/dirsource"
)

// news is where files come from; nil while the first are being read.
func (c *Controller) news() <-chan Files {
	if c.reading {
		return nil
	}
	return c.cfg.Files
}

// reading is what the ledger says of files.
type reading struct {
	files  Files
	change dirsource.Change
}

// takeFiles files what has changed in the directory. The first time, that is
// everything and takes a while, in which other things can be done.
func (c *Controller) takeFiles(f Files) {
	if c.files == nil {
		c.reading = true
		go func() { c.read <- reading{f, c.ledger.Update(f.Changes)} }()
		return
	}
	var change dirsource.Change
	if len(f.Changes) > 0 {
		change = c.ledger.Update(f.Changes)
	}
	c.filed(reading{f, change})
}

// filed takes what the ledger says.
func (c *Controller) filed(r reading) {
	f, change, known := r.files, r.change, c.files != nil
	if f.Err != "" && (!known || f.Err != c.files.Err) {
		c.log.Error("policy directory", zap.String("error", f.Err))
	}
	c.reading = false
	c.noteFiles(change)
	f.Changes = nil
	c.files = &f
	if !known && c.cfg.Store != nil {
		c.unsaved = c.vanished(change.Revisions)
	}
	if known && len(change.Revisions) == 0 {
		c.unchanged()
		return
	}
	c.accepted = policy.Merge(c.accepted, change.Revisions)
	if c.cfg.Store != nil {
		c.unsaved = policy.Merge(c.unsaved, change.Revisions)
		contents := make(map[*policy.Revision][]byte)
		for _, r := range c.unsaved {
			contents[r.After] = c.contents[r.After]
		}
		for i, r := range change.Revisions {
			contents[r.After] = change.Data[i]
		}
		c.contents = contents
	}
	c.released = false
	c.change.begin(f.Since)
	c.dirty = true
}

// vanished are the files in the store of which nothing is in force after the
// first look at the directory.
func (c *Controller) vanished(first []policy.RevisionChange) (gone []policy.RevisionChange) {
	there := map[string]bool{}
	for _, v := range first {
		there[v.Name] = true
	}
	for _, name := range c.stored {
		if !there[name] && !c.ledger.InForce(name) {
			gone = append(gone, policy.RevisionChange{Name: name, Before: &policy.Revision{Name: name}})
		}
	}
	c.stored = nil
	return gone
}

// restore takes over what was accepted before a restart.
func (c *Controller) restore(files []dirsource.File) {
	for _, f := range files {
		c.stored = append(c.stored, f.Name)
	}
	c.ledger.Restore(files)
	if c.cfg.MaxRevoke > 0 && len(c.stored) > 0 {
		// What comes is held against what was in force.
		c.guarded = true
		ch := c.book.Update(c.ledger.Restored().Revisions, nil)
		_, _, _ = c.compiler.Update(ch, flows.Host{}) // nothing is compiled yet
	}
}

// save gives what was accepted to the one who keeps it, after it has been
// enforced: a restart must not release what is held.
func (c *Controller) save() {
	if len(c.unsaved) == 0 || c.cfg.MaxRevoke > 0 && (len(c.accepted) > 0 || c.dirty) {
		return
	}
	s := saving{c.unsaved, c.contents}
	select {
	case waiting := <-c.saves:
		s.changes = policy.Merge(waiting.changes, s.changes)
		maps.Copy(waiting.contents, s.contents)
		s.contents = waiting.contents
	default:
	}
	c.unsaved, c.contents = nil, nil
	c.saves <- s
}

// saving is changes to save, and the contents of their revisions.
type saving struct {
	changes  []policy.RevisionChange
	contents map[*policy.Revision][]byte
}

// keepSaving writes what save hands over, aside from the loop, which disks
// must not hold up, until the channel is closed.
func (c *Controller) keepSaving() {
	for s := range c.saves {
		var changed []dirsource.File
		var removed []string
		for _, v := range s.changes {
			if v.After == nil {
				removed = append(removed, v.Name)
			} else {
				changed = append(changed, dirsource.File{Name: v.Name, Data: s.contents[v.After]})
			}
		}
		if err := c.cfg.Store.Save(changed, removed); err != nil {
			c.log.Error("save accepted files", zap.Error(err))
		}
	}
}
