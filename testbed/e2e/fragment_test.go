package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// fragmentLab has a VM, mallory, that may send UDP 53 only; friend and victim, whose
// rules allow everything; web, which takes UDP 53; and closed without rules.
func fragmentLab(t *testing.T) *lab {
	h := newHost(t, testbed.Options{})
	text := groupOf("openSG", allOut, allIn) + groupOf("closedSG") +
		groupOf("mallorySG", "{direction: Egress, protocol: UDP, port: 53}", allIn) +
		groupOf("webSG", allOut, "{direction: Ingress, protocol: UDP, port: 53}")
	for i, name := range []string{"mallory", "victim", "friend", "web", "closed"} {
		group := map[string]string{"mallory": "mallorySG", "web": "webSG", "closed": "closedSG"}[name]
		if group == "" {
			group = "openSG"
		}
		text += machine(h.vm(name, 60+i), group)
	}
	h.uplink("outside", 1)
	h.write("all.yaml", text)
	h.start()
	h.wait()
	return h.tapped()
}

// talk has hosts send until stop is called, each packet in a new connection, of which
// it gets the port: each goes through connection tracking, and may take fragments
// along.
func (l *lab) talk(all map[string][]func(port uint16) []byte) (stop func()) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for from, packets := range all {
		wg.Go(func() {
			for port := uint16(20000); ctx.Err() == nil; port++ {
				var frames [][]byte
				for _, packet := range packets {
					frames = append(frames, packet(port))
				}
				if err := l.vms[from].Send(frames...); err != nil {
					l.t.Errorf("%s: %v", from, err)
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	return func() { cancel(); wg.Wait(); l.forget() }
}

// everybody talks to whom the rules allow.
func (l *lab) everybody() (stop func()) {
	l.t.Helper()
	all := map[string][]func(uint16) []byte{}
	for from, tos := range map[string][]string{
		"friend": {"web", "victim", "outside", "mallory"}, "victim": {"friend", "web"}, "outside": {"web", "friend", "victim", "mallory"}, "web": {"outside", "friend"},
		"mallory": {"web"},
	} {
		for _, to := range tos {
			for _, dst := range l.vms[to].Addrs {
				p := l.vms[from].To(l.vms[to], dst)
				all[from] = append(all[from], func(port uint16) []byte { return p.UDP(port, 53, []byte("talk")) })
			}
		}
	}
	return l.talk(all)
}

// arrived is like at, without what the sender gets: an ICMP error from the kernel of
// the other end holds the beginning of the datagram.
func (l *lab) arrived(m mark, from string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(l.at(m)), func(at string) bool { return at == from }), " ")
}

var fragmentID uint16

// pieces is a UDP datagram in n pieces of size bytes each, with the mark in every one.
func pieces(p testbed.Packet, port uint16, m mark, n, size int) [][]byte {
	fragmentID++
	body := bytes.Repeat(append(slices.Clone(m), make([]byte, 40-len(m))...), n*size/40+1)
	return p.Fragments(testbed.ProtoUDP, fragmentID, p.UDPSegment(4000+fragmentID%1000, port, body[:n*size-8]), size)
}

// drained waits until the switch holds no fragment any more.
func (l *lab) drained() {
	l.t.Helper()
	held := regexp.MustCompile(`[Ff]ragments? in process.*?: *(\d+)|num frag: *(\d+)`)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	text := ""
	err := testbed.Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		var err error
		if text, err = l.ovs.Appctl("dpctl/ipf-get-status", "netdev@ovs-netdev"); err != nil {
			return false, err
		}
		m := held.FindStringSubmatch(text)
		if m == nil {
			return false, fmt.Errorf("no number of fragments in %s", text)
		}
		n, err := strconv.Atoi(m[1] + m[2])
		return n == 0, err
	})
	if err != nil {
		l.t.Fatalf("%v\n%s", err, text)
	}
}

// TestFragmentsOfOthers: connection tracking of the userspace datapath hands out the
// fragments of one datagram together with any other packet. They meet the fate of
// their own datagram all the same.
func TestFragmentsOfOthers(t *testing.T) {
	l := fragmentLab(t)
	type way struct {
		from, to string
		port     uint16
		allowed  bool
	}
	ways := []way{
		{"mallory", "web", 54, false}, {"mallory", "friend", 54, false}, {"mallory", "outside", 54, false},
		{"closed", "friend", 53, false}, {"closed", "outside", 53, false}, {"friend", "web", 54, false},
		{"outside", "web", 54, false}, {"outside", "closed", 53, false}, {"friend", "closed", 53, false},
		{"mallory", "web", 53, true}, {"friend", "victim", 54, true}, {"friend", "outside", 54, true}, {"outside", "friend", 54, true}, {"web", "friend", 54, true},
	}
	type probe struct {
		way
		dst  netip.Addr
		mark mark
		want int
		what string
	}
	var probes []probe
	stop := l.everybody()
	send := func(w way, dst netip.Addr, n int, cut func([][]byte) [][]byte, what string) {
		t.Helper()
		m := newMark()
		frames := cut(pieces(l.vms[w.from].To(l.vms[w.to], dst), w.port, m, n, 1280))
		if err := l.vms[w.from].Send(frames...); err != nil {
			t.Fatal(err)
		}
		want := 0
		if w.allowed && what == "" {
			want = n
		}
		probes = append(probes, probe{w, dst, m, want, what})
	}
	whole := func(f [][]byte) [][]byte { return f }
	honest := func() {
		for _, w := range ways {
			for _, dst := range l.vms[w.to].Addrs {
				for _, n := range []int{2, 7, 24} {
					send(w, dst, n, whole, "")
					l.fence(w.from)
				}
			}
		}
	}
	honest()
	for _, w := range ways {
		for _, dst := range l.vms[w.to].Addrs {
			if w.allowed {
				continue
			}
			for range 8 { // more pieces than a batch holds
				send(w, dst, 40, whole, "")
			}
			send(w, dst, 7, func(f [][]byte) [][]byte { return f[1:] }, "no first piece")
			send(w, dst, 7, func(f [][]byte) [][]byte { return f[:6] }, "no last piece")
			l.fence(w.from)
		}
	}
	l.drained() // no piece waits in vain any more
	honest()
	stop()
	for _, p := range probes {
		want := ""
		if p.want > 0 {
			want = fmt.Sprintf("%s*%d", p.to, p.want)
		}
		got := l.at(p.mark)
		if want != "" {
			got = l.arrived(p.mark, p.from)
		}
		if got != want {
			t.Errorf("%s to %s, %v, port %d %s: arrived at %q, want %q", p.from, p.to, p.dst, p.port, p.what, got, want)
		}
	}
}

// TestGuardedInPieces: what only servers and routers send does not pass in pieces
// either, whatever the rules allow.
func TestGuardedInPieces(t *testing.T) {
	l := fragmentLab(t)
	friend, victim := l.vms["friend"], l.vms["victim"]
	check := func(name, want string, m mark, frames [][]byte) {
		t.Helper()
		if err := friend.Send(frames...); err != nil {
			t.Fatal(err)
		}
		l.fence("friend")
		if got := l.arrived(m, "friend"); got != want {
			t.Errorf("%s: arrived at %q, want %q", name, got, want)
		}
	}
	many := func(n int) string { return fmt.Sprintf("mallory*%d outside*%d victim*%d", n, n, n) }
	for _, dst := range victim.Addrs {
		client, all := uint16(68), addr("255.255.255.255")
		if dst.Is6() {
			client, all = 546, testbed.AllNodes
		}
		one, every := friend.To(victim, dst), friend.To(victim, dst)
		every.DstMAC, every.Dst = testbed.Broadcast, all
		if dst.Is6() {
			every.DstMAC = testbed.MulticastMAC(all)
		}
		for name, n := range map[string]int{"2 pieces": 2, "7 pieces": 7} {
			m := newMark()
			check(fmt.Sprintf("%v: to any port, %s", dst, name), fmt.Sprintf("victim*%d", n), m, pieces(one, client+1, m, n, 1280))
			m = newMark()
			check(fmt.Sprintf("%v: to any port of all, %s", dst, name), many(n), m, pieces(every, client+1, m, n, 1280))
			m = newMark()
			check(fmt.Sprintf("%v: to a client of DHCP, %s", dst, name), "", m, pieces(one, client, m, n, 1280))
			m = newMark()
			check(fmt.Sprintf("%v: to all clients of DHCP, %s", dst, name), "", m, pieces(every, client, m, n, 1280))
			m = newMark()
			f := pieces(one, client, m, n, 1280)
			slices.Reverse(f)
			check(fmt.Sprintf("%v: to a client of DHCP, %s, the last first", dst, name), "", m, f)
		}
		// As the answer to a question from the client's port.
		for _, port := range []uint16{client, client + 1} {
			if err := victim.Send(victim.To(friend, one.Src).UDP(port, 5300, nil)); err != nil {
				t.Fatal(err)
			}
			l.fence("victim")
			m := newMark()
			body := bytes.Repeat(append(slices.Clone(m), make([]byte, 40-len(m))...), 100)
			fragmentID++
			want := ""
			if port != client {
				want = "victim*4"
			}
			check(fmt.Sprintf("%v: an answer to port %d", dst, port), want, m, one.Fragments(testbed.ProtoUDP, fragmentID, one.UDPSegment(5300, port, body), 1280))
		}
		// The first piece has no UDP header. (Open vSwitch 3.1.0 lets no such datagram
		// pass, to whatever port.)
		if dst.Is6() {
			m := newMark()
			options := append([]byte{testbed.ProtoUDP, 1280/8 - 1, 1, 4, 0, 0, 0, 0}, make([]byte, 1272)...)
			for at := 8; at < len(options); at += 212 {
				options[at], options[at+1] = 1, byte(min(210, len(options)-at-2))
			}
			copy(options[20:], m)
			fragmentID++
			check(fmt.Sprintf("%v: options, then the UDP header", dst), "", m,
				one.Fragments(60, fragmentID, slices.Concat(options, one.UDPSegment(5301, client, append(slices.Clone(m), make([]byte, 1000)...))), 1280))
		}
		// ICMP errors about a connection of the victim.
		question := victim.To(friend, one.Src).UDP(4444, 4445, make([]byte, 1300))[14:]
		if err := victim.Send(victim.To(friend, one.Src).UDP(4444, 4445, make([]byte, 1300))); err != nil {
			t.Fatal(err)
		}
		l.fence("victim")
		proto, kind := byte(testbed.ProtoICMP), byte(5)
		if dst.Is6() {
			proto, kind = testbed.ProtoICMPv6, 137
		}
		m := newMark()
		whole := one.ICMP(kind, 1, 0, append(append([]byte{}, question...), m...))
		fragmentID++
		check(fmt.Sprintf("%v: redirect in pieces", dst), "", m, one.Fragments(proto, fragmentID, whole[len(one.IP(proto, nil)):], 1280))
	}
}

// TestSmallFragments: allowed datagrams in small pieces arrive, also after a restart
// of ovs-vswitchd, which forgets how small they may be.
func TestSmallFragments(t *testing.T) {
	l := fragmentLab(t)
	for _, when := range []string{"at first", "after a restart of ovs-vswitchd"} {
		for _, size := range []int{384, 528, 960, 1152, 1472} { // IPv4: 404 to 1492 bytes
			for _, dst := range l.vms["web"].Addrs {
				size := size
				if dst.Is6() {
					size = min(size, 1448)
				}
				for port, want := range map[uint16]string{53: "web*12", 54: ""} {
					m := newMark()
					if err := l.vms["friend"].Send(pieces(l.vms["friend"].To(l.vms["web"], dst), port, m, 12, size)...); err != nil {
						t.Fatal(err)
					}
					l.fence("friend")
					if got := l.arrived(m, "friend"); got != want {
						t.Errorf("%s: %v, port %d, pieces of %d bytes: arrived at %q, want %q", when, dst, port, size, got, want)
					}
				}
			}
		}
		if when == "at first" {
			if err := l.ovs.KillSwitchd(); err != nil {
				t.Fatal(err)
			}
			if err := l.ovs.StartSwitchd(); err != nil {
				t.Fatal(err)
			}
			l.fence("friend")
			if err := testbed.Poll(within(t, 10*time.Second), 10*time.Millisecond, func() (bool, error) {
				text, err := l.ovs.Appctl("dpctl/ipf-get-status", "netdev@ovs-netdev")
				return strings.Contains(text, "min v4 frag size: 400"), err
			}); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestFragmentsInVLANs: fragments stay in their VLAN, though the hosts of another one
// have the same addresses and talk too.
func TestFragmentsInVLANs(t *testing.T) {
	l := vlanLab(t)
	a, b, trunk := l.vms["a100"], l.vms["b100"], l.vms["trunk"]
	group4, group6 := addr("239.1.2.3"), addr("ff05::1:2")
	all := map[string][]func(uint16) []byte{}
	talk := func(from string, vlan int, p testbed.Packet) {
		all[from] = append(all[from], func(port uint16) []byte { return inVLAN(vlan, p.UDP(port, 5353, []byte("talk"))) })
	}
	many := func(p testbed.Packet, group netip.Addr) testbed.Packet {
		p.DstMAC, p.Dst = testbed.MulticastMAC(group), group
		return p
	}
	from := func(i int) testbed.Packet { // the trunk's, to VM i of a VLAN
		return testbed.Packet{SrcMAC: trunk.MAC, DstMAC: b.MAC, Src: addr([]string{"10.0.1.9", "fd00:1::9"}[i]), Dst: b.Addrs[i]}
	}
	for i, group := range []netip.Addr{group4, group6} {
		for _, vlan := range []int{100, 200} {
			talk("trunk", vlan, from(i))
			talk("trunk", vlan, many(from(i), group))
		}
		for _, name := range []string{"a200", "plain"} {
			vm := l.vms[name]
			talk(name, 0, vm.To(trunk, trunk.Addrs[i]))
			talk(name, 0, many(vm.To(trunk, trunk.Addrs[i]), group))
		}
		talk("a200", 0, l.vms["a200"].To(l.vms["b200"], l.vms["b200"].Addrs[i]))
	}
	stop := l.talk(all)
	others := []string{"a200", "b200", "plain"}
	type way struct {
		from string
		vlan int
		p    testbed.Packet
		port uint16
		to   string // who gets the datagram whole; "": whoever of the VLAN
	}
	var ways []way
	for i, group := range []netip.Addr{group4, group6} {
		ways = append(ways,
			way{"a100", 0, a.To(b, b.Addrs[i]), 5353, "b100"}, way{"trunk", 100, from(i), 5353, "b100"},
			way{"a100", 0, a.To(b, b.Addrs[i]), 5354, "nobody"}, way{"trunk", 100, from(i), 5354, "nobody"},
			way{"a100", 0, many(a.To(b, b.Addrs[i]), group), 5353, ""}, way{"trunk", 100, many(from(i), group), 5353, ""},
			way{"trunk", 100, many(from(i), group), 5354, "nobody"},
		)
	}
	send := func(w way, n int) (m mark) {
		t.Helper()
		m = newMark()
		frames := pieces(w.p, w.port, m, n, 1280)
		for i := range frames {
			frames[i] = inVLAN(w.vlan, frames[i])
		}
		if err := l.vms[w.from].Send(frames...); err != nil {
			t.Fatal(err)
		}
		return m
	}
	var bad []string
	for _, w := range ways { // whole, before the table of fragments is full
		m := send(w, 7)
		l.fence(w.from)
		if want := w.to + "*7"; w.to != "" && w.to != "nobody" && l.arrived(m, w.from) != want {
			bad = append(bad, fmt.Sprintf("%s to %v port %d: arrived at %q, want %q", w.from, w.p.Dst, w.port, l.at(m), want))
		}
	}
	marks := map[*way][]mark{}
	for i := range ways {
		for range 8 {
			marks[&ways[i]] = append(marks[&ways[i]], send(ways[i], 40))
		}
		l.fence(ways[i].from)
	}
	stop()
	for w, sent := range marks {
		for _, m := range sent {
			for _, name := range others {
				if n := l.taps[name].times(m); n > 0 {
					bad = append(bad, fmt.Sprintf("%s to %v port %d in VLAN 100: %d pieces at %s", w.from, w.p.Dst, w.port, n, name))
				}
			}
			if at := l.at(m); w.to == "nobody" && at != "" {
				bad = append(bad, fmt.Sprintf("%s to %v port %d: arrived at %q", w.from, w.p.Dst, w.port, at))
			}
		}
	}
	for _, text := range bad {
		t.Error(text)
	}
}
