package compile_test

import (
	"net/netip"
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
)

// prober draws packets for a world, near the edges of what its rules say.
type prober struct {
	dice
	l, before *loaded // before: the world that was in force until now, or nil
	addrs     map[bool][]netip.Addr
	services  []service
}

type service struct {
	proto uint8
	port  uint16
}

func newProber(d dice, l, before *loaded) *prober {
	p := &prober{dice: d, l: l, before: before, addrs: map[bool][]netip.Addr{}}
	add := func(a netip.Addr) {
		if a.IsValid() && !a.IsMulticast() && !a.IsUnspecified() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			p.addrs[a.Is6()] = append(p.addrs[a.Is6()], a)
		}
	}
	edges := func(prefix netip.Prefix) {
		if !prefix.IsValid() {
			return
		}
		first, last := prefix.Addr(), prefix.Addr().AsSlice()
		for i := prefix.Bits(); i < 8*len(last); i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, a := range []netip.Addr{first, first.Prev(), end, end.Next()} {
			add(a)
		}
	}
	for _, a := range []string{"8.8.8.8", "10.0.0.1", "10.255.255.255", "2001:db8::1", "fd00::1", "fe80::1"} {
		add(netip.MustParseAddr(a))
	}
	for _, s := range l.w.subnets {
		for _, b := range s.blocks {
			edges(b)
		}
	}
	for _, g := range l.w.groups {
		for _, r := range g.rules {
			edges(r.prefix.Masked())
			for _, port := range []int{int(r.first) - 1, int(r.first), int(r.last), int(r.last) + 1} {
				if r.proto != 0 && r.proto != flows.ProtoICMP && port >= 0 && port <= 65535 {
					p.services = append(p.services, service{r.proto, uint16(port)}, service{r.proto ^ flows.ProtoTCP ^ flows.ProtoUDP, uint16(port)})
				}
			}
		}
	}
	// The VMs' addresses, for which groups stand, are as frequent as all others.
	n := map[bool]int{false: len(p.addrs[false]), true: len(p.addrs[true])}
	for len(p.addrs[false]) < 2*n[false] || len(p.addrs[true]) < 2*n[true] {
		had := len(p.addrs[false]) + len(p.addrs[true])
		for _, vm := range l.w.vms {
			for _, n := range vm.ifaces {
				for _, a := range n.addrs {
					add(a)
				}
			}
		}
		if had == len(p.addrs[false])+len(p.addrs[true]) {
			break
		}
	}
	return p
}

// end is one end of a connection that is being drawn.
type end struct {
	e    *policy.Endpoint // nil: outside
	addr netip.Addr
	mac  policy.MAC
}

func (n end) ofport() uint16 {
	if n.e == nil {
		return 0
	}
	return n.e.OFPort
}

func (p *prober) local(network int, v6 bool) (end, bool) {
	var from []*policy.Endpoint
	for i := range p.l.model.Endpoints {
		if e := &p.l.model.Endpoints[i]; !e.MAC.IsZero() && (network < 0 || int(e.Tag) == network) {
			from = append(from, e)
		}
	}
	if len(from) == 0 {
		return end{}, false
	}
	n := end{e: one(p.dice, from...)}
	n.mac = n.e.MAC
	var own []netip.Addr
	for _, a := range n.e.Addrs {
		if a.Is6() == v6 {
			own = append(own, a)
		}
	}
	if len(own) == 0 || p.odds(14) {
		own = p.addrs[v6]
	}
	n.addr = one(p.dice, own...)
	return n, true
}

func (p *prober) outside(v6 bool) end {
	return end{addr: one(p.dice, p.addrs[v6]...), mac: one(p.dice,
		policy.MAC{0xe, 0, 0, 0, 0, 1}, policy.MAC{0xe, 0, 0, 0, 0, 2}, policy.MAC{2, 0, 0, 0, 0, 9})}
}

var dhcpPorts = []uint16{67, 68, 546, 547}

// service draws protocol and destination port, but never DHCP, which no rule
// decides about.
func (p *prober) service(v6 bool) (proto uint8, sport, dport uint16) {
	sport = uint16(1024 + p.IntN(60000))
	s := service{one[uint8](p.dice, flows.ProtoTCP, flows.ProtoUDP, flows.ProtoICMP, flows.ProtoICMPv6, flows.ProtoSCTP, 2, 4, 41, 47, 50, 51, 112, 136), p.port()}
	if len(p.services) > 0 && !p.odds(3) {
		s = one(p.dice, p.services...)
	}
	if p.odds(4) {
		s.proto = flows.ProtoICMP
		if v6 {
			s.proto = flows.ProtoICMPv6
		}
	}
	switch {
	case s.proto == flows.ProtoUDP && slices.Contains(dhcpPorts, s.port):
		s.port = 69
	case s.proto == flows.ProtoICMP:
		return s.proto, 8, 0
	case s.proto == flows.ProtoICMPv6:
		return s.proto, 128, 0
	case !hasPorts(s.proto):
		return s.proto, 0, 0
	}
	return s.proto, sport, s.port
}

// frame puts a packet on its way from one end to the other.
func (p *prober) frame(from, to end, network uint16) packet {
	k := packet{eth: from.mac, to: to.mac, src: from.addr, dst: to.addr}
	if from.e != nil {
		k.inPort = from.e.OFPort
		return k
	}
	at := one(p.dice, where(network)...)
	k.inPort, k.vlan = at.ofport, at.vlan
	return k
}

// side draws one side's part of ct_label. It draws the present epoch only if the
// side allows the connection.
func (p *prober) side(ofport uint16, d policy.Direction, allowed bool) (port, epoch uint32) {
	own, now := uint32(ofport), p.l.epoch(ofport, d)
	if ofport != 0 && allowed && p.odds(2) {
		return own, now
	}
	for {
		port, epoch = own, one(p.dice, 0, now-1, now+1, now^0x8000, now<<16, 1)
		if p.odds(3) {
			port, epoch = one(p.dice, 0, own+1, own^0x100, own<<16), one(p.dice, 0, now)
		}
		if ofport == 0 || port != own || epoch != now {
			return port, epoch
		}
	}
}

// connection draws a connection. Most random ones are denied, so it prefers
// allowed ones; mistakes are likely at the edges of rules, so it often goes one
// step aside.
func (p *prober) connection() (orig, resp end, conn tuple, now policy.Verdict, ok bool) {
	if p.before != nil && p.odds(3) { // a connection that was allowed and is not any more
		for range 25 {
			if orig, resp, conn, ok = p.ruled(); !ok || !p.before.evaluate(orig.ofport(), resp.ofport(), conn).Allowed {
				continue
			}
			if now = p.l.evaluate(orig.ofport(), resp.ofport(), conn); !now.Allowed {
				return orig, resp, conn, now, true
			}
		}
	}
	for range one(p.dice, 1, 2, 8) {
		if orig, resp, ok = p.ends(); !ok {
			continue
		}
		conn = tuple{src: orig.addr, dst: resp.addr}
		conn.proto, conn.sport, conn.dport = p.service(orig.addr.Is6())
		if o, r, c, found := p.ruled(); found && p.odds(2) {
			orig, resp, conn = o, r, c
		}
		if now = p.l.evaluate(orig.ofport(), resp.ofport(), conn); now.Allowed {
			break
		}
	}
	if !ok || !now.Allowed || p.odds(2) {
		return orig, resp, conn, now, ok
	}
	aside := func(a netip.Addr) netip.Addr {
		if b := one(p.dice, a.Next(), a.Prev()); b.IsValid() && !b.IsMulticast() && !b.IsUnspecified() {
			return b
		}
		return a
	}
	switch p.IntN(4) {
	case 0:
		conn.proto = one[uint8](p.dice, flows.ProtoTCP, flows.ProtoUDP, flows.ProtoSCTP, 47)
		if !hasPorts(conn.proto) {
			conn.sport, conn.dport = 0, 0
		}
	case 1:
		if resp.e == nil {
			resp.addr = aside(resp.addr)
			conn.dst = resp.addr
		} else if orig.e == nil {
			orig.addr = aside(orig.addr)
			conn.src = orig.addr
		}
	default:
		if hasPorts(conn.proto) {
			conn.dport += one[uint16](p.dice, 1, 0xffff)
		}
	}
	if conn.proto == flows.ProtoUDP && slices.Contains(dhcpPorts, conn.dport) {
		conn.dport = 69
	}
	return orig, resp, conn, p.l.evaluate(orig.ofport(), resp.ofport(), conn), true
}

// ruled draws a connection that some rule matches, of this policy or the one
// before.
func (p *prober) ruled() (orig, resp end, conn tuple, ok bool) {
	model := p.l.model
	if p.before != nil && p.odds(2) {
		model = p.before.model
	}
	self, ok := p.local(-1, p.odds(3))
	was := slices.IndexFunc(model.Endpoints, func(e policy.Endpoint) bool { return ok && e.OFPort == self.e.OFPort })
	if was < 0 || len(model.Endpoints[was].Groups) == 0 {
		return orig, resp, conn, false
	}
	e := model.Endpoints[was]
	id := one(p.dice, e.Groups...)
	g := model.Groups[slices.IndexFunc(model.Groups, func(g policy.RuleGroup) bool { return g.ID == id })]
	if len(g.Rules) == 0 {
		return orig, resp, conn, false
	}
	r := one(p.dice, g.Rules...)
	v6 := self.addr.Is6()
	var there []netip.Addr
	switch r.Remote.Kind {
	case policy.ResolvedMembers:
		for _, m := range model.Members {
			if m.VPC == e.VPC && m.Addr.Is6() == v6 && slices.Contains(m.Groups, r.Remote.Group) {
				there = append(there, m.Addr)
			}
		}
	case policy.ResolvedPrefixes:
		for _, a := range p.addrs[v6] {
			if slices.ContainsFunc(r.Remote.Prefixes, func(x netip.Prefix) bool { return x.Contains(a) }) {
				there = append(there, a)
			}
		}
	default:
		there = p.addrs[v6]
	}
	if len(there) == 0 {
		return orig, resp, conn, false
	}
	other := p.outside(v6)
	other.addr = one(p.dice, there...)
	for i := range p.l.model.Endpoints {
		if n := &p.l.model.Endpoints[i]; n.Tag == self.e.Tag && n != self.e && slices.Contains(n.Addrs, other.addr) && !n.MAC.IsZero() && !p.odds(4) {
			other.e, other.mac = n, n.MAC
		}
	}
	conn.proto, conn.sport, conn.dport = p.service(v6)
	switch r.Protocol {
	case policy.ICMP:
		conn.proto, conn.sport, conn.dport = flows.ProtoICMP, 8, 0
		if v6 {
			conn.proto, conn.sport = flows.ProtoICMPv6, 128
		}
	case policy.TCP, policy.UDP:
		conn.proto, conn.sport, conn.dport = flows.ProtoTCP, 4000, one(p.dice, r.Ports.First, r.Ports.Last, r.Ports.Last)
		if r.Protocol == policy.UDP {
			conn.proto = flows.ProtoUDP
		}
	}
	if conn.proto == flows.ProtoUDP && slices.Contains(dhcpPorts, conn.dport) {
		conn.dport = 69
	}
	orig, resp = self, other
	if r.Direction == policy.Ingress {
		orig, resp = other, self
	}
	conn.src, conn.dst = orig.addr, resp.addr
	return orig, resp, conn, true
}

func (p *prober) ends() (orig, resp end, ok bool) {
	v6 := p.odds(3)
	ok = true
	switch p.IntN(3) {
	case 0:
		if orig, ok = p.local(-1, v6); ok {
			resp, ok = p.local(int(orig.e.Tag), v6)
		}
	case 1:
		orig, ok = p.local(-1, v6)
		resp = p.outside(v6)
	case 2:
		orig = p.outside(v6)
		resp, ok = p.local(-1, v6)
	}
	return orig, resp, ok && orig.e != resp.e
}

// packets draws a connection and some of the packets it may have.
func (p *prober) packets() (ks []packet) {
	orig, resp, conn, now, ok := p.connection()
	if !ok {
		return nil
	}
	proto, sport, dport, v6 := conn.proto, conn.sport, conn.dport, orig.addr.Is6()
	network := uint16(0)
	if orig.e != nil {
		network = orig.e.Tag
	} else {
		network = resp.e.Tag
	}
	forth, back := p.frame(orig, resp, network), p.frame(resp, orig, network)
	for _, k := range []*packet{&forth, &back} {
		k.conn, k.proto, k.sport, k.dport = conn, proto, sport, dport
	}
	if hasPorts(proto) {
		back.sport, back.dport = dport, sport
	} else if sport != 0 {
		back.sport = map[uint16]uint16{8: 0, 128: 129}[sport]
	}
	label := func() (l flows.Label) {
		l.Orig, l.OrigEpoch = p.side(orig.ofport(), policy.Egress, now.Egress.Allowed)
		l.Resp, l.RespEpoch = p.side(resp.ofport(), policy.Ingress, now.Ingress.Allowed)
		return l
	}
	written := func(by *loaded) flows.Label {
		o, r := orig.ofport(), resp.ofport()
		return flows.Label{Orig: uint32(o), Resp: uint32(r), OrigEpoch: by.epoch(o, policy.Egress), RespEpoch: by.epoch(r, policy.Ingress)}
	}
	add := func(k packet, state string, label flows.Label) {
		k.state, k.label = state, label
		ks = append(ks, k)
	}
	add(forth, "new", flows.Label{})
	own := orig.e == nil || slices.Contains(orig.e.Addrs, orig.addr)
	if !own {
		add(forth, "est", label())
		return ks // the connection never got an answer
	}
	if now.Allowed { // the entry that the first packet has written
		add(forth, "est", written(p.l))
		add(back, "est|rpl", written(p.l))
	}
	add(forth, one(p.dice, "new", "est"), label())
	add(back, "est|rpl", label())
	if p.odds(3) {
		forth.later = hasPorts(proto)
		add(forth, one(p.dice, "new", "est"), label())
		forth.later, back.later = false, hasPorts(proto)
		add(back, "est|rpl", label())
		if proto == flows.ProtoUDP && p.odds(3) { // a piece to a client of DHCP
			client := uint16(68)
			if v6 {
				client = 546
			}
			piece := forth
			piece.later, piece.conn.dport = true, client
			add(piece, "new", label())
			piece = back
			piece.conn.sport = client
			add(piece, "est|rpl", label())
		}
		back.later = false
	}
	if p.odds(6) {
		add(forth, "inv", label())
		add(back, "inv", label())
	}
	if p.odds(3) { // ICMP errors, from the other end or from a router on the way
		icmp, kind := uint8(flows.ProtoICMP), uint16(3)
		if v6 {
			icmp, kind = flows.ProtoICMPv6, 1
		}
		for _, k := range []packet{forth, back} {
			state := "rel"
			sender := orig
			if k.src == resp.addr && k.eth == resp.mac {
				state, sender = "rel|rpl", resp
			}
			if k.proto, k.sport, k.dport = icmp, kind, 1; sender.e == nil {
				k.src = one(p.dice, p.addrs[v6]...)
			}
			k.later = p.odds(4)
			add(k, state, label())
		}
	}
	if p.before != nil { // the entry that the policy before has written
		if was := p.before.evaluate(orig.ofport(), resp.ofport(), conn); was.Allowed {
			n := len(ks)
			add(forth, one(p.dice, "new", "est"), written(p.before))
			add(back, "est|rpl", written(p.before))
			for i := n; i < len(ks); i++ {
				ks[i].carried = true
			}
		}
	}
	return ks
}

// odd draws frames that belong to no VM, or do not concern the host.
func (p *prober) odd() []packet {
	v6 := p.odds(3)
	network := one[uint16](p.dice, 0, 10, 20, 30, 40)
	k := p.frame(p.outside(v6), p.outside(v6), network)
	switch p.IntN(3) {
	case 0: // a VLAN that the port does not carry
		k.vlan = one[uint16](p.dice, 0, 10, 20, 30)
	case 1: // a MAC that is in another network
		k.to = policy.MAC{2, 0, 0, 0, 0, byte(1 + p.IntN(5))}
	case 2: // a VM with another's MAC, or a port without VM
		k.inPort, k.vlan, k.eth = one(p.dice, hostPorts...).ofport, 0, policy.MAC{2, 0, 0, 0, 0, byte(1 + p.IntN(6))}
	}
	k.proto, k.sport, k.dport = p.service(v6)
	k.conn, k.state = tuple{k.src, k.dst, k.proto, k.sport, k.dport}, "new"
	return []packet{k}
}
