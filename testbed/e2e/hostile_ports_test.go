package e2e

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// frames that a host sends to another, and to all, of every kind.
func everyKind(a, b *testbed.Host) map[string][]byte {
	all := testbed.Packet{SrcMAC: a.MAC, DstMAC: testbed.Broadcast}
	out := map[string][]byte{
		"ARP request": all.ARP(testbed.ARPRequest, a.MAC, a.Addr4(), nil, b.Addr4()),
		"ARP reply":   a.To(b, b.Addr4()).ARP(testbed.ARPReply, a.MAC, a.Addr4(), b.MAC, b.Addr4()),
		"RARP":        all.RARP(),
		"NA":          a.To(b, b.Addr6()).NeighborAdvert(a.Addr6(), a.MAC),
		"LLDP":        a.To(b, b.Addr4()).Ethernet(0x88cc, make([]byte, 50)),
	}
	for _, dst := range b.Addrs {
		p := a.To(b, dst)
		out["ping "+dst.String()] = p.Echo(1, 1, nil)
		out["UDP "+dst.String()] = p.UDP(1000, 53, nil)
		p.DstMAC = testbed.Broadcast
		out["broadcast UDP "+dst.String()] = p.UDP(1000, 53, nil)
	}
	return out
}

func portNamed(t testing.TB, s control.Status, name string) control.PortStatus {
	t.Helper()
	for _, p := range s.Ports {
		if p.Name == name {
			return p
		}
	}
	t.Errorf("status knows no port %s", name)
	return control.PortStatus{}
}

// An unidentified port receives and sends nothing; a VM without a manifest only
// DHCP. Of two VMs that claim the same address the second gets nothing.
func TestPortsWithoutRights(t *testing.T) {
	h := newHost(t, testbed.Options{})
	config := func(name string, n int) testbed.VMConfig {
		return testbed.VMConfig{
			Name: name, MAC: fmt.Sprintf("02:00:0a:00:01:%02x", n),
			Addrs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.1.%d/24", n)), netip.MustParsePrefix(fmt.Sprintf("fd00:1::%x/64", n))},
		}
	}
	text := groupOf("openSG", allOut, allIn) + machine(h.vm("open", 30), "openSG") + machine(h.vm("late", 31), "openSG")
	h.uplink("outside", 1)
	stray := config("stray", 32)
	stray.NoExternalIDs = true
	h.vms["stray"] = h.ovs.VM(t, stray)
	text += machine(h.vms["stray"], "openSG")
	h.vm("bare", 33) // no manifest
	first := h.vm("first", 34)
	text += machine(first, "openSG")
	// A second VM has the MAC of the first, a third VM an IP address of the first.
	twin := config("twinmac", 34)
	twin.Addrs = config("", 35).Addrs
	h.vms["twinmac"] = h.ovs.VM(t, twin)
	text += machine(h.vms["twinmac"], "openSG")
	thief := config("zthief", 36)
	thief.Addrs = append(thief.Addrs, first34()...)
	h.vms["zthief"] = h.ovs.VM(t, thief)
	text += machine(h.vms["zthief"], "openSG")
	h.write("all.yaml", text)
	h.start()
	status := h.wait()
	l := h.tapped()
	l.fenced = func(from string) []string {
		var out []string
		for _, name := range []string{"open", "outside"} {
			if name != from {
				out = append(out, name)
			}
		}
		return out
	}

	t.Run("status", func(t *testing.T) {
		for name, want := range map[string]string{
			"stray": "unidentified blocked", "bare": "vm blocked", "open": "vm enforced", "first": "vm enforced",
			"twinmac": "vm blocked", "zthief": "vm enforced", "outside": "infrastructure trusted",
		} {
			p := portNamed(t, status, name)
			if got := p.Kind + " " + p.State; got != want || p.State == "blocked" && p.Reason == "" {
				t.Errorf("%s is %s (%s), want %s", name, got, p.Reason, want)
			}
		}
		warnings := strings.Join(status.Warnings, "\n")
		for _, want := range []string{"02:00:0a:00:01:22 is already used by first", "10.0.1.34", "fd00:1::22"} {
			if !strings.Contains(warnings, want) {
				t.Errorf("no warning of %q in\n%s", want, warnings)
			}
		}
		if p := portNamed(t, status, "zthief"); strings.Contains(strings.Join(p.Addrs, " ")+" ", "10.0.1.34 ") {
			t.Errorf("the thief has the address: %v", p.Addrs)
		}
	})

	// Nobody gets the frames that from sends, and to gets no frame of any kind.
	// Frames of honest hosts pass in between.
	silent := func(l *lab, name string) {
		l.t.Helper()
		l.forget()
		host, open, outside := l.vms[name], l.vms["open"], l.vms["outside"]
		var lies []mark
		var what []string
		for range 2 {
			var frames [][]byte
			for _, to := range []*testbed.Host{open, outside} {
				for kind, frame := range everyKind(host, to) {
					if name == "bare" && kind == "RARP" {
						continue // it may say where its own MAC is
					}
					m := newMark()
					lies, what = append(lies, m), append(what, kind+" to "+to.Name)
					frames = append(frames, m.on(frame))
				}
			}
			before := l.received(name)
			if err := host.Send(frames...); err != nil {
				l.t.Fatal(err)
			}
			// A fence of this host would reach nobody.
			if err := testbed.Poll(within(l.t, 5*time.Second), time.Millisecond, func() (bool, error) {
				return l.received(name) >= before+len(frames), nil
			}); err != nil {
				l.t.Fatal(err)
			}
			l.fence("open")
		}
		for i, m := range lies {
			if at := l.at(m); at != "" {
				l.t.Errorf("%s of %s arrived at %q", what[i], name, at)
			}
		}
	}
	deaf := func(l *lab, name string) {
		l.t.Helper()
		host := l.vms[name]
		for _, from := range []string{"open", "outside"} {
			lies := map[string]mark{}
			var frames [][]byte
			for kind, frame := range everyKind(l.vms[from], host) {
				if name == "bare" && strings.Contains("ARP request ARP reply NA", kind) {
					continue // it may hear of its neighbours
				}
				lies[kind] = newMark()
				frames = append(frames, lies[kind].on(frame))
			}
			if err := l.vms[from].Send(frames...); err != nil {
				l.t.Fatal(err)
			}
			l.fence(from)
			for kind, m := range lies {
				if l.taps[name].times(m) > 0 {
					l.t.Errorf("%s from %s arrived at %s", kind, from, name)
				}
			}
		}
	}

	t.Run("unidentified", func(t *testing.T) {
		l := l.in(t)
		silent(l, "stray")
		deaf(l, "stray")
		// A VM's frames to the port's MAC leave by the uplink, like frames to any MAC
		// that is not local.
		m := newMark()
		if err := l.vms["open"].Send(l.vms["open"].To(l.vms["stray"], l.vms["stray"].Addr4()).UDP(1, 2, m)); err != nil {
			t.Fatal(err)
		}
		l.fence("open")
		if at := l.at(m); at != "outside" {
			t.Errorf("what is sent to the MAC of an unidentified port arrived at %q", at)
		}
		// The same frames pass as soon as the port names its VM.
		if _, err := h.ovs.Vsctl("set", "Interface", "stray", "external_ids:iface-id=stray", `external_ids:attached-mac="02:00:0a:00:01:20"`); err != nil {
			t.Fatal(err)
		}
		if p := portNamed(t, h.wait(), "stray"); p.State != "enforced" {
			t.Errorf("the port is %s: %s", p.State, p.Reason)
		}
		l.heard("stray", "open")
		l.heard("open", "stray")
		// They stop when the port no longer names its VM.
		if _, err := h.ovs.Vsctl("clear", "Interface", "stray", "external_ids"); err != nil {
			t.Fatal(err)
		}
		h.wait()
		silent(l, "stray")
		deaf(l, "stray")
	})

	t.Run("without manifest", func(t *testing.T) {
		l := l.in(t)
		silent(l, "bare")
		deaf(l, "bare")
		bare, outside := l.vms["bare"], l.vms["outside"]
		discover := testbed.Packet{SrcMAC: bare.MAC, DstMAC: testbed.Broadcast, Src: addr("0.0.0.0"), Dst: addr("255.255.255.255")}
		l.behind("bare", discover.DHCP(testbed.DHCPDiscover, 1, bare.MAC, netip.Addr{}), "outside")
		offer := outside.To(bare, addr("255.255.255.255"))
		l.behind("outside", offer.DHCP(testbed.DHCPOffer, 1, bare.MAC, bare.Addr4()), "bare")
		offer.Dst = bare.Addr4()
		l.behind("outside", offer.DHCP(testbed.DHCPAck, 1, bare.MAC, bare.Addr4()), "bare")
		// With a manifest the port is a VM port like any other.
		h.write("bare.yaml", machine(bare, "openSG"))
		if p := portNamed(t, h.wait(), "bare"); p.State != "enforced" {
			t.Errorf("the port is %s: %s", p.State, p.Reason)
		}
		l.heard("bare", "open")
		l.heard("open", "bare")
		h.remove("bare.yaml")
		h.wait()
		silent(l, "bare")
		deaf(l, "bare")
	})

	t.Run("claimed twice", func(t *testing.T) {
		l := l.in(t)
		silent(l, "twinmac")
		l.heard("first", "open")
		l.heard("open", "first")
		// The thief may use its own address, but not the first VM's.
		l.heard("zthief", "open")
		as := l.vms["zthief"]
		for _, stolen := range first34() {
			var frames []mark
			p := as.To(l.vms["open"], l.vms["open"].Addr4())
			send := func(frame []byte) {
				m := newMark()
				frames = append(frames, m)
				if err := l.vms["zthief"].Send(m.on(frame)); err != nil {
					t.Fatal(err)
				}
			}
			p.Src = stolen.Addr()
			if stolen.Addr().Is6() {
				p.Dst = l.vms["open"].Addr6()
				send(p.NeighborAdvert(p.Src, as.MAC))
			} else {
				send(p.ARP(testbed.ARPReply, as.MAC, p.Src, p.DstMAC, p.Dst))
			}
			send(p.UDP(1, 2, nil))
			l.fence("zthief")
			for _, m := range frames {
				if at := l.at(m); at != "" {
					t.Errorf("the thief of %v is heard at %q", p.Src, at)
				}
			}
		}
	})
}

func first34() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.0.1.34/24"), netip.MustParsePrefix("fd00:1::22/64")}
}

// heard says that a host's frames for a VM arrive.
func (l *lab) heard(from, to string) {
	l.t.Helper()
	for _, dst := range l.vms[to].Addrs {
		l.behind(from, l.vms[from].To(l.vms[to], dst).UDP(2000, 53, nil), to)
	}
}

// received counts the frames that came to the switch from a host.
func (l *lab) received(name string) int {
	l.t.Helper()
	s, err := l.ovs.Ofctl("dump-ports", l.ovs.Bridge(), name)
	if err != nil {
		l.t.Fatal(err)
	}
	_, s, _ = strings.Cut(s, "rx pkts=")
	s, _, _ = strings.Cut(s, ",")
	n, err := strconv.Atoi(s)
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}
