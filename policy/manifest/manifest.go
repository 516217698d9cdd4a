package manifest

import (
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/ovs-sg/ovs-sg/policy"
)

// metadataFields are the fields of Kubernetes metadata that are accepted
// without being looked at.
var metadataFields = []string{
	"annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers",
	"generateName", "generation", "labels", "managedFields", "ownerReferences", "resourceVersion", "selfLink",
}

// manifest reads one document.
func (d *decoder) manifest(root *yaml.Node) {
	f, ok := d.mapping(value{Node: root})
	if !ok {
		return
	}
	defer f.finish()
	kind := d.kind(f)
	key, uid := d.metadata(f)
	pos := d.pos(root)
	switch kind {
	case policy.KindGroup:
		d.objects.Groups = append(d.objects.Groups, d.group(f, key, pos))
	case policy.KindSubnet:
		d.objects.Subnets = append(d.objects.Subnets, d.subnet(f, key, pos))
	case policy.KindVirtualMachine:
		d.objects.VirtualMachines = append(d.objects.VirtualMachines, d.virtualMachine(f, key, uid, pos))
	}
	if v, ok := f.take("status"); ok && kind != policy.KindVirtualMachine && !isNull(v.Node) {
		d.mapping(v) // free-form
	}
}

// kind reads kind, which is known, and apiVersion.
func (d *decoder) kind(f *fields) string {
	v, _ := f.take("kind")
	kind, want := v.Value, NetworkingAPIVersion
	if kind == policy.KindVirtualMachine {
		want = ComputeAPIVersion
	}
	if v, ok := f.require("apiVersion"); ok {
		if got, ok := d.text(v); ok && got != want {
			d.fail(v, "must be %q for kind %s, not %q", want, kind, got)
		}
	}
	return kind
}

func (d *decoder) metadata(top *fields) (key policy.Key, uid string) {
	f, ok := top.requireWithin("metadata")
	if !ok {
		return policy.Key{}, ""
	}
	defer f.finish()
	key.Namespace = DefaultNamespace
	if v, ok := f.take("namespace"); ok {
		key.Namespace, _ = d.name(v)
	}
	if v, ok := f.require("name"); ok {
		key.Name, _ = d.name(v)
	}
	if v, ok := f.take("uid"); ok {
		uid, _ = d.label(v, false)
	}
	f.ignore(metadataFields)
	return key, uid
}

func (d *decoder) subnet(top *fields, key policy.Key, pos policy.Position) policy.Subnet {
	s := policy.Subnet{Key: key, VPC: policy.Key{Namespace: key.Namespace, Name: policy.DefaultVPC}, Pos: pos}
	f, ok := top.requireWithin("spec")
	if !ok {
		return s
	}
	defer f.finish()
	v4, has4 := f.take("ipv4CidrBlock")
	v6, has6 := f.take("ipv6CidrBlock")
	if !has4 && !has6 {
		d.fail(f.v, "needs ipv4CidrBlock, ipv6CidrBlock or both")
	}
	if has4 {
		if p, ok := d.prefix(v4); ok && !p.Addr().Is4() {
			d.fail(v4, "%s is not IPv4", p)
		} else if ok {
			s.Prefixes = append(s.Prefixes, p)
		}
	}
	if has6 {
		if p, ok := d.prefix(v6); ok && !p.Addr().Is6() {
			d.fail(v6, "%s is not IPv6", p)
		} else if ok {
			s.Prefixes = append(s.Prefixes, p)
		}
	}
	if v, ok := f.take("vpcRef"); ok {
		s.VPC, _, _ = d.ref(v, key.Namespace)
	}
	return s
}

func (d *decoder) virtualMachine(top *fields, key policy.Key, uid string, pos policy.Position) policy.VirtualMachine {
	vm := policy.VirtualMachine{Key: key, UID: uid, Pos: pos}
	status := d.statusAddrs(top)
	vm.Interfaces = []policy.Interface{{ID: key.Name, Addrs: status, At: spotOf(top.v.Node)}}
	f, ok := top.within("spec")
	if !ok {
		return vm
	}
	defer f.finish()
	nf, ok := f.within("networking")
	if !ok {
		return vm
	}
	defer nf.finish()
	if v, ok := nf.take("interfaces"); ok {
		if ifaces := d.interfaces(v, key, status); len(ifaces) > 0 {
			vm.Interfaces = ifaces
		}
	}
	if v, ok := nf.take("securityGroups"); ok && !isNull(v.Node) {
		vm.Groups, vm.GroupsAt = d.memberships(v, key.Namespace)
	}
	return vm
}

func (d *decoder) memberships(v value, namespace string) (groups []policy.Key, at []policy.Spot) {
	f, ok := d.mapping(v)
	if !ok {
		return nil, nil
	}
	defer f.finish()
	list, ok := f.take("securityGroupMemberships")
	if !ok {
		return nil, nil
	}
	for _, e := range d.elements(list) {
		k, p, ok := d.ref(e, namespace)
		if ok && slices.Contains(groups, k) {
			d.fail(e, "%s is listed twice", k.Name)
		} else if ok {
			groups, at = append(groups, k), append(at, p)
		}
	}
	return groups, at
}

func (d *decoder) interfaces(v value, vm policy.Key, status []netip.Addr) []policy.Interface {
	var ifaces []policy.Interface
	for i, e := range d.elements(v) {
		n := policy.Interface{At: spotOf(e.Node)}
		if i == 0 {
			n.ID, n.Addrs = vm.Name, status
		}
		f, ok := d.mapping(e)
		if !ok {
			continue
		}
		if v, ok := f.take("id"); ok {
			n.ID, _ = d.label(v, false)
		} else if i > 0 {
			d.failField(e.Node, e.join("id"), "is required for every interface but the first")
		}
		if n.ID != "" && slices.ContainsFunc(ifaces, func(o policy.Interface) bool { return o.ID == n.ID }) {
			d.failField(e.Node, e.join("id"), "%q is used by two interfaces", n.ID)
		}
		if v, ok := f.take("macAddress"); ok {
			n.MAC = d.mac(v)
		}
		if v, ok := f.take("ipAddresses"); ok && !isNull(v.Node) {
			n.Addrs = d.addrs(v)
		}
		if v, ok := f.take("subnetRef"); ok {
			n.Subnet, n.SubnetAt, _ = d.ref(v, vm.Namespace)
		}
		f.finish()
		ifaces = append(ifaces, n)
	}
	return ifaces
}

// statusAddrs reads status.networking.privateIPv4Address and ipv6Address. The
// rest of status is free-form; empty addresses are those of a VM that has none
// yet.
func (d *decoder) statusAddrs(top *fields) []netip.Addr {
	f, ok := top.within("status")
	if ok {
		f, ok = f.within("networking")
	}
	if !ok {
		return nil
	}
	var addrs []netip.Addr
	for _, name := range []string{"privateIPv4Address", "ipv6Address"} {
		v, ok := f.take(name)
		if !ok || (v.Kind == yaml.ScalarNode && v.Value == "") || isNull(v.Node) {
			continue
		}
		a, ok := d.addr(v)
		if ok && a.Is4() != (name == "privateIPv4Address") {
			d.fail(v, "%s is of the other address family", a)
		} else if ok {
			addrs = append(addrs, a)
		}
	}
	return addrs
}
