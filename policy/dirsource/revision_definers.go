package dirsource

import (
	"hash/maphash"
	"iter"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/multimap"
)

// definers has the revisions that claim each thing, by a hash of its ID, which takes
// little memory. Two IDs with the same hash, and claims of one ID that are not
// against each other, join components that could be judged apart; the outcome is
// the same.
type definers struct {
	seed      maphash.Seed
	revisions multimap.Map[uint64, *policy.Revision]
}

func newDefiners() definers {
	return definers{seed: maphash.MakeSeed(), revisions: multimap.New[uint64, *policy.Revision](nil)}
}

// claims iterates over the hashes of what v claims.
func (d *definers) claims(v *policy.Revision) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, o := range v.Objects.Claims() {
			if !yield(maphash.Comparable(d.seed, o.ID)) {
				return
			}
		}
	}
}

func (d *definers) add(v *policy.Revision) {
	for h := range d.claims(v) {
		d.revisions.Add(h, v)
	}
}

func (d *definers) remove(v *policy.Revision) {
	for h := range d.claims(v) {
		d.revisions.Remove(h, v)
	}
}

// sharing iterates over the name of every file with a revision that claims what
// v claims. A name may come several times.
func (d *definers) sharing(v *policy.Revision) iter.Seq[string] {
	return func(yield func(string) bool) {
		for h := range d.claims(v) {
			for o := range d.revisions.Values(h) {
				if !yield(o.Name) {
					return
				}
			}
		}
	}
}
