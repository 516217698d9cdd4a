package manifest

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/policy"
)

// prefix reads an address or a CIDR. Host bits are cut off; a bare address is
// a prefix of its full length.
func (d *decoder) prefix(v value) (netip.Prefix, bool) {
	s, ok := d.text(v)
	if !ok {
		return netip.Prefix{}, false
	}
	p, reason := parsePrefix(s)
	if reason != "" {
		d.fail(v, "%q %s", s, reason)
		return netip.Prefix{}, false
	}
	return p, true
}

func parsePrefix(s string) (p netip.Prefix, reason string) {
	if len(s) > 64 {
		return netip.Prefix{}, "is not an IP address or CIDR"
	}
	if strings.ContainsRune(s, '/') {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Prefix{}, "is not a CIDR such as 10.0.0.0/8"
		}
		if p.Addr().Is4In6() {
			return netip.Prefix{}, "is an IPv4-mapped IPv6 address: write it as IPv4"
		}
		return p.Masked(), ""
	}
	a, reason := parseAddr(s)
	if reason != "" {
		return netip.Prefix{}, reason
	}
	return netip.PrefixFrom(a, a.BitLen()), ""
}

func parseAddr(s string) (a netip.Addr, reason string) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, "is not an IP address"
	case a.Zone() != "":
		return netip.Addr{}, "has a zone: an address is the same for every host"
	case a.Is4In6():
		return netip.Addr{}, "is an IPv4-mapped IPv6 address: write it as IPv4"
	}
	return a, ""
}

// addr reads the address of an interface.
func (d *decoder) addr(v value) (netip.Addr, bool) {
	s, ok := d.text(v)
	if !ok {
		return netip.Addr{}, false
	}
	a, reason := parseAddr(s)
	if reason == "" {
		reason = unfit(a)
	}
	if reason != "" {
		d.fail(v, "%q %s", s, reason)
		return netip.Addr{}, false
	}
	return a, true
}

// unfit returns why an interface cannot have the address a, "" if it can.
func unfit(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return "is the unspecified address"
	case a.IsLoopback():
		return "is a loopback address"
	case a.IsMulticast():
		return "is a multicast address"
	case a.Is4() && a.As4()[0] == 0:
		return "is in 0.0.0.0/8"
	case a.Is4() && a.As4()[0] >= 240:
		return "is a broadcast or reserved address"
	}
	return ""
}

// addrs reads a list of addresses and sorts it.
func (d *decoder) addrs(v value) []netip.Addr {
	var as []netip.Addr
	for _, e := range d.elements(v) {
		a, ok := d.addr(e)
		if ok && slices.Contains(as, a) {
			d.fail(e, "%s is listed twice", a)
		} else if ok {
			as = append(as, a)
		}
	}
	slices.SortFunc(as, netip.Addr.Compare)
	return as
}

// mac reads the MAC address of an interface.
func (d *decoder) mac(v value) policy.MAC {
	s, ok := d.text(v)
	if !ok {
		return policy.MAC{}
	}
	m, err := policy.ParseMAC(s)
	switch {
	case err != nil:
		d.fail(v, "%q is %v", s, err)
	case m.IsZero():
		d.fail(v, "%s is no address", m)
	case m.IsMulticast():
		d.fail(v, "%s is a multicast address", m)
	default:
		return m
	}
	return policy.MAC{}
}
