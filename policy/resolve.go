package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Resolve joins p with the VM ports of this host. Its work grows with the
// ports and the rules of their groups; what the manifests alone decide was
// worked out by New. The Members are shared between the Models of a Policy.
//
// A port belongs to an interface by its iface-id, else by its vm-id; ports are
// taken in the order of OFPort, all iface-ids first, and an interface belongs
// to one port only. A port that gets no interface is an Endpoint that is not
// Known.
func (p *Policy) Resolve(vifs []VIF) *Model {
	r := &resolver{p: p, groups: make(map[string]RuleGroup)}
	m := &Model{Members: p.members}
	vifs = r.ports(vifs)
	owners := r.identify(vifs)
	macs := make(map[tagMAC]string)
	for i, v := range vifs {
		e := Endpoint{VIF: v.Name, OFPort: v.OFPort, Tag: v.Tag, MAC: v.MAC}
		if owners[i] >= 0 {
			r.fill(&e, v, p.placed[owners[i]])
		}
		if e.MAC.IsMulticast() {
			r.warn(v, "attached-mac %s is a multicast address: refused", e.MAC)
			e.MAC = MAC{}
		}
		if key := (tagMAC{v.Tag, e.MAC}); !e.MAC.IsZero() {
			if other, taken := macs[key]; taken {
				r.warn(v, "MAC %s is already used by %s in the same VLAN: refused", e.MAC, other)
				e.MAC = MAC{}
			} else {
				macs[key] = v.Name
			}
		}
		m.Endpoints = append(m.Endpoints, e)
	}
	for _, g := range r.groups {
		m.Groups = append(m.Groups, g)
	}
	slices.SortFunc(m.Groups, func(a, b RuleGroup) int { return cmp.Compare(a.ID, b.ID) })
	m.Problems = sortProblems(r.problems)
	return m
}

type tagMAC struct {
	tag uint16
	mac MAC
}

// resolver collects what one Resolve finds.
type resolver struct {
	p        *Policy
	groups   map[string]RuleGroup // by ID
	problems []Problem
}

func (r *resolver) warn(v VIF, format string, args ...any) {
	r.problems = append(r.problems, Problem{
		Object: "VIF " + v.Name, Reason: fmt.Sprintf(format, args...), Warning: true,
	})
}

// ports returns the VIFs in order, each OFPort once.
func (r *resolver) ports(vifs []VIF) []VIF {
	sorted := slices.Clone(vifs)
	slices.SortFunc(sorted, func(a, b VIF) int {
		return cmp.Or(cmp.Compare(a.OFPort, b.OFPort), cmp.Compare(a.Name, b.Name), cmp.Compare(a.IfaceID, b.IfaceID),
			cmp.Compare(a.VMID, b.VMID), slices.Compare(a.MAC[:], b.MAC[:]), cmp.Compare(a.Tag, b.Tag))
	})
	out := sorted[:0]
	for _, v := range sorted {
		switch {
		case v.OFPort == 0:
			r.warn(v, "has no OpenFlow port: ignored")
		case len(out) > 0 && out[len(out)-1].OFPort == v.OFPort:
			r.warn(v, "OpenFlow port %d is already that of %s: ignored", v.OFPort, out[len(out)-1].Name)
		default:
			out = append(out, v)
		}
	}
	return out
}

// identify finds the interface of every VIF: an index into Policy.placed, or
// -1. vifs are sorted.
func (r *resolver) identify(vifs []VIF) []int {
	byID := make(map[string]int)
	byUID := make(map[string][]int)
	for i, x := range r.p.placed {
		if x.id != "" {
			byID[x.id] = i
		}
		if x.uid != "" {
			byUID[x.uid] = append(byUID[x.uid], i)
		}
	}
	owners := make([]int, len(vifs))
	user := make(map[int]VIF) // by index into placed
	give := func(i, owner int) {
		if other, taken := user[owner]; taken {
			r.warn(vifs[i], "is a second port of %s, which has port %s: refused", r.name(owner), other.Name)
			owner = -1
		} else {
			user[owner] = vifs[i]
		}
		owners[i] = owner
	}
	var rest []int
	for i, v := range vifs {
		owner, ok := byID[v.IfaceID]
		if v.IfaceID == "" || !ok {
			rest = append(rest, i)
			continue
		}
		give(i, owner)
	}
	for _, i := range rest {
		v := vifs[i]
		owners[i] = -1
		candidates := byUID[v.VMID]
		if v.VMID == "" || len(candidates) == 0 {
			continue
		}
		if len(candidates) > 1 {
			candidates = r.withMAC(candidates, v.MAC)
		}
		if len(candidates) != 1 {
			r.warn(v, "vm-id %q is that of a VM with several interfaces and attached-mac %s does not say which: refused", v.VMID, v.MAC)
			continue
		}
		give(i, candidates[0])
	}
	return owners
}

// withMAC returns those of the candidates whose manifest gives them mac.
func (r *resolver) withMAC(candidates []int, mac MAC) []int {
	var out []int
	for _, c := range candidates {
		if m := r.p.placed[c].iface.MAC; m == mac && !m.IsZero() {
			out = append(out, c)
		}
	}
	return out
}

func (r *resolver) name(i int) string {
	x := r.p.placed[i]
	return fmt.Sprintf("interface %q of VM %s", x.iface.ID, r.p.vms[x.vm].Key)
}

// fill writes what the manifest of x says about port v.
func (r *resolver) fill(e *Endpoint, v VIF, x placed) {
	vm := r.p.vms[x.vm]
	e.VM, e.Known = vm.Key, true
	e.VPC, e.Subnets, e.Addrs = x.vpc, x.subnets, x.addrs
	if !x.iface.MAC.IsZero() {
		if !v.MAC.IsZero() && v.MAC != x.iface.MAC {
			r.warn(v, "attached-mac %s differs from macAddress %s of VM %s, which is used", v.MAC, x.iface.MAC, vm.Key)
		}
		e.MAC = x.iface.MAC
	}
	if v.VMID != "" && vm.UID != "" && v.VMID != vm.UID {
		r.warn(v, "vm-id %q is not the uid of VM %s, whose iface-id it has", v.VMID, vm.Key)
	}
	for _, k := range r.p.GroupsOf(vm) {
		if r.p.GroupExists(k) {
			e.Groups = append(e.Groups, r.group(k, x))
		}
	}
	slices.Sort(e.Groups)
	e.Groups = slices.Compact(e.Groups)
}

// group makes the rule group of k for interface x and returns its ID.
func (r *resolver) group(k Key, x placed) string {
	g, ok := r.p.Group(k)
	if !ok {
		return r.builtIn(k, x)
	}
	id := k.String()
	if _, done := r.groups[id]; done {
		return id
	}
	rg := RuleGroup{ID: id}
	for _, rule := range g.Rules {
		if remote, ok := r.remote(rule.Remote); ok {
			rg.Rules = append(rg.Rules, ResolvedRule{
				Group: id, Name: rule.Name, Direction: rule.Direction, Protocol: rule.Protocol,
				Ports: rule.Ports, Remote: remote,
			})
		}
	}
	r.groups[id] = rg
	return id
}

// remote looks a remote up; ok is false if it refers to nothing.
func (r *resolver) remote(rem Remote) (out ResolvedRemote, ok bool) {
	switch rem.Kind {
	case RemoteAnywhere:
		return ResolvedRemote{Kind: ResolvedAnywhere}, true
	case RemoteCIDR:
		return prefixes(rem.Prefix), true
	case RemoteGroup:
		return ResolvedRemote{Kind: ResolvedMembers, Group: rem.Ref.String()}, r.p.GroupExists(rem.Ref)
	case RemoteSubnet:
		s, ok := r.p.Subnet(rem.Ref)
		return prefixes(s.Prefixes...), ok
	}
	return ResolvedRemote{}, false
}

// builtIn makes the built-in default group k for interface x and returns its
// ID.
func (r *resolver) builtIn(k Key, x placed) string {
	id := k.String()
	var from []Subnet // ingress is allowed from these
	ingress := ""     // the name of the rule
	switch r.p.opts.DefaultContent {
	case OwnSubnet:
		ingress = "own-subnet"
		var names []string
		for _, sk := range x.subnets {
			s, _ := r.p.Subnet(sk)
			from = append(from, s)
			names = append(names, sk.String())
		}
		id += "[" + strings.Join(names, ",") + "]"
	case WholeVPC:
		ingress = "whole-vpc"
		id += "[vpc " + x.vpc + "]"
		for _, s := range r.p.subnets {
			if s.VPC.String() == x.vpc {
				from = append(from, s)
			}
		}
	}
	if _, done := r.groups[id]; done {
		return id
	}
	rg := RuleGroup{ID: id}
	if r.p.opts.DefaultContent != Nothing {
		rg.Rules = append(rg.Rules, ResolvedRule{
			Group: k.String(), Name: "all-egress", Direction: Egress, Ports: allPorts,
		})
	}
	var blocks []netip.Prefix
	for _, s := range from {
		blocks = append(blocks, s.Prefixes...)
	}
	if len(blocks) > 0 {
		rg.Rules = append(rg.Rules, ResolvedRule{
			Group: k.String(), Name: ingress, Direction: Ingress, Ports: allPorts, Remote: prefixes(blocks...),
		})
	}
	r.groups[id] = rg
	return id
}

// prefixes is the remote that stands for ps, sorted and unique.
func prefixes(ps ...netip.Prefix) ResolvedRemote {
	ps = slices.Clone(ps)
	for i := range ps {
		ps[i] = ps[i].Masked()
	}
	slices.SortFunc(ps, netip.Prefix.Compare)
	return ResolvedRemote{Kind: ResolvedPrefixes, Prefixes: slices.Compact(ps)}
}
