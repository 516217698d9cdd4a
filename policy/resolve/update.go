package resolve

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/internal/multimap"
)

// update is one Update of a Resolver.
type update struct {
	r       *Resolver
	index   *index
	members map[memberKey]*policy.Member // as they were, where something may have changed; nil: there was none
	local   bool                         // the local model is to be made anew
	groups  []policy.Key                 // defined before and after: their rules may differ
	rebuilt bool                         // rebuildGroups found a rule group that differs
}

// memberKey is what identifies a member: its address in its VPC.
type memberKey struct {
	vpc  string
	addr netip.Addr
}

// apply brings the index up to date. VMs are removed first, then subnets and
// groups are exchanged, then VMs are added. So no VM is added while an old one
// still claims its addresses, and every member is remembered before any part of
// it changes.
func (u *update) apply(changes []policy.RevisionChange) {
	for _, c := range changes {
		if c.Before != nil {
			for i := range c.Before.Objects.VirtualMachines {
				u.remove(&c.Before.Objects.VirtualMachines[i])
			}
		}
	}
	subnets := changedObjects(changes, func(o *policy.Objects) []policy.Subnet { return o.Subnets }, func(s *policy.Subnet) policy.Key { return s.Key })
	if len(subnets) > 0 {
		u.setSubnets(subnets)
	}
	groups := changedObjects(changes, func(o *policy.Objects) []policy.Group { return o.Groups }, func(g *policy.Group) policy.Key { return g.Key })
	if len(groups) > 0 {
		u.setGroups(groups)
	}
	for _, c := range changes {
		if c.After != nil {
			for i := range c.After.Objects.VirtualMachines {
				u.add(&c.After.Objects.VirtualMachines[i])
			}
		}
	}
}

// changedObjects returns the objects of one kind in the revisions before and
// after the changes, by key.
func changedObjects[T any](changes []policy.RevisionChange, of func(*policy.Objects) []T, key func(*T) policy.Key) map[policy.Key]policy.Change[T] {
	var all map[policy.Key]policy.Change[T] // none is made for the many changes without such objects
	each := func(v *policy.Revision, set func(*policy.Change[T], *T)) {
		if v == nil {
			return
		}
		objects := of(&v.Objects)
		for i := range objects {
			if all == nil {
				all = make(map[policy.Key]policy.Change[T])
			}
			k := key(&objects[i])
			c := all[k]
			set(&c, &objects[i])
			all[k] = c
		}
	}
	for _, c := range changes {
		each(c.Before, func(c *policy.Change[T], o *T) { c.Before = o })
		each(c.After, func(c *policy.Change[T], o *T) { c.After = o })
	}
	return all
}

// rememberMember remembers the member with an address before it changes.
func (u *update) rememberMember(vpc string, a netip.Addr) {
	k := memberKey{vpc, a}
	if _, ok := u.members[k]; !ok {
		u.members[k] = u.index.member(k)
	}
}

// addAddrs makes an interface claim its addresses in a VPC.
func (u *update) addAddrs(f ifaceRef, vpc string) {
	if vpc == "" {
		return
	}
	for _, a := range f.iface().Addrs {
		u.rememberMember(vpc, a)
		in := u.index.addrs[vpc]
		if in == nil {
			in = &vpcAddrs{Map: multimap.New[netip.Addr](ifaceRef.compare), vpc: vpc}
			u.index.addrs[vpc] = in
		}
		in.Add(a, f)
	}
}

// removeAddrs makes an interface give up its addresses in a VPC.
func (u *update) removeAddrs(f ifaceRef, vpc string) {
	if vpc == "" {
		return
	}
	for _, a := range f.iface().Addrs {
		u.rememberMember(vpc, a)
		in := u.index.addrs[vpc]
		if in.Remove(a, f); in.Len() == 0 {
			delete(u.index.addrs, vpc)
		}
	}
}

func (u *update) add(vm *policy.VirtualMachine) {
	u.markIfLocal(vm)
	u.index.addToSet(vm)
	if vm.UID != "" {
		u.index.vmsByUID.Add(vm.UID, vm)
	}
	for i := range vm.Interfaces {
		u.index.vmsByID.Add(vm.Interfaces[i].ID, vm)
		f := ifaceRef{vm, i}
		u.addAddrs(f, u.locate(f))
	}
}

func (u *update) remove(vm *policy.VirtualMachine) {
	if vm = u.index.canonical(vm); vm == nil {
		return
	}
	u.markIfLocal(vm)
	for i := range vm.Interfaces {
		f := ifaceRef{vm, i}
		vpc, _ := u.index.locate(f, nil)
		u.removeAddrs(f, vpc)
		u.index.vmsByID.Remove(vm.Interfaces[i].ID, vm)
	}
	if vm.UID != "" {
		u.index.vmsByUID.Remove(vm.UID, vm)
	}
	u.index.removeFromSet(vm)
	delete(u.index.misplaced, vm)
}

// markIfLocal has the local model made anew if a local port may belong to vm.
func (u *update) markIfLocal(vm *policy.VirtualMachine) {
	u.local = u.local || u.r.vmIDs[vm.UID]
	for i := range vm.Interfaces {
		u.local = u.local || u.r.ifaceIDs[vm.Interfaces[i].ID]
	}
}

// locate returns the VPC of an interface and remembers in index.misplaced whether
// there are warnings.
func (u *update) locate(f ifaceRef) string {
	vpc, _ := u.index.locate(f, func(policy.Problem) { u.index.misplaced[f.vm] = true })
	return vpc
}

// setSubnets exchanges subnets and moves the interfaces whose VPC they decide.
func (u *update) setSubnets(changes map[policy.Key]policy.Change[policy.Subnet]) {
	differ := make(map[string]bool) // by namespace: in more than a position
	for k, c := range changes {
		if c.Before == nil || c.After == nil || c.Before.VPC != c.After.VPC || !slices.Equal(c.Before.Prefixes, c.After.Prefixes) {
			differ[k.Namespace] = true
		}
	}
	type location struct {
		ifaceRef
		vpc string
	}
	var before []location
	for _, s := range u.index.sets {
		for vm := range s.vms {
			if !differ[vm.Key.Namespace] && !slices.ContainsFunc(vm.Interfaces, func(n policy.Interface) bool { return differ[n.Subnet.Namespace] }) {
				continue
			}
			delete(u.index.misplaced, vm)
			for i := range vm.Interfaces {
				f := ifaceRef{vm, i}
				vpc, _ := u.index.locate(f, nil)
				before = append(before, location{f, vpc})
			}
		}
	}
	for k, c := range changes {
		if c.After != nil {
			u.index.subnets[k] = c.After
		} else {
			delete(u.index.subnets, k)
		}
	}
	for k := range changes {
		u.index.indexPrefixes(k.Namespace)
	}
	for _, l := range before {
		if vpc := u.locate(l.ifaceRef); vpc != l.vpc {
			u.removeAddrs(l.ifaceRef, l.vpc)
			u.addAddrs(l.ifaceRef, vpc)
		}
	}
	if len(differ) > 0 {
		u.local = true
		clear(u.r.ruleGroups)
	}
}

// setGroups exchanges groups.
func (u *update) setGroups(changes map[policy.Key]policy.Change[policy.Group]) {
	var sets []*groupSet // with a group that begins or ends to exist
	for k, c := range changes {
		if (c.Before == nil) == (c.After == nil) {
			u.groups = append(u.groups, k)
			continue
		}
		// Any rule may refer to the group, and any endpoint be in it.
		u.local = true
		clear(u.r.ruleGroups)
		if k.Name == u.index.opts.DefaultGroup {
			continue // exists in any case
		}
		for s := range u.index.setsOf[k] {
			sets = append(sets, s)
			for vm := range s.vms {
				for i := range vm.Interfaces {
					if vpc, _ := u.index.locate(ifaceRef{vm, i}, nil); vpc != "" {
						for _, a := range vm.Interfaces[i].Addrs {
							u.rememberMember(vpc, a)
						}
					}
				}
			}
		}
	}
	for k, c := range changes {
		if c.After != nil {
			u.index.groups[k] = c.After
		} else {
			delete(u.index.groups, k)
		}
	}
	for _, s := range sets {
		s.groups = u.index.existing(s.listed)
	}
}

// memberChanges compares the remembered members with those of the index now.
func (u *update) memberChanges() []policy.Change[policy.Member] {
	var out []policy.Change[policy.Member]
	for k, before := range u.members {
		after := u.index.member(k)
		if before == after || before != nil && after != nil && before.Equal(after) {
			continue
		}
		out = append(out, policy.Change[policy.Member]{Before: before, After: after})
		u.local = u.local || before != nil && u.r.vms[before.VM] || after != nil && u.r.vms[after.VM]
	}
	slices.SortFunc(out, func(a, b policy.Change[policy.Member]) int {
		return cmp.Or(a.After, a.Before).Compare(cmp.Or(b.After, b.Before))
	})
	return out
}

// setPorts replaces the VM ports.
func (u *update) setPorts(vifs []policy.VIF) {
	r := u.r
	r.vifs = slices.Clone(vifs)
	r.ifaceIDs, r.vmIDs = make(map[string]bool, len(vifs)), make(map[string]bool, len(vifs))
	for _, v := range vifs {
		r.ifaceIDs[v.IfaceID] = v.IfaceID != ""
		r.vmIDs[v.VMID] = v.VMID != ""
	}
	u.local = true
}

// rebuildLocal makes the local model anew. Rule groups that do not differ are
// used again.
func (u *update) rebuildLocal() {
	r := u.r
	for _, k := range u.groups {
		delete(r.ruleGroups, k.String())
	}
	r.local = *r.index.localModel(r.vifs, r.ruleGroups)
	clear(r.ruleGroups)
	for _, g := range r.local.Groups {
		r.ruleGroups[g.ID] = g
	}
	r.vms = make(map[policy.Key]bool)
	for i := range r.local.Endpoints {
		if e := &r.local.Endpoints[i]; e.Known {
			r.vms[e.VM] = true
		}
	}
}

// rebuildGroups makes the rule groups of u.groups anew that some endpoint uses.
func (u *update) rebuildGroups() {
	r := u.r
	for _, k := range u.groups {
		id := k.String()
		before, used := r.ruleGroups[id]
		if !used {
			continue
		}
		after := r.index.ruleGroup(r.index.groups[k])
		if before.Equal(&after) {
			continue
		}
		if !u.rebuilt {
			r.local.Groups, u.rebuilt = slices.Clone(r.local.Groups), true
		}
		i, _ := slices.BinarySearchFunc(r.local.Groups, id, func(g policy.RuleGroup, id string) int { return cmp.Compare(g.ID, id) })
		r.local.Groups[i], r.ruleGroups[id] = after, after
	}
}
