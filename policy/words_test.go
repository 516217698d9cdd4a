package policy

import (
	"fmt"
	"net/netip"
	"testing"
)

func party(ofport uint16, addr string) Party { return Party{ofport, netip.MustParseAddr(addr)} }

func TestWords(t *testing.T) {
	ref := Key{"ns", "x"}
	for _, test := range []struct {
		value fmt.Stringer
		want  string
	}{
		{Ingress, "Ingress"},
		{Egress, "Egress"},
		{Direction(9), "Direction(9)"},
		{All, "All"},
		{ICMP, "ICMP"},
		{Protocol(9), "Protocol(9)"},
		{AllPorts, "all"},
		{PortRange{80, 80}, "80"},
		{PortRange{80, 90}, "80-90"},
		{PortRange{1, 65535}, "1-65535"},
		{Remote{}, "anywhere"},
		{Remote{Kind: RemoteGroup, Ref: ref}, "group ns/x"},
		{Remote{Kind: RemoteSubnet, Ref: ref}, "subnet ns/x"},
		{RemoteCIDR, "CIDR"},
		{RemoteGroup, "security group"},
		{RemoteSubnet, "subnet"},
		{RemoteKind(9), "RemoteKind(9)"},
		{ResolvedMembers, "members"},
		{ResolvedKind(9), "ResolvedKind(9)"},
		{DefaultContent(9), "DefaultContent(9)"},
		{UnitState(9), "UnitState(9)"},
		{MAC{0xab, 0, 1, 2, 3, 0xff}, "ab:00:01:02:03:ff"},
		{Position{"f", 3, 4}, "f:3:4"},
		{Position{File: "f", Line: 3}, "f:3"},
		{Position{File: "f"}, "f"},
		{Problem{Pos: Position{"f", 3, 4}, Object: "o", Field: "a.b", Reason: "bad"}, "f:3:4: a.b: bad"},
		{Problem{Object: "VIF tap0", Reason: "bad"}, "VIF tap0: bad"},
		{Problem{Reason: "bad"}, "bad"},
		{Connection{party(1, "10.0.0.1"), party(0, "10.0.0.2"), ipTCP, 80}, "TCP 10.0.0.1 -> 10.0.0.2 port 80"},
		{Connection{party(1, "10.0.0.1"), party(0, "10.0.0.2"), ipICMP, 80}, "ICMP 10.0.0.1 -> 10.0.0.2"},
		{Connection{party(1, "fd00::1"), party(0, "fd00::2"), 50, 0}, "IP protocol 50 fd00::1 -> fd00::2"},
	} {
		if got := test.value.String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestParseDefaultContent(t *testing.T) {
	for c := OwnSubnet; c <= Nothing; c++ {
		if got, err := ParseDefaultContent(c.String()); err != nil || got != c {
			t.Errorf("%v: got %v, %v", c, got, err)
		}
	}
	if _, err := ParseDefaultContent("OwnSubnet"); err == nil {
		t.Error("accepted what is no setting")
	}
}

func TestParseMAC(t *testing.T) {
	for s, want := range map[string]MAC{
		"02:00:0a:00:01:0b": {2, 0, 10, 0, 1, 11},
		"AB-cd-EF-00-11-22": {0xab, 0xcd, 0xef, 0, 0x11, 0x22},
	} {
		if got, err := ParseMAC(s); err != nil || got != want {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "02:00:0a:00:01", "02:00:0a:00:01:0b:00", "02:00-0a:00:01:0b", "02:00:0a:00:01:0g", "0200.0a00.010b", "2:0:a:0:1:b", "02 00 0a 00 01 0b"} {
		if got, err := ParseMAC(s); err == nil {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

// The IP protocol numbers of connections in tests, written out apart from the
// table of protocols.
const (
	ipICMP   = 1
	ipTCP    = 6
	ipUDP    = 17
	ipICMPv6 = 58
)

func TestProtocols(t *testing.T) {
	for p, want := range map[Protocol]struct {
		name   string
		v4, v6 uint8
		ports  bool
	}{
		All: {"All", 0, 0, false}, TCP: {"TCP", 6, 6, true}, UDP: {"UDP", 17, 17, true}, ICMP: {"ICMP", 1, 58, false},
	} {
		if v4, v6 := p.Numbers(); p.String() != want.name || v4 != want.v4 || v6 != want.v6 || p.HasPorts() != want.ports {
			t.Errorf("%s: %d, %d, %v", p, v4, v6, p.HasPorts())
		}
		if got, ok := ParseProtocol(want.name); !ok || got != p {
			t.Errorf("%s is read as %s", want.name, got)
		}
	}
	if v4, v6 := Protocol(9).Numbers(); v4 != 0 || v6 != 0 || Protocol(9).HasPorts() {
		t.Error("Protocol(9) is one")
	}
	if got := ProtocolNames() + "; " + PortedProtocolNames(); got != "TCP, UDP, ICMP or All; TCP or UDP" {
		t.Error(got)
	}
}
