package dirsource

import "github.com/ovs-sg/ovs-sg/policy"

// candidate is a file and the two revisions of it that may be in force.
type candidate struct {
	name     string
	newest   *policy.Revision  // nil if it cannot be decoded
	previous *policy.Revision  // nil if there is none
	useNew   bool              // newest is chosen, not previous
	has      map[claimKey]bool // what previous claims
	errors   []policy.Problem  // other than conflicts
}

// claimKey is what a revision claims, and where.
type claimKey struct {
	policy.ClaimID
	subnet policy.Key
}

func keyOf(c policy.Claim) claimKey { return claimKey{c.ID, c.Subnet} }

// newCandidate returns the candidate for a file, with the newest revision chosen
// if that revision may be in force. decode is called only if the content is not
// that of previous.
func newCandidate(r content, previous *policy.Revision, decode func() (*policy.Revision, []policy.Problem)) *candidate {
	c := &candidate{name: r.name, previous: previous}
	if previous != nil {
		c.has = make(map[claimKey]bool)
		for _, o := range previous.Objects.Claims() {
			c.has[keyOf(o)] = true
		}
	}
	if r.blank && r.unreadable == "" && len(c.has) > 0 {
		// A file that is being written in place looks like this, or a full disk.
		c.errors = append(c.errors, policy.Problem{Pos: policy.Position{File: r.name},
			Reason: "empty, where something is in force: remove the file to revoke it"})
		return c
	}
	if r.unreadable != "" {
		c.errors = append(c.errors, policy.Problem{Pos: policy.Position{File: r.name}, Reason: "cannot be read: " + r.unreadable})
		if r.unknown {
			return c
		}
	}
	if previous != nil && previous.Sum == r.sum {
		c.newest = previous
	} else if v, errs := decode(); len(errs) > 0 {
		c.errors = append(c.errors, errs...)
	} else if errs := takenWithin(previous, v); len(errs) > 0 {
		c.errors = append(c.errors, errs...)
	} else {
		c.newest = v
	}
	c.useNew = c.newest != nil
	return c
}

// takenWithin returns what a virtual machine claims in the file now that another
// one claimed before and claims still, as errors.
func takenWithin(before, after *policy.Revision) (errs []policy.Problem) {
	if before == nil || after == nil || len(after.Objects.VirtualMachines) < 2 {
		return nil
	}
	type holding struct {
		claimKey
		by policy.Key
	}
	had := make(map[holding]bool)
	for _, c := range before.Objects.Claims() {
		had[holding{keyOf(c), c.Object.Key}] = true
	}
	seen := make(map[policy.ClaimID][]policy.Claim)
	for _, c := range after.Objects.Claims() {
		for _, o := range seen[c.ID] {
			switch mine, other := had[holding{keyOf(c), c.Object.Key}], had[holding{keyOf(o), o.Object.Key}]; {
			case mine == other || !c.Against(&o):
			case mine:
				errs = append(errs, policy.ClaimedTwice(&o, &c))
			default:
				errs = append(errs, policy.ClaimedTwice(&c, &o))
			}
		}
		seen[c.ID] = append(seen[c.ID], c)
	}
	return errs
}

// chosen returns the revision that is to be in force, or nil.
func (c *candidate) chosen() *policy.Revision {
	if c.useNew {
		return c.newest
	}
	return c.previous
}

// settled reports whether the choice is final, because the previous revision is
// chosen.
func (c *candidate) settled() bool { return !c.useNew || c.newest == c.previous }

// candidates are the files that may claim the same, sorted by name.
type candidates []*candidate

// claimant is a claim of the chosen revision of a candidate.
type claimant struct {
	by    *candidate
	claim policy.Claim
}

// settle refuses newest revisions until nothing is claimed twice. Conflicts
// with a revision that is certain to stay come first.
func (a candidates) settle() {
	for c := a.nextRefused(); c != nil; c = a.nextRefused() {
		if c.settled() {
			c.previous = nil // two previous revisions claim the same
		}
		c.useNew = false
	}
}

// nextRefused returns the candidate to refuse next, or nil if nothing is claimed
// twice. Of several conflicts it takes the first of the highest rank.
func (a candidates) nextRefused() *candidate {
	var refused *candidate
	best := -1
	first := make(map[policy.ClaimID][]claimant)
	for _, c := range a {
		v := c.chosen()
		if v == nil {
			continue
		}
		for _, o := range v.Objects.Claims() {
			mine, free := claimant{c, o}, true
			for _, other := range first[o.ID] {
				if other.by == c || !o.Against(&other.claim) || shared(mine, other) {
					continue
				}
				free = false
				win, lose := other, mine
				if prefer(mine, other) {
					win, lose = mine, other
				}
				rank := 0 // the newest revision of either may be refused
				switch {
				case win.by.settled():
					rank = 2 // win is certain to stay
				case win.had():
					rank = 1 // win had the object before
				}
				if rank > best {
					refused, best = lose.by, rank
				}
			}
			if free {
				first[o.ID] = append(first[o.ID], mine)
			}
		}
	}
	return refused
}

// shared reports whether two files had what both claim before already, other than an
// object. Releases without claims let that be; the resolver says which of them has it.
func shared(a, b claimant) bool {
	return a.claim.ID.Kind != a.claim.Object.Kind && a.had() && b.had()
}

// had reports whether the previous revision claimed the same.
func (c *claimant) had() bool { return c.by.has[keyOf(c.claim)] }

// prefer reports whether a has what both claim, rather than b. The name of b's file
// sorts before that of a's.
func prefer(a, b claimant) bool {
	if a.by.settled() != b.by.settled() {
		return a.by.settled()
	}
	return a.had() && !b.had()
}

// restore takes back the refusals whose reason is gone: the revision that a file
// was in conflict with was refused later.
func (a candidates) restore() {
	for again := true; again; {
		again = false
		for _, c := range a {
			if c.useNew || c.newest == nil {
				continue
			}
			c.useNew = true
			if a.nextRefused() == nil {
				again = true
			} else {
				c.useNew = false
			}
		}
	}
}

// conflicts returns the claims in force that the newest revision of c repeats, as
// errors; none if that revision is chosen.
func (a candidates) conflicts(c *candidate) []policy.Problem {
	if c.useNew || c.newest == nil {
		return nil
	}
	mine := make(map[policy.ClaimID][]policy.Claim)
	for _, o := range c.newest.Objects.Claims() {
		mine[o.ID] = append(mine[o.ID], o)
	}
	var ps []policy.Problem
	for _, other := range a {
		v := other.chosen()
		if v == nil || other == c {
			continue
		}
		for _, o := range v.Objects.Claims() {
			for _, m := range mine[o.ID] {
				if m.Against(&o) {
					ps = append(ps, policy.ClaimedTwice(&m, &o))
				}
			}
		}
	}
	return ps
}

// status returns the state of c.
func (a candidates) status(c *candidate) policy.UnitStatus {
	s := policy.UnitStatus{Name: c.name, Errors: policy.SortProblems(append(a.conflicts(c), c.errors...))}
	switch {
	case c.chosen() == nil:
		s.State = policy.Rejected
	case len(s.Errors) > 0:
		s.State = policy.Kept
	}
	return s
}
