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
	m := resolve(p, vifs, make(map[string]RuleGroup))
	m.Members = p.members
	return m
}

// resolve is Resolve without the Members. Rule groups that are known are not
// made again; those that are made are added to known.
func resolve(l lookup, vifs []VIF, known map[string]RuleGroup) *Model {
	r := &resolver{l: l, opts: l.Options(), known: known, used: make(map[string]bool)}
	m := &Model{}
	vifs = r.ports(vifs)
	owners := r.identify(vifs)
	macs := make(map[tagMAC]string)
	for i, v := range vifs {
		e := Endpoint{VIF: v.Name, OFPort: v.OFPort, Tag: v.Tag, MAC: v.MAC}
		if owners[i].vm != nil {
			r.fill(&e, v, owners[i])
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
	for id := range r.used {
		m.Groups = append(m.Groups, known[id])
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
	l        lookup
	opts     Options
	known    map[string]RuleGroup // by ID
	used     map[string]bool      // of known
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

// identify finds the interface of every VIF; without VM if there is none. vifs
// are sorted.
func (r *resolver) identify(vifs []VIF) []placed {
	owners := make([]placed, len(vifs))
	user := make(map[*Interface]VIF)
	give := func(i int, owner placed) {
		if other, taken := user[owner.n]; taken {
			r.warn(vifs[i], "is a second port of interface %q of VM %s, which has port %s: refused", owner.n.ID, owner.vm.Key, other.Name)
			return
		}
		user[owner.n] = vifs[i]
		owners[i] = owner
	}
	var rest []int
	for i, v := range vifs {
		if v.IfaceID != "" {
			if owner, ok := r.l.byID(v.IfaceID); ok {
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
		candidates := r.l.byUID(v.VMID)
		if len(candidates) == 0 {
			continue
		}
		if len(candidates) > 1 {
			candidates = withMAC(candidates, v.MAC)
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
func withMAC(candidates []placed, mac MAC) []placed {
	var out []placed
	for _, c := range candidates {
		if c.n.MAC == mac && !mac.IsZero() {
			out = append(out, c)
		}
	}
	return out
}

// fill writes what the manifest of x says about port v.
func (r *resolver) fill(e *Endpoint, v VIF, x placed) {
	vm := x.vm
	e.VM, e.Known = vm.Key, true
	e.VPC, e.Subnets, e.Addrs = x.vpc, x.subnets, x.addrs
	if !x.n.MAC.IsZero() {
		if !v.MAC.IsZero() && v.MAC != x.n.MAC {
			r.warn(v, "attached-mac %s differs from macAddress %s of VM %s, which is used", v.MAC, x.n.MAC, vm.Key)
		}
		e.MAC = x.n.MAC
	}
	if v.VMID != "" && vm.UID != "" && v.VMID != vm.UID {
		r.warn(v, "vm-id %q is not the uid of VM %s, whose iface-id it has", v.VMID, vm.Key)
	}
	for _, k := range r.opts.groupsOf(vm) {
		if r.l.GroupExists(k) {
			e.Groups = append(e.Groups, r.group(k, x))
		}
	}
	slices.Sort(e.Groups)
	e.Groups = slices.Compact(e.Groups)
}

// group makes the rule group of k for interface x and returns its ID.
func (r *resolver) group(k Key, x placed) string {
	g, ok := r.l.Group(k)
	if !ok {
		return r.builtIn(k, x)
	}
	id := k.String()
	if r.use(id) {
		r.known[id] = ruleGroup(r.l, &g)
	}
	return id
}

// use marks a rule group as used and reports whether it must be made.
func (r *resolver) use(id string) bool {
	r.used[id] = true
	_, ok := r.known[id]
	return !ok
}

// ruleGroup is a group that a manifest defines.
func ruleGroup(l lookup, g *Group) RuleGroup {
	rg := RuleGroup{ID: g.Key.String()}
	for i := range g.Rules {
		rule := &g.Rules[i]
		if to, ok := remote(l, rule.Remote); ok {
			rg.Rules = append(rg.Rules, ResolvedRule{
				Group: rg.ID, Name: rule.Name, Direction: rule.Direction, Protocol: rule.Protocol,
				Ports: rule.Ports, Remote: to,
			})
		}
	}
	return rg
}

// remote looks a remote up; ok is false if it refers to nothing.
func remote(l lookup, rem Remote) (out ResolvedRemote, ok bool) {
	switch rem.Kind {
	case RemoteAnywhere:
		return ResolvedRemote{Kind: ResolvedAnywhere}, true
	case RemoteCIDR:
		return prefixes(rem.Prefix), true
	case RemoteGroup:
		return ResolvedRemote{Kind: ResolvedMembers, Group: rem.Ref.String()}, l.GroupExists(rem.Ref)
	case RemoteSubnet:
		s, ok := l.Subnet(rem.Ref)
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
	switch r.opts.DefaultContent {
	case OwnSubnet:
		ingress = "own-subnet"
		var names []string
		for _, sk := range x.subnets {
			s, _ := r.l.Subnet(sk)
			from = append(from, s)
			names = append(names, sk.String())
		}
		id += "[" + strings.Join(names, ",") + "]"
	case WholeVPC:
		ingress = "whole-vpc"
		id += "[vpc " + x.vpc + "]"
		from = r.l.inVPC(x.vpc)
	}
	if !r.use(id) {
		return id
	}
	rg := RuleGroup{ID: id}
	if r.opts.DefaultContent != Nothing {
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
	r.known[id] = rg
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
