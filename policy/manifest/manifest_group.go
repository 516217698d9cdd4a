package manifest

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/ovs-sg/ovs-sg/policy"
)

func (d *decoder) group(top *fields, key policy.Key, pos policy.Position) policy.Group {
	g := policy.Group{Key: key, Pos: pos}
	f, ok := top.requireWithin("spec")
	if !ok {
		return g
	}
	defer f.finish()
	v, ok := f.take("rules")
	if !ok {
		return g
	}
	lines := make(map[string]int) // of the rule names
	for i, e := range d.elements(v) {
		r := policy.Rule{Name: "#" + strconv.Itoa(i), Pos: d.pos(e.Node)}
		f, ok := d.mapping(e)
		if !ok {
			continue
		}
		if v, ok := f.take("name"); ok {
			r.Name = d.ruleName(v, lines)
		}
		d.rule(f, &r, key.Namespace)
		f.finish()
		g.Rules = append(g.Rules, r)
	}
	return g
}

func (d *decoder) ruleName(v value, lines map[string]int) string {
	name, ok := d.label(v, true)
	switch {
	case !ok:
	case strings.ContainsAny(name, "#/"):
		d.fail(v, "%q must not contain '#' or '/'", name)
	case lines[name] > 0:
		d.fail(v, "%q is already the name of the rule on line %d", name, lines[name])
	default:
		lines[name] = v.Line
	}
	return name
}

// rule reads what is allowed.
func (d *decoder) rule(f *fields, r *policy.Rule, namespace string) {
	if v, ok := f.require("direction"); ok {
		if s, ok := d.text(v); ok {
			switch s {
			case "Ingress":
				r.Direction = policy.Ingress
			case "Egress":
				r.Direction = policy.Egress
			default:
				d.fail(v, "%q must be Ingress or Egress", s)
			}
		}
	}
	ported := false
	if v, ok := f.take("protocol"); ok {
		ported = true // of an unknown protocol, misplaced ports are not reported
		if s, ok := d.text(v); ok {
			p, known := policy.ParseProtocol(s)
			if r.Protocol, ported = p, p.HasPorts(); !known {
				ported = true
				d.fail(v, "%q must be %s", s, policy.ProtocolNames())
			}
		}
	}
	r.Ports = d.ports(f, ported)
	if v, ok := f.take("remote"); ok {
		d.remote(v, r, namespace)
	}
}

// ports reads port and endPort; allowed says whether the protocol has ports.
func (d *decoder) ports(f *fields, allowed bool) policy.PortRange {
	v, has := f.take("port")
	end, hasEnd := f.take("endPort")
	if !allowed {
		for _, v := range []value{v, end} {
			if v.Node != nil {
				d.fail(v, "only allowed with protocol %s", policy.PortedProtocolNames())
			}
		}
		return policy.AllPorts
	}
	if !has {
		if hasEnd {
			d.fail(end, "needs port, the first port of the range")
		}
		return policy.AllPorts
	}
	r, isRange, ok := d.portRange(v)
	if !hasEnd {
		return r
	}
	last, ok2 := d.port(end)
	switch {
	case ok && isRange:
		d.fail(end, "port is a range already")
	case ok && ok2 && last < r.First:
		d.fail(end, "%d is below port %d", last, r.First)
	case ok2:
		r.Last = last
	}
	return r
}

// portRange reads 80, "80" or "1000-1100".
func (d *decoder) portRange(v value) (r policy.PortRange, isRange, ok bool) {
	s, ok := d.digits(v)
	if !ok {
		return policy.PortRange{}, false, false
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, ok1 := parsePort(first)
	b, ok2 := parsePort(last)
	switch {
	case !ok1 || !ok2:
		d.fail(v, "%q must be a port from 1 to 65535 or a range such as \"1000-1100\"", s)
		return policy.PortRange{}, isRange, false
	case b < a:
		d.fail(v, "range %s is upside down", s)
		return policy.PortRange{}, isRange, false
	}
	return policy.PortRange{First: a, Last: b}, isRange, true
}

func (d *decoder) port(v value) (uint16, bool) {
	s, ok := d.digits(v)
	if !ok {
		return 0, false
	}
	n, ok := parsePort(s)
	if !ok {
		d.fail(v, "%q must be a port from 1 to 65535", s)
	}
	return n, ok
}

// digits reads a scalar that is written as a number or as a string.
func (d *decoder) digits(v value) (string, bool) {
	if tag := v.ShortTag(); tag != "!!int" && tag != "!!str" {
		d.fail(v, "must be a number or a string, not %s", describe(v.Node))
		return "", false
	}
	return v.Value, true
}

// parsePort reads a decimal number from 1 to 65535 without leading zeros.
func parsePort(s string) (uint16, bool) {
	if s == "" || len(s) > 5 || s[0] == '0' {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return uint16(n), n <= 65535
}

// remote reads exactly one of the three remotes. An empty remote is refused:
// its author meant to name something, and anywhere is the widest reading.
func (d *decoder) remote(v value, r *policy.Rule, namespace string) {
	f, ok := d.mapping(v)
	if !ok {
		return
	}
	defer f.finish()
	addr, hasAddr := f.take("address")
	group, hasGroup := f.take("securityGroupRef")
	subnet, hasSubnet := f.take("subnetRef")
	n := 0
	for _, has := range []bool{hasAddr, hasGroup, hasSubnet} {
		if has {
			n++
		}
	}
	if n == 0 {
		d.fail(v, "needs one of address, securityGroupRef and subnetRef; leave remote out for anywhere")
	}
	if n > 1 {
		d.fail(v, "only one of address, securityGroupRef and subnetRef is allowed")
	}
	if hasAddr {
		r.Remote = policy.Remote{Kind: policy.RemoteCIDR, Prefix: d.remoteAddress(addr)}
	}
	if hasGroup {
		r.Remote = policy.Remote{Kind: policy.RemoteGroup}
		r.Remote.Ref, r.RefAt, _ = d.ref(group, namespace)
	}
	if hasSubnet {
		r.Remote = policy.Remote{Kind: policy.RemoteSubnet}
		r.Remote.Ref, r.RefAt, _ = d.ref(subnet, namespace)
	}
}

// remoteAddress reads {IPAddressOrCIDR: ...}, in either spelling.
func (d *decoder) remoteAddress(v value) netip.Prefix {
	f, ok := d.mapping(v)
	if !ok {
		return netip.Prefix{}
	}
	defer f.finish()
	upper, hasUpper := f.take("IPAddressOrCIDR")
	lower, hasLower := f.take("ipAddressOrCIDR")
	switch {
	case hasUpper && hasLower:
		d.fail(lower, "given twice, as IPAddressOrCIDR too")
	case hasUpper:
		p, _ := d.prefix(upper)
		return p
	case hasLower:
		p, _ := d.prefix(lower)
		return p
	default:
		d.failField(v.Node, v.join("IPAddressOrCIDR"), "is required")
	}
	return netip.Prefix{}
}
