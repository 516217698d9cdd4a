package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// infraLab has two VMs, strict and other, whose only group has no rules, a
// peer whose rules allow everything, a VM whose rules allow only what path MTU
// discovery and traceroute need, and a router outside.
func infraLab(t *testing.T) *lab {
	h := newHost(t, testbed.Options{})
	text := groupOf("noneSG") + groupOf("openSG", allOut, allIn) +
		groupOf("pathSG", "{direction: Egress, protocol: UDP, port: 9000}", "{direction: Ingress, protocol: TCP, port: 80}")
	for _, vm := range []struct {
		name  string
		n     int
		group string
	}{{"strict", 20, "noneSG"}, {"other", 21, "noneSG"}, {"peer", 22, "openSG"}} {
		text += machine(h.vm(vm.name, vm.n), vm.group)
	}
	h.vms["path"] = h.ovs.VM(t, testbed.VMConfig{
		Name: "path", MAC: "02:00:0a:00:01:17",
		Addrs:    []netip.Prefix{netip.MustParsePrefix("10.0.1.23/24"), netip.MustParsePrefix("fd00:1::17/64")},
		Gateways: []netip.Addr{addr("10.0.1.1"), addr("fd00:1::1")},
	})
	text += machine(h.vms["path"], "pathSG")
	outside := h.uplink("outside", 1)
	h.write("all.yaml", text)
	h.start("--dhcp-server="+outside.Addr4().String(), "--dhcp-server="+linkLocalOf(outside.MAC).String())
	h.wait()
	return h.tapped()
}

func TestInfrastructure(t *testing.T) {
	l := infraLab(t)
	t.Run("from outside", func(t *testing.T) { l.in(t).run(infraFromOutside(l)) })
	t.Run("from a VM", func(t *testing.T) { l.in(t).run(infraFromVM(l)) })
	t.Run("between VMs", func(t *testing.T) { l.in(t).run(infraBetweenVMs(l)) })
	t.Run("neighbours", func(t *testing.T) { l.in(t).neighbours() })
	t.Run("path MTU", func(t *testing.T) { l.in(t).pathMTU() })
	t.Run("traceroute", func(t *testing.T) { l.in(t).traceroute() })
}

const allVMs = "other path peer strict"

func infraFromOutside(l *lab) []sent {
	strict, outside := l.vms["strict"], l.vms["outside"]
	linkLocal, strictLL := linkLocalOf(outside.MAC), linkLocalOf(strict.MAC)
	var out []sent
	add := func(name string, frame []byte, to string) { out = append(out, sent{name, "outside", frame, to}) }

	all := testbed.Packet{SrcMAC: outside.MAC, DstMAC: testbed.Broadcast}
	one := testbed.Packet{SrcMAC: outside.MAC, DstMAC: strict.MAC}
	add("ARP request", all.ARP(testbed.ARPRequest, outside.MAC, outside.Addr4(), nil, strict.Addr4()), allVMs)
	add("ARP request, unicast", one.ARP(testbed.ARPRequest, outside.MAC, outside.Addr4(), strict.MAC, strict.Addr4()), "strict")
	add("ARP reply", one.ARP(testbed.ARPReply, outside.MAC, outside.Addr4(), strict.MAC, strict.Addr4()), "strict")
	add("ARP of another host outside", all.ARP(testbed.ARPReply, hw("02:00:00:00:00:99"), addr("10.0.1.99"), nil, addr("10.0.1.99")), allVMs)

	group := testbed.SolicitedNode(strict.Addr6())
	for _, src := range []netip.Addr{outside.Addr6(), linkLocal} {
		p := testbed.Packet{SrcMAC: outside.MAC, DstMAC: testbed.MulticastMAC(group), Src: src, Dst: group}
		// Hosts take these from link-local addresses alone, and so do rules.
		strictly := func(to string) string {
			if src == linkLocal {
				return to
			}
			return ""
		}
		add("NS", p.NeighborSolicit(strict.Addr6(), outside.MAC), allVMs)
		p.DstMAC, p.Dst = strict.MAC, strict.Addr6()
		add("NS, unicast", p.NeighborSolicit(strict.Addr6(), outside.MAC), "strict")
		add("NA", p.NeighborAdvert(src, outside.MAC), "strict")
		add("RA, unicast", p.RouterAdvert(), strictly("strict"))
		p.Dst = strictLL
		add("RA, unicast to the link-local address", p.RouterAdvert(), strictly("strict"))
		p.DstMAC, p.Dst = testbed.MulticastMAC(testbed.AllNodes), testbed.AllNodes
		add("NA, unasked", p.NeighborAdvert(src, outside.MAC), allVMs)
		add("RA", p.RouterAdvert(), strictly(allVMs))
		p.TTL = 1
		query := p.ICMP(130, 0, 1000<<16, make([]byte, 20))
		add("MLD query", query, strictly(allVMs))
		add("MLD query with router alert", extended(query, 0), strictly(allVMs))
	}

	for _, kind := range []uint8{testbed.DHCPOffer, testbed.DHCPAck} {
		p := outside.To(strict, addr("255.255.255.255"))
		add(fmt.Sprintf("DHCP %d, unicast frame", kind), p.DHCP(kind, 1, strict.MAC, strict.Addr4()), "strict")
		p.DstMAC = testbed.Broadcast
		add(fmt.Sprintf("DHCP %d, broadcast", kind), p.DHCP(kind, 1, strict.MAC, strict.Addr4()), allVMs)
		p = outside.To(strict, strict.Addr4())
		add(fmt.Sprintf("DHCP %d, unicast", kind), p.DHCP(kind, 1, strict.MAC, strict.Addr4()), "strict")
		p.Dst = addr("10.0.1.77") // an address that is to be the VM's
		add(fmt.Sprintf("DHCP %d, to another address", kind), p.DHCP(kind, 1, strict.MAC, p.Dst), "strict")
	}
	for _, kind := range []uint8{2, 7} {
		p := testbed.Packet{SrcMAC: outside.MAC, DstMAC: strict.MAC, Src: linkLocal, Dst: strictLL}
		add(fmt.Sprintf("DHCPv6 %d", kind), p.DHCPv6(kind, 1), "strict")
	}

	// Packets that are no infrastructure do not pass.
	for _, dst := range strict.Addrs {
		p := outside.To(strict, dst)
		add("UDP", p.UDP(67, 69, nil), "")
		add("UDP from port 53", p.UDP(53, 68, nil), "")
		add("UDP to DHCPv6's port from another", p.UDP(53, 546, nil), "")
		add("ping", p.Echo(1, 1, nil), "")
		add("TCP", p.TCP(67, 22, testbed.TCPSyn, 1, 0, nil), "")
	}
	return out
}

func infraFromVM(l *lab) []sent {
	strict, outside := l.vms["strict"], l.vms["outside"]
	linkLocal := linkLocalOf(strict.MAC)
	unspecified4, unspecified6 := addr("0.0.0.0"), addr("::")
	const everybody = "other outside path peer"
	var out []sent
	add := func(name string, frame []byte, to string) { out = append(out, sent{name, "strict", frame, to}) }

	all := testbed.Packet{SrcMAC: strict.MAC, DstMAC: testbed.Broadcast}
	one := testbed.Packet{SrcMAC: strict.MAC, DstMAC: outside.MAC}
	add("ARP request", all.ARP(testbed.ARPRequest, strict.MAC, strict.Addr4(), nil, outside.Addr4()), everybody)
	add("ARP request, unicast", one.ARP(testbed.ARPRequest, strict.MAC, strict.Addr4(), outside.MAC, outside.Addr4()), "outside")
	add("ARP reply", one.ARP(testbed.ARPReply, strict.MAC, strict.Addr4(), outside.MAC, outside.Addr4()), "outside")
	add("ARP probe", all.ARP(testbed.ARPRequest, strict.MAC, unspecified4, nil, strict.Addr4()), everybody)
	add("gratuitous ARP", all.ARP(testbed.ARPReply, strict.MAC, strict.Addr4(), nil, strict.Addr4()), everybody)
	add("RARP", all.RARP(), "outside")

	for _, src := range []netip.Addr{strict.Addr6(), linkLocal} {
		group := testbed.SolicitedNode(outside.Addr6())
		p := testbed.Packet{SrcMAC: strict.MAC, DstMAC: testbed.MulticastMAC(group), Src: src, Dst: group}
		add("NS", p.NeighborSolicit(outside.Addr6(), strict.MAC), everybody)
		p.DstMAC, p.Dst = outside.MAC, outside.Addr6()
		add("NS, unicast", p.NeighborSolicit(outside.Addr6(), strict.MAC), "outside")
		add("NA", p.NeighborAdvert(src, strict.MAC), "outside")
		p.DstMAC, p.Dst = testbed.MulticastMAC(testbed.AllNodes), testbed.AllNodes
		add("NA, unasked", p.NeighborAdvert(src, strict.MAC), everybody)
		group = testbed.SolicitedNode(src)
		p = testbed.Packet{SrcMAC: strict.MAC, DstMAC: testbed.MulticastMAC(group), Src: unspecified6, Dst: group}
		add("DAD", p.NeighborSolicit(src, nil), everybody)
	}
	// A nonce (RFC 7527) is an option of type 14.
	group := testbed.SolicitedNode(linkLocal)
	p := testbed.Packet{SrcMAC: strict.MAC, DstMAC: testbed.MulticastMAC(group), Src: unspecified6, Dst: group, TTL: 255}
	add("DAD with a nonce", p.ICMP(135, 0, 0, append(linkLocal.AsSlice(), 14, 1, 1, 2, 3, 4, 5, 6)), everybody)

	// To routers and servers, which are outside.
	for _, src := range []netip.Addr{linkLocal, unspecified6} {
		p := testbed.Packet{SrcMAC: strict.MAC, DstMAC: hw("33:33:00:00:00:02"), Src: src, Dst: addr("ff02::2"), TTL: 255}
		body := []byte{}
		if src == linkLocal {
			body = append([]byte{1, 1}, strict.MAC...)
		}
		add(fmt.Sprintf("RS from %v", src), p.ICMP(133, 0, 0, body), "outside")
		p.TTL = 1
		done := p.ICMP(132, 0, 0, addr("ff02::db8").AsSlice())
		p.DstMAC, p.Dst = hw("33:33:00:00:00:16"), addr("ff02::16")
		report := p.ICMP(143, 0, 1, append([]byte{4, 0, 0, 0}, addr("ff02::db8").AsSlice()...))
		p.DstMAC, p.Dst = hw("33:33:00:00:0d:b8"), addr("ff02::db8")
		v1 := p.ICMP(131, 0, 0, p.Dst.AsSlice())
		for name, f := range map[string][]byte{"report": report, "report v1": v1, "done": done} {
			add(fmt.Sprintf("MLD %s from %v", name, src), f, "outside")
			add(fmt.Sprintf("MLD %s from %v with router alert", name, src), extended(f, 0), "outside")
		}
	}
	d := testbed.Packet{SrcMAC: strict.MAC, DstMAC: testbed.Broadcast, Src: unspecified4, Dst: addr("255.255.255.255")}
	add("DHCP discover", d.DHCP(testbed.DHCPDiscover, 1, strict.MAC, netip.Addr{}), "outside")
	add("DHCP request", d.DHCP(testbed.DHCPRequest, 1, strict.MAC, netip.Addr{}), "outside")
	d.Src = strict.Addr4()
	add("DHCP rebinding", d.DHCP(testbed.DHCPRequest, 1, strict.MAC, netip.Addr{}), "outside")
	d = strict.To(outside, outside.Addr4())
	add("DHCP renewal", d.DHCP(testbed.DHCPRequest, 1, strict.MAC, netip.Addr{}), "outside")
	d.Dst = addr("192.0.2.1")
	add("DHCP renewal with anybody", d.DHCP(testbed.DHCPRequest, 1, strict.MAC, netip.Addr{}), "")
	servers := addr("ff02::1:2")
	d = testbed.Packet{SrcMAC: strict.MAC, DstMAC: testbed.MulticastMAC(servers), Src: linkLocal, Dst: servers}
	add("DHCPv6 solicit", d.DHCPv6(1, 1), "outside")
	add("DHCPv6 request", d.DHCPv6(3, 1), "outside")
	d.DstMAC, d.Dst = outside.MAC, linkLocalOf(outside.MAC)
	add("DHCPv6 renewal, unicast", d.DHCPv6(5, 1), "outside")
	d.Dst = addr("2001:db8::1")
	add("DHCPv6 renewal with anybody", d.DHCPv6(5, 1), "")

	// Packets that are no infrastructure do not pass.
	for _, dst := range outside.Addrs {
		p := strict.To(outside, dst)
		add("UDP", p.UDP(68, 53, nil), "")
		add("UDP to DHCP's ports from another", p.UDP(53, 67, nil), "")
		add("UDP to DHCPv6's port from another", p.UDP(53, 547, nil), "")
		add("ping", p.Echo(1, 1, nil), "")
		add("TCP", p.TCP(68, 67, testbed.TCPSyn, 1, 0, nil), "")
	}
	igmp := strict.To(outside, addr("224.0.0.22"))
	igmp.DstMAC = testbed.MulticastMAC(igmp.Dst)
	add("IGMP, which a rule must allow", igmp.IP(2, make([]byte, 8)), "")
	return out
}

// infraBetweenVMs: between two VMs without rules ARP and neighbour discovery
// go both ways, and nothing else.
func infraBetweenVMs(l *lab) []sent {
	var out []sent
	for _, pair := range [][2]string{{"strict", "other"}, {"other", "strict"}, {"peer", "strict"}, {"strict", "peer"}} {
		a, b := l.vms[pair[0]], l.vms[pair[1]]
		rest := strings.Join(l.fenced(a.Name), " ")
		add := func(name string, frame []byte, to string) { out = append(out, sent{name, a.Name, frame, to}) }
		all := testbed.Packet{SrcMAC: a.MAC, DstMAC: testbed.Broadcast}
		add("ARP request", all.ARP(testbed.ARPRequest, a.MAC, a.Addr4(), nil, b.Addr4()), rest)
		add("ARP request, unicast", a.To(b, b.Addr4()).ARP(testbed.ARPRequest, a.MAC, a.Addr4(), b.MAC, b.Addr4()), b.Name)
		add("ARP reply", a.To(b, b.Addr4()).ARP(testbed.ARPReply, a.MAC, a.Addr4(), b.MAC, b.Addr4()), b.Name)
		p := a.To(b, testbed.SolicitedNode(b.Addr6()))
		p.Src, p.DstMAC = a.Addr6(), testbed.MulticastMAC(p.Dst)
		add("NS", p.NeighborSolicit(b.Addr6(), a.MAC), rest)
		p = a.To(b, b.Addr6())
		add("NS, unicast", p.NeighborSolicit(b.Addr6(), a.MAC), b.Name)
		add("NA", p.NeighborAdvert(a.Addr6(), a.MAC), b.Name)
		// No VM may be a DHCP server.
		add("DHCP to a VM", a.To(b, b.Addr4()).DHCP(testbed.DHCPRequest, 1, a.MAC, netip.Addr{}), "")
		add("DHCPv6 to a VM", p.DHCPv6(3, 1), "")
		add("RS to a VM", p.RouterSolicit(), "")
		for _, dst := range b.Addrs {
			add("ping", a.To(b, dst).Echo(1, 1, nil), "")
			add("UDP", a.To(b, dst).UDP(1, 2, nil), "")
		}
	}
	return out
}

// neighbours: the kernels resolve each other's addresses although no rule allows traffic.
func (l *lab) neighbours() {
	l.t.Helper()
	for _, pair := range [][2]string{{"strict", "outside"}, {"outside", "strict"}, {"strict", "other"}, {"other", "strict"}, {"peer", "strict"}} {
		a, b := l.vms[pair[0]], l.vms[pair[1]]
		if _, err := a.Exec("ip", "neigh", "flush", "dev", "e0"); err != nil {
			l.t.Fatal(err)
		}
		for _, dst := range b.Addrs {
			if ok, err := testbed.Ping(a, dst, 50*time.Millisecond); ok || err != nil {
				l.t.Errorf("%s pings %v: %v %v", a.Name, dst, ok, err)
			}
			var found string
			err := testbed.Poll(within(l.t, 5*time.Second), 5*time.Millisecond, func() (bool, error) {
				var err error
				found, err = a.Exec("ip", "neigh", "show", dst.String(), "dev", "e0")
				return strings.Contains(found, b.MAC.String()), err
			})
			if err != nil {
				l.t.Errorf("%s does not find %v: %q (%v)", a.Name, dst, found, err)
			}
		}
	}
}

// pathMTU: a router's error about an allowed connection arrives, in both
// directions of the connection; an error about any other connection does not.
func (l *lab) pathMTU() {
	l.t.Helper()
	path, outside := l.vms["path"], l.vms["outside"]
	for _, far := range []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")} {
		kind, code, rest, exceeded := uint8(3), uint8(4), uint32(1400), uint8(11)
		if far.Is6() {
			kind, code, exceeded = 2, 0, 3
		}
		out := path.To(outside, far)
		in := testbed.Packet{SrcMAC: outside.MAC, DstMAC: path.MAC, Src: far, Dst: out.Src}
		router := outside.To(path, out.Src)
		about := func(frame []byte) []byte { return router.ICMP(kind, code, rest, frame[14:]) }
		asked := out.UDP(3000, 9000, make([]byte, 64))
		answer := out.TCP(80, 3001, testbed.TCPSyn|testbed.TCPAck, 7, 2, nil)
		strangers := in
		strangers.Src, strangers.Dst = out.Src, addr("203.0.113.1")
		if far.Is6() {
			strangers.Dst = addr("2001:db8:2::1")
		}
		// The kernel listens only if a socket is concerned.
		if _, err := path.ListenUDP(netip.AddrPortFrom(out.Src, 3000)); err != nil {
			l.t.Fatal(err)
		}
		l.run([]sent{
			{"request", "path", asked, "outside"},
			{"too big", "outside", about(asked), "path"},
			{"time exceeded", "outside", router.ICMP(exceeded, 0, 0, asked[14:]), "path"},
			{"client's SYN", "outside", in.TCP(3001, 80, testbed.TCPSyn, 1, 0, nil), "path"},
			{"server's answer", "path", answer, "outside"},
			{"too big, server's", "outside", about(answer), "path"},
			{"too big, no such connection", "outside", about(out.UDP(3002, 9000, make([]byte, 64))), ""},
			{"too big, denied connection", "outside", about(out.UDP(3000, 9001, make([]byte, 64))), ""},
			{"too big, another host", "outside", about(strangers.UDP(3000, 9000, make([]byte, 64))), ""},
			{"ping", "outside", router.Echo(1, 1, nil), ""},
		})
		// The kernel believes it.
		route, err := path.Exec("ip", "route", "get", far.String())
		if err != nil || !strings.Contains(route, "mtu 1400") {
			l.t.Errorf("path to %v: %s (%v)", far, route, err)
		}
	}
}

// traceroute: the kernel of the host outside is the first router on the way.
func (l *lab) traceroute() {
	l.t.Helper()
	path, outside := l.vms["path"], l.vms["outside"]
	for _, command := range []string{
		"sysctl -qw net.ipv4.ip_forward=1", "ip route add 198.51.100.0/24 via 10.0.1.254",
		"sysctl -qw net.ipv6.conf.all.forwarding=1", "ip route add 2001:db8:1::/64 via fd00:1::fe",
		// Errors sent before must not use up what the router may send (icmp(7)).
		"sysctl -qw net.ipv4.icmp_ratelimit=0", "sysctl -qw net.ipv6.icmp.ratelimit=0",
	} {
		args := strings.Fields(command)
		if _, err := outside.Exec(args[0], args[1:]...); err != nil {
			l.t.Fatal(err)
		}
	}
	for _, far := range []netip.Addr{addr("198.51.100.1"), addr("2001:db8:1::1")} {
		l.forget()
		p := path.To(outside, far)
		p.TTL = 1
		m, never := newMark(), newMark()
		exceeded := func(m mark) func([]byte) bool {
			return func(f []byte) bool {
				icmp := len(f) > 54 && (f[12] == 8 && f[23] == testbed.ProtoICMP && f[34] == 11 || f[12] == 0x86 && f[20] == testbed.ProtoICMPv6 && f[54] == 3)
				return icmp && has(m)(f)
			}
		}
		if err := path.Send(p.UDP(3100, 9001, never), p.UDP(3100, 9000, m)); err != nil {
			l.t.Fatal(err)
		}
		l.passes("path", 1, exceeded(m))
		if n := l.count("path", exceeded(never)); n > 0 || l.at(never) != "" {
			l.t.Errorf("traceroute over a port that no rule allows: %d answers, at %q", n, l.at(never))
		}
	}
}
