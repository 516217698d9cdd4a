package policy

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
)

// The functions in this file answer the questions that Evaluate has about
// interfaces. They search all objects anew for every question.

// attachment is an interface and the VM it belongs to.
type attachment struct {
	vm VirtualMachine
	n  Interface
}

func (a attachment) same(b attachment) bool { return a.vm.Key == b.vm.Key && a.n.ID == b.n.ID }

// attachments iterates over every interface by VM, then by id. If several
// interfaces claim the same thing, it belongs to the first of them.
func attachments(p *Policy) iter.Seq[attachment] {
	return func(yield func(attachment) bool) {
		for _, vm := range p.objects.VirtualMachines { // New has sorted them
			ifaces := vm.Interfaces
			if len(ifaces) > 1 {
				ifaces = slices.Clone(ifaces)
				slices.SortStableFunc(ifaces, func(a, b Interface) int { return cmp.Compare(a.ID, b.ID) })
			}
			for _, n := range ifaces {
				if !yield(attachment{vm, n}) {
					return
				}
			}
		}
	}
}

// groupsOf returns the groups that vm is in, existing or not.
func groupsOf(p *Policy, vm VirtualMachine) []Key {
	if len(vm.Groups) > 0 {
		return vm.Groups
	}
	return []Key{{vm.Key.Namespace, p.opts.DefaultGroup}}
}

func findGroup(p *Policy, k Key) (Group, bool) {
	for _, g := range p.objects.Groups {
		if g.Key == k {
			return g, true
		}
	}
	return Group{}, false
}

// vifAt returns the VIF with the OpenFlow port; of several the first by name.
func vifAt(vifs []VIF, ofport uint16) (VIF, bool) {
	found := -1
	for i, v := range vifs {
		if v.OFPort == ofport && (found < 0 || v.Name < vifs[found].Name) {
			found = i
		}
	}
	if found < 0 {
		return VIF{}, false
	}
	return vifs[found], true
}

// byIfaceID returns the interface that the iface-id of v names.
func byIfaceID(p *Policy, v VIF) (attachment, bool) {
	for at := range attachments(p) {
		if v.IfaceID != "" && at.n.ID == v.IfaceID {
			return at, true
		}
	}
	return attachment{}, false
}

// byVMID returns the interface that the vm-id of v names, by MAC if the VM has
// several.
func byVMID(p *Policy, v VIF) (attachment, bool) {
	if v.VMID == "" {
		return attachment{}, false
	}
	for _, vm := range p.objects.VirtualMachines {
		if vm.UID != v.VMID {
			continue
		}
		if len(vm.Interfaces) == 1 {
			return attachment{vm, vm.Interfaces[0]}, true
		}
		var match []attachment
		for _, n := range vm.Interfaces {
			if !n.MAC.IsZero() && n.MAC == v.MAC {
				match = append(match, attachment{vm, n})
			}
		}
		if len(match) == 1 {
			return match[0], true
		}
		return attachment{}, false // only the first VM has the uid
	}
	return attachment{}, false
}

// disagrees reports whether the MAC of a port is another than that of the interface.
func disagrees(at attachment, v VIF) bool {
	return !at.n.MAC.IsZero() && !v.MAC.IsZero() && at.n.MAC != v.MAC
}

// ownerOf returns the interface that v is the port of. A port is not that of an
// interface whose MAC it does not have. An interface has one
// port: a port with its iface-id comes before a port with the vm-id of its VM,
// and of several such ports the one with the lowest OpenFlow port number.
func ownerOf(p *Policy, vifs []VIF, v VIF) (attachment, bool) {
	at, byID := byIfaceID(p, v)
	if !byID {
		var ok bool
		if at, ok = byVMID(p, v); !ok {
			return attachment{}, false
		}
	}
	if disagrees(at, v) {
		return attachment{}, false
	}
	for _, o := range vifs {
		if o.OFPort == 0 || o.OFPort == v.OFPort {
			continue
		}
		if first, _ := vifAt(vifs, o.OFPort); first.Name != o.Name {
			continue // o is ignored
		}
		other, otherByID := byIfaceID(p, o)
		if otherByID && other.same(at) && !disagrees(other, o) && (!byID || o.OFPort < v.OFPort) {
			return attachment{}, false
		}
		if otherByID || byID {
			continue
		}
		if other, ok := byVMID(p, o); ok && other.same(at) && !disagrees(other, o) && o.OFPort < v.OFPort {
			return attachment{}, false
		}
	}
	return at, true
}

func inSubnet(s Subnet, a netip.Addr) bool {
	for _, prefix := range s.Prefixes {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// bits returns the length of the longest prefix of s that contains a; -1 if
// none does.
func bits(s Subnet, a netip.Addr) int {
	longest := -1
	for _, prefix := range s.Prefixes {
		if prefix.Contains(a) {
			longest = max(longest, prefix.Bits())
		}
	}
	return longest
}

// nearest returns the subnets of the namespace that contain a and whose prefix is
// at least as long as that of any other such subnet.
func nearest(p *Policy, namespace string, a netip.Addr) []Subnet {
	var near []Subnet
	for _, s := range p.objects.Subnets {
		if s.Key.Namespace != namespace || bits(s, a) < 0 {
			continue
		}
		beaten := false
		for _, o := range p.objects.Subnets {
			if o.Key.Namespace == namespace && bits(o, a) > bits(s, a) {
				beaten = true
			}
		}
		if !beaten {
			near = append(near, s)
		}
	}
	return near
}

// vpcOf returns the VPC of an interface, "" if it is in none.
func vpcOf(p *Policy, at attachment) string {
	if !at.n.Subnet.IsZero() {
		for _, s := range p.objects.Subnets {
			if s.Key == at.n.Subnet {
				return s.VPC.String()
			}
		}
		return ""
	}
	vpc, found := at.vm.Key.Namespace+"/"+DefaultVPC, false
	for _, a := range at.n.Addrs {
		for _, s := range nearest(p, at.vm.Key.Namespace, a) {
			if found && s.VPC.String() != vpc {
				return "" // ambiguous
			}
			vpc, found = s.VPC.String(), true
		}
	}
	return vpc
}

// subnetsOf returns the subnets of an interface.
func subnetsOf(p *Policy, at attachment) []Key {
	if vpcOf(p, at) == "" {
		return nil
	}
	if !at.n.Subnet.IsZero() {
		return []Key{at.n.Subnet}
	}
	var keys []Key
	for _, a := range at.n.Addrs {
		var first Key
		for _, s := range nearest(p, at.vm.Key.Namespace, a) {
			if first.IsZero() || s.Key.Name < first.Name {
				first = s.Key
			}
		}
		if !first.IsZero() {
			keys = append(keys, first)
		}
	}
	return keys
}

// addrsOf returns the addresses that belong to an interface: the addresses that
// it lists without those that an earlier interface lists in the same VPC.
func addrsOf(p *Policy, at attachment) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range at.n.Addrs {
		taken := false
		for o := range attachments(p) {
			if o.same(at) {
				break
			}
			if !slices.Contains(o.n.Addrs, a) {
				continue
			}
			if vpc := vpcOf(p, o); vpc != "" && vpc == vpcOf(p, at) {
				taken = true
			}
		}
		if !taken {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// portAddrs returns the addresses that the port v of an interface has: those of the
// interface without those that an earlier port of the same VLAN has.
func portAddrs(p *Policy, vifs []VIF, v VIF, at attachment) []netip.Addr {
	addrs := addrsOf(p, at)
	for _, o := range vifs {
		if o.OFPort == 0 || o.OFPort >= v.OFPort || o.Tag != v.Tag {
			continue
		}
		if first, _ := vifAt(vifs, o.OFPort); first.Name != o.Name {
			continue // o is ignored
		}
		if other, ok := ownerOf(p, vifs, o); ok {
			theirs := addrsOf(p, other)
			addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return slices.Contains(theirs, a) })
		}
	}
	return addrs
}

// mayUse reports whether a VM with these addresses may send from addr.
func mayUse(addrs []netip.Addr, at attachment, vif VIF, addr netip.Addr) bool {
	if slices.Contains(addrs, addr) {
		return true
	}
	mac := at.n.MAC
	if mac.IsZero() {
		mac = vif.MAC
	}
	// RFC 4291, appendix A.
	id := [8]byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
	own := netip.AddrFrom16([16]byte(append([]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0}, id[:]...)))
	return addr == own && slices.ContainsFunc(addrs, netip.Addr.Is6)
}
