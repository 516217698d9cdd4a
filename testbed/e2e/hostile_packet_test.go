package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// extended puts an extension header of 8 bytes behind the IPv6 header of a frame.
func extended(frame []byte, kind byte) []byte {
	out := slices.Clone(frame)
	header := []byte{out[20], 0, 1, 4, 0, 0, 0, 0} // PadN
	switch kind {
	case 43:
		header = []byte{out[20], 0, 253, 0, 0, 0, 0, 0} // experimental routing, no segments left
	case 51:
		header = []byte{out[20], 0, 0, 0, 0, 0, 0, 1}
	}
	out[20] = kind
	binary.BigEndian.PutUint16(out[18:], binary.BigEndian.Uint16(out[18:])+8)
	return slices.Insert(out, 54, header...)
}

// extensionHeaders: the rules judge the protocol behind extension headers.
func extensionHeaders(l *lab) []sent {
	web := l.vms["web"]
	p := l.vms["mallory"].To(web, web.Addr6())
	var out []sent
	for name, kinds := range map[string][]byte{"nothing": {}, "hop-by-hop": {0}, "destination options": {60}, "routing": {43},
		"four headers": {60, 43, 60, 0}} {
		wrap := func(f []byte) []byte {
			for _, kind := range kinds {
				f = extended(f, kind)
			}
			return f
		}
		out = append(out,
			sent{"TCP 80 behind " + name, "mallory", wrap(p.TCP(6000, 80, testbed.TCPSyn, 1, 0, nil)), "web"},
			sent{"TCP 81 behind " + name, "mallory", wrap(p.TCP(6000, 81, testbed.TCPSyn, 1, 0, nil)), ""},
			sent{"UDP 53 behind " + name, "mallory", wrap(p.UDP(6000, 53, nil)), "web"},
			sent{"UDP 54 behind " + name, "mallory", wrap(p.UDP(6000, 54, nil)), ""},
			sent{"ping behind " + name, "mallory", wrap(p.Echo(1, 1, nil)), ""},
		)
	}
	for name, proto := range map[string]byte{"no next header": 59, "mobility": 135, "SCTP": 132} {
		out = append(out, sent{name, "mallory", p.IP(proto, make([]byte, 24)), ""})
	}
	return out
}

// oddTCP: the rules judge the first segment of a connection whatever its flags are.
func oddTCP(l *lab) []sent {
	web := l.vms["web"]
	var out []sent
	for _, dst := range web.Addrs {
		for i, from := range []string{"mallory", "outside"} {
			p := l.vms[from].To(web, dst)
			port := uint16(7000 + 10*i)
			add := func(name string, src, dst uint16, flags uint8, to string) {
				out = append(out, sent{fmt.Sprintf("%s to port %d, %v", name, dst, p.Dst), from, p.TCP(src, dst, flags, 1, 1, nil), to})
			}
			add("ACK", port, 80, testbed.TCPAck, "web")
			add("ACK", port, 81, testbed.TCPAck, "")
			add("ACK from port 80", 80, 81, testbed.TCPAck, "")
			add("data", port+1, 80, testbed.TCPAck|testbed.TCPPsh, "web")
			add("data", port+1, 81, testbed.TCPAck|testbed.TCPPsh, "")
			add("SYN", port+2, 80, testbed.TCPSyn, "web")
			add("SYN", port+2, 81, testbed.TCPSyn, "")
			add("SYN and ACK", port+3, 81, testbed.TCPSyn|testbed.TCPAck, "")
			add("FIN and ACK", port+4, 81, testbed.TCPFin|testbed.TCPAck, "")
			add("reset", port+5, 81, testbed.TCPRst, "")
		}
	}
	return out
}

// oddDestinations: the Ethernet and the IP address of the destination belong to
// different hosts, or to none.
func oddDestinations(l *lab) []sent {
	mallory, victim, web, closed, outside := l.vms["mallory"], l.vms["victim"], l.vms["web"], l.vms["closed"], l.vms["outside"]
	var out []sent
	for i := range 10 {
		p := testbed.Packet{SrcMAC: mallory.MAC, DstMAC: hw(fmt.Sprintf("02:99:00:00:%02x:%02x", i*7, i)),
			Src: mallory.Addr4(), Dst: netip.AddrFrom4([4]byte{10, 0, byte(i), byte(100 + i)})}
		out = append(out, sent{"unknown MAC", "mallory", p.UDP(5000, 53, nil), "outside"})
		p.SrcMAC, p.Src = closed.MAC, closed.Addr4()
		out = append(out, sent{"unknown MAC, no rule", "closed", p.UDP(5000, 53, nil), ""})
		p.SrcMAC, p.Src = outside.MAC, outside.Addr4()
		out = append(out, sent{"unknown MAC from outside", "outside", p.UDP(5000, 53, nil), ""})
	}
	mismatch := func(mac *testbed.Host, dst netip.Addr) []byte {
		p := mallory.To(mac, dst)
		return p.UDP(5001, 53, nil)
	}
	out = append(out,
		sent{"closed's MAC, victim's address", "mallory", mismatch(closed, victim.Addr4()), ""},
		sent{"closed's MAC, web's address", "mallory", mismatch(closed, web.Addr4()), ""},
		sent{"closed's MAC, outside's address", "mallory", mismatch(closed, outside.Addr4()), ""},
		sent{"outside's MAC, closed's address", "mallory", mismatch(outside, closed.Addr4()), "outside"},
		sent{"victim's MAC, victim's address", "mallory", mismatch(victim, victim.Addr4()), "victim"},
	)
	// A unicast packet in a multicast frame, and a true multicast packet. The
	// rules judge each copy.
	group4, group6 := addr("239.1.2.3"), addr("ff05::1:2")
	for _, c := range []struct {
		mac net.HardwareAddr
		dst netip.Addr
	}{
		{testbed.Broadcast, closed.Addr4()}, {testbed.Broadcast, closed.Addr6()},
		{testbed.MulticastMAC(group4), web.Addr4()}, {testbed.MulticastMAC(group6), web.Addr6()},
		{testbed.MulticastMAC(group4), group4}, {testbed.MulticastMAC(group6), group6},
		{testbed.Broadcast, addr("255.255.255.255")}, {testbed.Broadcast, addr("10.0.1.255")},
	} {
		for from, to := range map[string][2]string{
			"mallory": {"friend outside victim web", "friend outside victim"},
			"outside": {"friend mallory victim web", "friend mallory victim"},
			"closed":  {},
			"web":     {},
		} {
			p := l.vms[from].To(l.vms[from], c.dst)
			p.DstMAC = c.mac
			name := fmt.Sprintf("%v in a frame to %v, UDP ", c.dst, c.mac)
			out = append(out,
				sent{name + "53", from, p.UDP(5002, 53, nil), to[0]},
				sent{name + "54", from, p.UDP(5002, 54, nil), to[1]})
		}
	}
	slices.SortStableFunc(out, func(a, b sent) int { return strings.Compare(a.from, b.from) })
	return out
}

// readdressed: a connection to one VM opens no other VM for packets with the same
// IP address in a frame to the other VM's MAC, and neither does its answer.
func (l *lab) readdressed() {
	l.t.Helper()
	mallory, web, closed := l.vms["mallory"], l.vms["web"], l.vms["closed"]
	if err := closed.ServeUDP(53); err != nil {
		l.t.Fatal(err)
	}
	for _, dst := range closed.Addrs {
		there := mallory.To(web, dst)
		back := web.To(closed, there.Src)
		for i, host := range []string{"friend", "victim", "web"} {
			there.DstMAC = l.vms[host].MAC
			to := there
			to.DstMAC = closed.MAC
			m, answer := newMark(), []byte("closed\n")
			port := uint16(5050 + i)
			l.forget()
			for range 2 {
				// The other VM decides about the first packet.
				if err := mallory.Send(there.UDP(port, 53, nil)); err != nil {
					l.t.Fatal(err)
				}
				l.fence("mallory")
				if err := mallory.Send(to.UDP(port, 53, m)); err != nil {
					l.t.Fatal(err)
				}
				l.fence("mallory")
			}
			if at := l.at(m); at != "" {
				l.t.Errorf("%v in frames to %s, then in a frame to closed: arrived at %q", dst, host, at)
			}
			l.fence("closed")
			if n := l.count("mallory", has(answer)); n > 0 {
				l.t.Errorf("%v in frames to %s, then in a frame to closed: it answered %d times", dst, host, n)
			}
		}
		honest := mallory.To(web, back.Src)
		m := newMark()
		l.run([]sent{
			{"mallory's question", "mallory", honest.UDP(5060, 53, nil), "web"},
			{"web's answer in a frame to closed", "web", m.on(back.UDP(53, 5060, nil)), ""},
		})
	}
}

// hostileFragments: web takes UDP 53 and TCP 80 only.
func (l *lab) hostileFragments() {
	l.t.Helper()
	l.forget()
	mallory, web := l.vms["mallory"], l.vms["web"]
	for _, dst := range web.Addrs {
		p := mallory.To(web, dst)
		id := uint16(100)
		if dst.Is6() {
			id = 200
		}
		body := func(m mark) []byte { // a mark in each piece
			return bytes.Repeat(append(slices.Clone(m), make([]byte, 320-len(m))...), 11)
		}
		whole := func(port uint16, m mark) [][]byte {
			id++
			return p.Fragments(testbed.ProtoUDP, id, p.UDPSegment(5000, port, body(m)), 1280)
		}
		check := func(name string, to string, frames func(m mark) [][]byte) {
			l.t.Helper()
			m := newMark()
			if err := mallory.Send(frames(m)...); err != nil {
				l.t.Fatal(err)
			}
			l.fence("mallory")
			// Mallory gets an ICMP error from web.
			if got := strings.TrimPrefix(strings.TrimPrefix(l.at(m), "mallory"), " "); got != to {
				l.t.Errorf("%v: %s: arrived at %q, want %q", dst, name, got, to)
			}
		}
		check("one piece to 53", "web", func(m mark) [][]byte { return [][]byte{p.UDP(5000, 53, m)} })
		check("one piece to 54", "", func(m mark) [][]byte { return [][]byte{p.UDP(5000, 54, m)} })
		check("pieces to 53", "web*3", func(m mark) [][]byte { return whole(53, m) })
		check("pieces to 54", "", func(m mark) [][]byte { return whole(54, m) })
		check("later pieces first", "web*3", func(m mark) [][]byte {
			f := whole(53, m)
			slices.Reverse(f)
			return f
		})
		check("later pieces first, to 54", "", func(m mark) [][]byte {
			f := whole(54, m)
			slices.Reverse(f)
			return f
		})
		check("no first piece", "", func(m mark) [][]byte { return whole(53, m)[1:] })
		check("first piece only", "", func(m mark) [][]byte { return whole(53, m)[:1] })
		check("tiny first piece", "", func(m mark) [][]byte {
			id++
			return p.Fragments(testbed.ProtoUDP, id, p.UDPSegment(5000, 53, body(m)), 8)[:4]
		})
		check("tiny first piece of TCP", "", func(m mark) [][]byte {
			id++
			tcp := p.TCP(5000, 80, testbed.TCPSyn, 1, 0, m)
			return p.Fragments(testbed.ProtoTCP, id, tcp[len(p.IP(testbed.ProtoTCP, nil)):], 8)
		})
		// Of two fragments with the same offset the first counts.
		check("first piece twice, 53 then 54", "web*3", func(m mark) [][]byte {
			evil := p.Fragments(testbed.ProtoUDP, id+1, p.UDPSegment(5000, 54, body(m)), 1280)
			return slices.Insert(whole(53, m), 1, evil[0])
		})
		check("first piece twice, 54 then 53", "", func(m mark) [][]byte {
			good := p.Fragments(testbed.ProtoUDP, id+1, p.UDPSegment(5000, 53, body(m)), 1280)
			return slices.Insert(whole(54, m), 1, good[0])
		})
		check("overlapping pieces", "web*3", func(m mark) [][]byte {
			over := p.Fragments(testbed.ProtoUDP, id+1, p.UDPSegment(5000, 53, body(m)), 1272)
			other := newMark() // on the one that overlaps: it must be the one that is lost
			over[1] = bytes.ReplaceAll(over[1], m, other)
			return slices.Insert(whole(53, m), 1, over[1])
		})
		check("first piece of one, rest of another", "", func(m mark) [][]byte {
			f := whole(54, m)
			rest := p.Fragments(testbed.ProtoUDP, id, p.UDPSegment(5000, 53, body(m)), 1280)
			return append(f[:1:1], rest[1:]...)
		})
		check("pieces to 53 again", "web*3", func(m mark) [][]byte { return whole(53, m) })
	}
}
