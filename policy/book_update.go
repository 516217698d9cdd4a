package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// bookUpdate is one Update of a Book.
type bookUpdate struct {
	b       *Book
	x       *catalog
	members map[claim]*Member // as they were, where something may have changed; nil for none
	local   bool              // local ports are concerned
	touched []Key             // groups with another content
	remade  bool              // some rule group differs
}

// apply brings the catalog up to date. What is in the way of something that comes
// has gone before it: VMs go, subnets and groups go and come, VMs come. All
// that a member is made of is thus noted before the first part of it changes.
func (u *bookUpdate) apply(versions []RevisionChange) {
	for _, v := range versions {
		if v.Before != nil {
			for i := range v.Before.Objects.VirtualMachines {
				u.remove(&v.Before.Objects.VirtualMachines[i])
			}
		}
	}
	subnets := exchanged(versions, func(o *Objects) []Subnet { return o.Subnets }, func(s *Subnet) Key { return s.Key })
	if len(subnets) > 0 {
		u.subnets(subnets)
	}
	groups := exchanged(versions, func(o *Objects) []Group { return o.Groups }, func(g *Group) Key { return g.Key })
	if len(groups) > 0 {
		u.groups(groups)
	}
	for _, v := range versions {
		if v.After != nil {
			for i := range v.After.Objects.VirtualMachines {
				u.add(&v.After.Objects.VirtualMachines[i])
			}
		}
	}
}

// exchanged returns the objects of one kind that go or come, by key.
func exchanged[T any](versions []RevisionChange, of func(*Objects) []T, key func(*T) Key) map[Key]Change[T] {
	var all map[Key]Change[T]
	put := func(v *Revision, set func(*Change[T], *T)) {
		if v == nil {
			return
		}
		objects := of(&v.Objects)
		for i := range objects {
			if all == nil {
				all = make(map[Key]Change[T])
			}
			k := key(&objects[i])
			c := all[k]
			set(&c, &objects[i])
			all[k] = c
		}
	}
	for _, v := range versions {
		put(v.Before, func(c *Change[T], o *T) { c.Before = o })
		put(v.After, func(c *Change[T], o *T) { c.After = o })
	}
	return all
}

// note remembers the member with an address before it changes.
func (u *bookUpdate) note(vpc string, a netip.Addr) {
	c := claim{vpc, a}
	if _, ok := u.members[c]; !ok {
		u.members[c] = u.x.member(vpc, a)
	}
}

// hold makes an interface claim its addresses in a VPC, or no longer.
func (u *bookUpdate) hold(c claimant, vpc string, hold bool) {
	if vpc == "" {
		return
	}
	for _, a := range c.vm.Interfaces[c.n].Addrs {
		u.note(vpc, a)
		in := u.x.addrs[vpc]
		if hold {
			if in == nil {
				in = &vpcAddrs{claims: newClaims[netip.Addr, claimant](), vpc: vpc}
				u.x.addrs[vpc] = in
			}
			in.add(a, c)
		} else if in.remove(a, c); len(in.first) == 0 {
			delete(u.x.addrs, vpc)
		}
	}
}

func (u *bookUpdate) add(vm *VirtualMachine) {
	x := u.x
	u.concerns(vm)
	x.join(vm)
	if vm.UID != "" {
		x.uids.add(vm.UID, vm)
	}
	for i := range vm.Interfaces {
		c := claimant{vm, i}
		x.ids.add(vm.Interfaces[i].ID, vm)
		u.hold(c, u.locate(c), true)
	}
}

func (u *bookUpdate) remove(vm *VirtualMachine) {
	x := u.x
	if vm = x.own(vm); vm == nil {
		return
	}
	u.concerns(vm)
	for i := range vm.Interfaces {
		c := claimant{vm, i}
		vpc, _ := locate(x, vm, i, nil)
		u.hold(c, vpc, false)
		x.ids.remove(vm.Interfaces[i].ID, vm)
	}
	if vm.UID != "" {
		x.uids.remove(vm.UID, vm)
	}
	x.leave(vm)
	delete(x.flawed, vm)
}

// concerns looks whether local ports may be found by vm.
func (u *bookUpdate) concerns(vm *VirtualMachine) {
	u.local = u.local || u.b.uids[vm.UID]
	for i := range vm.Interfaces {
		u.local = u.local || u.b.ids[vm.Interfaces[i].ID]
	}
}

// locate is the function locate, which remembers where there are warnings.
func (u *bookUpdate) locate(c claimant) string {
	flawed := false
	vpc, _ := locate(u.x, c.vm, c.n, func(Problem) { flawed = true })
	if flawed {
		u.x.flawed[c.vm] = true
	}
	return vpc
}

// subnets exchanges subnets, and the places of the interfaces that these decide.
func (u *bookUpdate) subnets(all map[Key]Change[Subnet]) {
	differ := make(map[string]bool) // by namespace: in more than a position
	for k, c := range all {
		if c.Before == nil || c.After == nil || c.Before.VPC != c.After.VPC || !slices.Equal(c.Before.Prefixes, c.After.Prefixes) {
			differ[k.Namespace] = true
		}
	}
	type home struct {
		claimant
		vpc string
	}
	var homes []home
	for _, s := range u.x.sets {
		for vm := range s.vms.all {
			if !differ[vm.Key.Namespace] && !slices.ContainsFunc(vm.Interfaces, func(n Interface) bool { return differ[n.Subnet.Namespace] }) {
				continue
			}
			delete(u.x.flawed, vm)
			for i := range vm.Interfaces {
				vpc, _ := locate(u.x, vm, i, nil)
				homes = append(homes, home{claimant{vm, i}, vpc})
			}
		}
	}
	for k, c := range all {
		if c.After != nil {
			u.x.subnets[k] = c.After
		} else {
			delete(u.x.subnets, k)
		}
	}
	for k := range all {
		u.x.block(k.Namespace)
	}
	for _, h := range homes {
		if vpc := u.locate(h.claimant); vpc != h.vpc {
			u.hold(h.claimant, h.vpc, false)
			u.hold(h.claimant, vpc, true)
		}
	}
	if len(differ) > 0 {
		u.local = true
		clear(u.b.known)
	}
}

// groups exchanges groups.
func (u *bookUpdate) groups(all map[Key]Change[Group]) {
	var sets []*groupSet // whose existing groups change
	for k, c := range all {
		if (c.Before == nil) == (c.After == nil) {
			u.touched = append(u.touched, k)
			continue
		}
		// Rules that refer to it, and endpoints that are in it, may be any.
		u.local = true
		clear(u.b.known)
		if k.Name == u.x.opts.DefaultGroup {
			continue // exists anyway
		}
		for s := range u.x.setsOf[k] {
			sets = append(sets, s)
			for vm := range s.vms.all {
				for i := range vm.Interfaces {
					if vpc, _ := locate(u.x, vm, i, nil); vpc != "" {
						for _, a := range vm.Interfaces[i].Addrs {
							u.note(vpc, a)
						}
					}
				}
			}
		}
	}
	for k, c := range all {
		if c.After != nil {
			u.x.groups[k] = c.After
		} else {
			delete(u.x.groups, k)
		}
	}
	for _, s := range sets {
		s.groups = existing(u.x, s.listed)
	}
}

// memberChanges compares the members that were noted with those there are now.
func (u *bookUpdate) memberChanges() []Change[Member] {
	var out []Change[Member]
	for c, before := range u.members {
		after := u.x.member(c.vpc, c.addr)
		if before == after || before != nil && after != nil && before.Equal(after) {
			continue
		}
		out = append(out, Change[Member]{before, after})
		u.local = u.local || before != nil && u.b.vms[before.VM] || after != nil && u.b.vms[after.VM]
	}
	slices.SortFunc(out, func(a, b Change[Member]) int {
		return compareMembers(*cmp.Or(a.After, a.Before), *cmp.Or(b.After, b.Before))
	})
	return out
}

// ports takes other ports.
func (u *bookUpdate) ports(vifs []VIF) {
	b := u.b
	b.vifs = slices.Clone(vifs)
	b.ids, b.uids = make(map[string]bool, len(vifs)), make(map[string]bool, len(vifs))
	for _, v := range vifs {
		b.ids[v.IfaceID] = v.IfaceID != ""
		b.uids[v.VMID] = v.VMID != ""
	}
	u.local = true
}

// resolve makes the local model anew; rule groups that are as they were are
// used again.
func (u *bookUpdate) resolve() {
	b := u.b
	for _, k := range u.touched {
		delete(b.known, k.String())
	}
	b.local = *resolve(u.x, b.vifs, b.known)
	clear(b.known)
	for _, g := range b.local.Groups {
		b.known[g.ID] = g
	}
	b.vms = make(map[Key]bool)
	for i := range b.local.Endpoints {
		if e := &b.local.Endpoints[i]; e.Known {
			b.vms[e.VM] = true
		}
	}
}

// remake makes the rule groups with another content anew.
func (u *bookUpdate) remake() {
	b := u.b
	for _, k := range u.touched {
		id := k.String()
		before, used := b.known[id]
		if !used {
			continue
		}
		after := ruleGroup(u.x, u.x.groups[k])
		if before.Equal(&after) {
			continue
		}
		if !u.remade {
			b.local.Groups, u.remade = slices.Clone(b.local.Groups), true
		}
		i, _ := slices.BinarySearchFunc(b.local.Groups, id, func(g RuleGroup, id string) int { return cmp.Compare(g.ID, id) })
		b.local.Groups[i], b.known[id] = after, after
	}
}
