package dirsource

import (
	"hash/maphash"
	"iter"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/multimap"
)

// definers has the revisions that define each object, by a hash of the object,
// which takes little memory. Two objects with the same hash join components that
// could be judged apart; the outcome is the same.
type definers struct {
	seed      maphash.Seed
	revisions multimap.Map[uint64, *policy.Revision]
}

func newDefiners() definers {
	return definers{seed: maphash.MakeSeed(), revisions: multimap.New[uint64, *policy.Revision](nil)}
}

// objects iterates over the hashes of the objects that v defines.
func (d *definers) objects(v *policy.Revision) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, o := range v.Objects.Definitions() {
			if !yield(maphash.Comparable(d.seed, o.ID())) {
				return
			}
		}
	}
}

func (d *definers) add(v *policy.Revision) {
	for h := range d.objects(v) {
		d.revisions.Add(h, v)
	}
}

func (d *definers) remove(v *policy.Revision) {
	for h := range d.objects(v) {
		d.revisions.Remove(h, v)
	}
}

// sharing iterates over the name of every file with a revision that defines an
// object of v. A name may come several times.
func (d *definers) sharing(v *policy.Revision) iter.Seq[string] {
	return func(yield func(string) bool) {
		for h := range d.objects(v) {
			for o := range d.revisions.Values(h) {
				if !yield(o.Name) {
					return
				}
			}
		}
	}
}
