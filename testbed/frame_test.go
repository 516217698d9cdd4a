package testbed

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	v4   = Packet{SrcMAC: macA, DstMAC: macB, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2")}
	v6   = Packet{SrcMAC: macA, DstMAC: macB, Src: netip.MustParseAddr("fd00::1"), Dst: netip.MustParseAddr("fd00::2")}
)

// TestFrames lets Open vSwitch's own parser read each frame.
// TestKernelTakesFrames is about the checksums.
func TestFrames(t *testing.T) {
	target := netip.MustParseAddr("fd00::3")
	ra := v6
	ra.Dst, ra.DstMAC = AllNodes, MulticastMAC(AllNodes)
	ns := v6
	ns.Dst = SolicitedNode(target)
	ns.DstMAC = MulticastMAC(ns.Dst)
	tagged := v4
	tagged.VLAN = 100
	discover := Packet{SrcMAC: macA, DstMAC: Broadcast, Src: netip.IPv4Unspecified(), Dst: netip.MustParseAddr("255.255.255.255")}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  string // fields in ovs-ofctl parse-pcap, separated by blanks
	}{
		{"udp4", v4.UDP(1000, 53, []byte("odd")), "udp nw_src=10.0.0.1 nw_dst=10.0.0.2 tp_src=1000 tp_dst=53 nw_ttl=64"},
		{"udp6", v6.UDP(1000, 53, []byte("even")), "udp6 ipv6_src=fd00::1 ipv6_dst=fd00::2 tp_dst=53"},
		{"tcp4", v4.TCP(1000, 80, TCPSyn|TCPAck, 1, 2, nil), "tcp tp_dst=80 tcp_flags=syn|ack"},
		{"tcp6", v6.TCP(1000, 80, TCPSyn, 1, 0, nil), "tcp6 tp_dst=80 tcp_flags=syn"},
		{"tagged", tagged.UDP(1, 2, nil), "udp dl_vlan=100"},
		{"echo4", v4.Echo(7, 1, []byte("x")), "icmp icmp_type=8"},
		{"echo6", v6.Echo(7, 1, []byte("x")), "icmp6 icmp_type=128"},
		{"arp", v4.ARP(ARPRequest, macA, v4.Src, nil, v4.Dst), "arp arp_op=1 arp_spa=10.0.0.1 arp_tpa=10.0.0.2 arp_sha=02:00:00:00:00:01"},
		{"rarp", v4.RARP(), "rarp arp_op=3 arp_sha=02:00:00:00:00:01"},
		{"ns", ns.NeighborSolicit(target, macA), "icmp_type=135 nd_target=fd00::3 nd_sll=02:00:00:00:00:01 dl_dst=33:33:ff:00:00:03 ipv6_dst=ff02::1:ff00:3 nw_ttl=255"},
		{"na", v6.NeighborAdvert(target, macB), "icmp_type=136 nd_target=fd00::3 nd_tll=02:00:00:00:00:02"},
		{"ra", ra.RouterAdvert(), "icmp_type=134 dl_dst=33:33:00:00:00:01"},
		{"rs", ra.RouterSolicit(), "icmp_type=133"},
		{"discover", discover.DHCP(DHCPDiscover, 1, macA, netip.Addr{}), "udp nw_src=0.0.0.0 nw_dst=255.255.255.255 tp_src=68 tp_dst=67"},
		{"offer", v4.DHCP(DHCPOffer, 1, macB, v4.Dst), "udp tp_src=67 tp_dst=68"},
		{"solicit6", ra.DHCPv6(1, 7), "udp6 tp_src=546 tp_dst=547"},
		{"sctp", v4.SCTP(1, 2), "sctp tp_src=1 tp_dst=2"},
		{"gre", v4.GRE(EtherTypeIPv4, v4.Header(ProtoUDP, v4.UDPSegment(1, 2, nil))), "nw_proto=47"},
		{"esp", v6.ESP(1, 1, []byte("secret")), "ipv6 nw_proto=50"},
		{"ipip", v4.IPIP(v4.Header(ProtoUDP, v4.UDPSegment(1, 2, nil))), "ip nw_proto=4"},
		{"first", v4.Fragments(ProtoUDP, 9, v4.UDPSegment(1, 2, make([]byte, 100)), 64)[0], "udp nw_frag=first tp_dst=2"},
		{"later", v4.Fragments(ProtoUDP, 9, v4.UDPSegment(1, 2, make([]byte, 100)), 64)[1], "udp nw_frag=later"},
		{"later6", v6.Fragments(ProtoUDP, 9, v6.UDPSegment(1, 2, make([]byte, 100)), 64)[1], "nw_frag=later"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.FieldsFunc(parsePcap(t, tt.frame), func(r rune) bool { return r == ',' || r == '\n' })
			for _, want := range strings.Fields(tt.want) {
				if !slices.Contains(got, want) {
					t.Errorf("no %s in %s", want, got)
				}
			}
		})
	}
}

// TestKernelTakesFrames checks that a host answers the frames of the builders, so
// that lengths and checksums are right.
func TestKernelTakesFrames(t *testing.T) {
	o, vm1, vm2 := pair(t)
	setFlows(t, o, "priority=0 actions=NORMAL")
	for _, addr := range vm2.Addrs {
		p := vm1.To(vm2, addr)
		last := func(text string) func([]byte) bool {
			return func(f []byte) bool { return bytes.HasSuffix(f, []byte(text)) }
		}
		synAck := func(f []byte) bool {
			at := 14 + 20
			if addr.Is6() {
				at = 14 + 40
			}
			return len(f) > at+13 && be.Uint16(f[at:]) == 80 && f[at+13] == TCPSyn|TCPAck
		}
		check(t, []Probe{
			{Proto: "frame", From: vm1, Capturer: vm1, Frame: p.UDP(1234, 53, []byte("odd")), Match: last("vm2\nodd"), Want: true},
			{Proto: "frame", From: vm1, Capturer: vm1, Frame: p.Echo(1, 1, []byte("echo!")), Match: last("echo!"), Want: true},
			{Proto: "frame", From: vm1, Capturer: vm1, Frame: p.TCP(1234, 80, TCPSyn, 1, 0, nil), Match: synAck, Want: true},
		})
		c, err := vm1.Capture(last("fragments"))
		if err != nil {
			t.Fatal(err)
		}
		segment := p.UDPSegment(99, 53, append(make([]byte, 2000), "fragments"...))
		if err := vm1.Send(p.Fragments(ProtoUDP, 77, segment, 1400)...); err != nil {
			t.Fatal(err)
		}
		if !c.Got(2 * time.Second) {
			t.Error("no answer to fragments", addr)
		}
	}
	// Neighbour discovery and ARP.
	ask := Packet{SrcMAC: vm1.MAC, Src: vm1.Addr6(), Dst: SolicitedNode(vm2.Addr6()), DstMAC: MulticastMAC(SolicitedNode(vm2.Addr6()))}
	who := Packet{SrcMAC: vm1.MAC, DstMAC: Broadcast}
	check(t, []Probe{
		{Proto: "frame", From: vm1, Capturer: vm1, Frame: ask.NeighborSolicit(vm2.Addr6(), vm1.MAC), Want: true,
			Match: func(f []byte) bool { return len(f) > 54 && f[54] == 136 }},
		{Proto: "frame", From: vm1, Capturer: vm1, Want: true,
			Frame: who.ARP(ARPRequest, vm1.MAC, vm1.Addr4(), nil, vm2.Addr4()),
			Match: func(f []byte) bool { return be.Uint16(f[12:]) == EtherTypeARP && f[21] == ARPReply }},
	})
}

func TestVLANUplink(t *testing.T) {
	o := New(t, Options{})
	vm := o.VM(t, VMConfig{Name: "vm", Tag: 100, Addrs: prefixes("10.1.0.1/24", "fd01::1/64"),
		Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.254"), netip.MustParseAddr("fd01::fe")}})
	up := o.Uplink(t, UplinkConfig{Name: "up", Addrs: prefixes("10.9.0.1/24"), VLANs: map[int][]netip.Prefix{
		100: prefixes("10.1.0.254/24", "fd01::fe/64"), 200: prefixes("10.2.0.254/24")}})
	if err := up.ServeTCP(80); err != nil {
		t.Fatal(err)
	}
	setFlows(t, o, "priority=0 actions=NORMAL")
	tcp := func(addr string, want bool) Probe {
		return Probe{Proto: "tcp", From: vm, To: netip.MustParseAddrPort(addr), Want: want}
	}
	check(t, []Probe{tcp("10.1.0.254:80", true), tcp("[fd01::fe]:80", true),
		tcp("10.2.0.254:80", true)}) // through the gateway

	// A tagged frame is captured with its tag, and not at an access port.
	tagged := Packet{SrcMAC: vm.MAC, DstMAC: up.MAC, Src: vm.Addr4(), Dst: netip.MustParseAddr("10.1.0.254")}.UDP(1, 2, []byte("tagged"))
	c, err := up.Capture(func(f []byte) bool { return bytes.HasSuffix(f, []byte("tagged")) })
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Send(tagged); err != nil {
		t.Fatal(err)
	}
	if !c.Got(2 * time.Second) {
		t.Fatal("no frame")
	}
	want := slices.Insert(slices.Clone(tagged), 12, 0x81, 0, 0, 100)
	if got := c.Frames()[0]; !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	back := Packet{SrcMAC: up.MAC, DstMAC: vm.MAC, VLAN: 100, Src: netip.MustParseAddr("10.1.0.254"), Dst: vm.Addr4()}
	other := back
	other.VLAN = 200
	match := func(text string) func([]byte) bool {
		return func(f []byte) bool { return bytes.HasSuffix(f, []byte(text)) && be.Uint16(f[12:]) == EtherTypeIPv4 }
	}
	check(t, []Probe{
		{Proto: "frame", From: up, Capturer: vm, Frame: back.UDP(1, 2, []byte("back")), Match: match("back"), Want: true},
		{Proto: "frame", From: up, Capturer: vm, Frame: other.UDP(1, 2, []byte("other")), Match: match("other"), Want: false},
	})
	if out, err := o.Vsctl("get", "Interface", "up", "external_ids"); err != nil || !strings.Contains(out, "ovs-sg-role=uplink") {
		t.Error(out, err)
	}
}

// parsePcap returns the flow that Open vSwitch extracts from a frame.
func parsePcap(t *testing.T, frame []byte) string {
	t.Helper()
	pcap := []byte{0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 1}
	pcap = append(pcap, make([]byte, 8)...) // time
	pcap = be.AppendUint32(be.AppendUint32(pcap, uint32(len(frame))), uint32(len(frame)))
	path := filepath.Join(t.TempDir(), "frame.pcap")
	if err := os.WriteFile(path, append(pcap, frame...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ovs-ofctl", "parse-pcap", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
