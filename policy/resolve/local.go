package resolve

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/policy"
)

// localModel returns the model without its Members. Rule groups are taken from
// ruleGroups, by ID; those that are missing there are made and added.
func (x *index) localModel(vifs []policy.VIF, ruleGroups map[string]policy.RuleGroup) *policy.Model {
	b := &modelBuilder{index: x, ruleGroups: ruleGroups, used: make(map[string]bool)}
	m := &policy.Model{}
	vifs = b.ports(vifs)
	owners := b.identify(vifs)
	for i, v := range vifs {
		e := policy.Endpoint{VIF: v.Name, OFPort: v.OFPort, Tag: v.Tag, MAC: v.MAC}
		if owners[i].vm != nil {
			b.fill(&e, v, owners[i])
		}
		if e.MAC.IsMulticast() {
			b.warn(v, "attached-mac %s is a multicast address: refused", e.MAC)
			e.MAC = policy.MAC{}
		}
		m.Endpoints = append(m.Endpoints, e)
	}
	b.shareMACs(m.Endpoints, vifs)
	b.shareAddrs(m.Endpoints, vifs)
	for id := range b.used {
		m.Groups = append(m.Groups, ruleGroups[id])
	}
	slices.SortFunc(m.Groups, func(a, b policy.RuleGroup) int { return cmp.Compare(a.ID, b.ID) })
	m.Problems = policy.SortProblems(b.problems)
	return m
}

// shareMACs leaves each MAC of a VLAN to one endpoint: to a port that has it as
// attached-mac before one that has it by a manifest alone, then to the lower
// OpenFlow port number. vifs are those of the endpoints.
func (b *modelBuilder) shareMACs(endpoints []policy.Endpoint, vifs []policy.VIF) {
	macs := make(map[tagMAC]string)
	for _, attached := range []bool{true, false} {
		for i, v := range vifs {
			e := &endpoints[i]
			if e.MAC.IsZero() || v.MAC.IsZero() == attached {
				continue
			}
			if other, taken := macs[tagMAC{v.Tag, e.MAC}]; taken {
				b.warn(v, "MAC %s is already used by %s in the same VLAN: refused", e.MAC, other)
				e.MAC = policy.MAC{}
			} else {
				macs[tagMAC{v.Tag, e.MAC}] = v.Name
			}
		}
	}
}

// shareAddrs leaves each address of a VLAN to one endpoint, that with the lowest
// OpenFlow port number: interfaces of several VPCs may meet in a VLAN. vifs are
// those of the endpoints.
func (b *modelBuilder) shareAddrs(endpoints []policy.Endpoint, vifs []policy.VIF) {
	users := make(map[tagAddr]string)
	for i, v := range vifs {
		e := &endpoints[i]
		var own []netip.Addr
		for _, a := range e.Addrs {
			if other, taken := users[tagAddr{v.Tag, a}]; taken {
				b.warn(v, "address %s is already used by %s in the same VLAN: refused", a, other)
				continue
			}
			users[tagAddr{v.Tag, a}] = v.Name
			own = append(own, a)
		}
		e.Addrs = own
	}
}

type tagAddr struct {
	tag  uint16
	addr netip.Addr
}

type tagMAC struct {
	tag uint16
	mac policy.MAC
}

// modelBuilder collects the model that localModel returns.
type modelBuilder struct {
	index      *index
	ruleGroups map[string]policy.RuleGroup // by ID
	used       map[string]bool             // IDs of rule groups
	problems   []policy.Problem
}

func (b *modelBuilder) warn(v policy.VIF, format string, args ...any) {
	b.problems = append(b.problems, policy.Problem{
		Object: "VIF " + v.Name, Reason: fmt.Sprintf(format, args...), Warning: true,
	})
}

// ports returns the VIFs in order, each OFPort once.
func (b *modelBuilder) ports(vifs []policy.VIF) []policy.VIF {
	sorted := slices.Clone(vifs)
	slices.SortFunc(sorted, func(a, b policy.VIF) int {
		return cmp.Or(cmp.Compare(a.OFPort, b.OFPort), cmp.Compare(a.Name, b.Name), cmp.Compare(a.IfaceID, b.IfaceID),
			cmp.Compare(a.VMID, b.VMID), slices.Compare(a.MAC[:], b.MAC[:]), cmp.Compare(a.Tag, b.Tag))
	})
	out := sorted[:0]
	for _, v := range sorted {
		switch {
		case v.OFPort == 0:
			b.warn(v, "has no OpenFlow port: ignored")
		case len(out) > 0 && out[len(out)-1].OFPort == v.OFPort:
			b.warn(v, "OpenFlow port %d is already that of %s: ignored", v.OFPort, out[len(out)-1].Name)
		default:
			out = append(out, v)
		}
	}
	return out
}

// identify returns the interface of every VIF, which has no VM if the VIF belongs
// to no interface. vifs are sorted.
func (b *modelBuilder) identify(vifs []policy.VIF) []placed {
	owners := make([]placed, len(vifs))
	user := make(map[ifaceRef]policy.VIF)
	give := func(i int, owner placed) {
		if v, mac := vifs[i], owner.iface().MAC; !v.MAC.IsZero() && !mac.IsZero() && v.MAC != mac {
			b.warn(v, "attached-mac %s differs from macAddress %s of VM %s: refused", v.MAC, mac, owner.vm.Key)
			return
		}
		if other, taken := user[owner.ifaceRef]; taken {
			b.warn(vifs[i], "is a second port of interface %q of VM %s, which has port %s: refused", owner.iface().ID, owner.vm.Key, other.Name)
			return
		}
		user[owner.ifaceRef] = vifs[i]
		owners[i] = owner
	}
	var rest []int
	for i, v := range vifs {
		if v.IfaceID != "" {
			if owner, ok := b.index.byID(v.IfaceID); ok {
				give(i, owner)
				continue
			}
		}
		rest = append(rest, i)
	}
	for _, i := range rest {
		v := vifs[i]
		if v.VMID == "" {
			continue
		}
		candidates := b.index.byUID(v.VMID)
		if len(candidates) == 0 {
			continue
		}
		if len(candidates) > 1 {
			candidates = withMAC(candidates, v.MAC)
		}
		if len(candidates) != 1 {
			b.warn(v, "vm-id %q is that of a VM with several interfaces and attached-mac %s does not say which: refused", v.VMID, v.MAC)
			continue
		}
		give(i, candidates[0])
	}
	return owners
}

// withMAC returns the candidates whose manifest gives mac as their address.
func withMAC(candidates []placed, mac policy.MAC) []placed {
	var out []placed
	for _, c := range candidates {
		if c.iface().MAC == mac && !mac.IsZero() {
			out = append(out, c)
		}
	}
	return out
}

// fill sets in e what the objects say about the interface x of port v.
func (b *modelBuilder) fill(e *policy.Endpoint, v policy.VIF, x placed) {
	vm, mac := x.vm, x.iface().MAC
	e.VM, e.Known = vm.Key, true
	e.VPC, e.Subnets, e.Addrs = x.vpc, x.subnets, x.addrs
	if !mac.IsZero() {
		e.MAC = mac
	}
	if v.VMID != "" && vm.UID != "" && v.VMID != vm.UID {
		b.warn(v, "vm-id %q is not the uid of VM %s, whose iface-id it has", v.VMID, vm.Key)
	}
	for _, k := range b.index.groupsOf(vm) {
		if b.index.groupExists(k) {
			e.Groups = append(e.Groups, b.group(k, x))
		}
	}
	slices.Sort(e.Groups)
	e.Groups = slices.Compact(e.Groups)
}

// group makes the rule group of k for interface x and returns its ID.
func (b *modelBuilder) group(k policy.Key, x placed) string {
	g := b.index.groups[k]
	if g == nil {
		return b.builtIn(k, x)
	}
	id := k.String()
	if b.use(id) {
		b.ruleGroups[id] = b.index.ruleGroup(g)
	}
	return id
}

// use marks a rule group as used and reports whether it must be made.
func (b *modelBuilder) use(id string) bool {
	b.used[id] = true
	_, ok := b.ruleGroups[id]
	return !ok
}

// ruleGroup returns the rule group of a group that a manifest defines.
func (x *index) ruleGroup(g *policy.Group) policy.RuleGroup {
	rg := policy.RuleGroup{ID: g.Key.String()}
	for i := range g.Rules {
		rule := &g.Rules[i]
		if to, ok := x.remote(rule.Remote); ok {
			rg.Rules = append(rg.Rules, policy.ResolvedRule{
				Group: rg.ID, Name: rule.Name, Direction: rule.Direction, Protocol: rule.Protocol,
				Ports: rule.Ports, Remote: to,
			})
		}
	}
	return rg
}

// remote looks a remote up; ok is false if it refers to nothing.
func (x *index) remote(rem policy.Remote) (out policy.ResolvedRemote, ok bool) {
	switch rem.Kind {
	case policy.RemoteAnywhere:
		return policy.ResolvedRemote{Kind: policy.ResolvedAnywhere}, true
	case policy.RemoteCIDR:
		return prefixes(rem.Prefix), true
	case policy.RemoteGroup:
		return policy.ResolvedRemote{Kind: policy.ResolvedMembers, Group: rem.Ref.String()}, x.groupExists(rem.Ref)
	case policy.RemoteSubnet:
		if s := x.subnets[rem.Ref]; s != nil {
			return prefixes(s.Prefixes...), true
		}
	}
	return policy.ResolvedRemote{}, false
}

// builtIn makes the built-in default group k for interface x and returns its
// ID.
func (b *modelBuilder) builtIn(k policy.Key, x placed) string {
	id := k.String()
	var from []*policy.Subnet // ingress is allowed from these
	ingress := ""             // the name of the rule
	switch b.index.opts.DefaultContent {
	case policy.OwnSubnet:
		ingress = "own-subnet"
		var names []string
		for _, sk := range x.subnets {
			from = append(from, b.index.subnets[sk])
			names = append(names, sk.String())
		}
		id += "[" + strings.Join(names, ",") + "]"
	case policy.WholeVPC:
		ingress = "whole-vpc"
		id += "[vpc " + x.vpc + "]"
		from = b.index.subnetsIn(x.vpc)
	}
	if !b.use(id) {
		return id
	}
	rg := policy.RuleGroup{ID: id}
	if b.index.opts.DefaultContent != policy.Nothing {
		rg.Rules = append(rg.Rules, policy.ResolvedRule{
			Group: k.String(), Name: "all-egress", Direction: policy.Egress, Ports: policy.AllPorts,
		})
	}
	var blocks []netip.Prefix
	for _, s := range from {
		blocks = append(blocks, s.Prefixes...)
	}
	if len(blocks) > 0 {
		rg.Rules = append(rg.Rules, policy.ResolvedRule{
			Group: k.String(), Name: ingress, Direction: policy.Ingress, Ports: policy.AllPorts, Remote: prefixes(blocks...),
		})
	}
	b.ruleGroups[id] = rg
	return id
}

// prefixes returns the remote that stands for the addresses in ps.
func prefixes(ps ...netip.Prefix) policy.ResolvedRemote {
	ps = slices.Clone(ps)
	for i := range ps {
		ps[i] = ps[i].Masked()
	}
	slices.SortFunc(ps, netip.Prefix.Compare)
	return policy.ResolvedRemote{Kind: policy.ResolvedPrefixes, Prefixes: slices.Compact(ps)}
}
