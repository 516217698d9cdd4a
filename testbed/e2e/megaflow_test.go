package e2e

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// megaflowLab returns the worked example with two more kinds of rules: one with a
// CIDR and one with a range of ports.
func megaflowLab(t *testing.T) *lab {
	h := newHost(t, testbed.Options{})
	for _, vm := range exampleVMs {
		h.vm(vm.name, vm.n)
	}
	h.uplink("outside", 1)
	h.example()
	h.write("groups.yaml", exampleFile(t, "groups.yaml")+groupOf("rangeSG", "{direction: Ingress, protocol: TCP, port: 1000-1999}",
		"{direction: Ingress, protocol: TCP, port: 9100, remote: {address: {IPAddressOrCIDR: 192.0.2.0/24}}}"))
	h.write("vms.yaml", strings.Replace(exampleFile(t, "vms.yaml"), "      - name: webSG\n", "      - name: webSG\n      - name: rangeSG\n", 1))
	h.start()
	h.wait()
	return h.tapped()
}

// megaflows returns those that handle the IP packets of a port, after the
// packets went by.
func (l *lab) megaflows(from string, frames [][]byte) []string {
	l.t.Helper()
	if err := l.ovs.Purge(); err != nil {
		l.t.Fatal(err)
	}
	host := l.vms[from]
	arp := testbed.Packet{SrcMAC: host.MAC, DstMAC: testbed.Broadcast}.ARP(testbed.ARPRequest, host.MAC, host.Addr4(), nil, host.Addr4())
	witness := l.taps[l.fenced(from)[0]]
	// No more at a time than the switch's socket holds.
	for chunk := range slices.Chunk(frames, 200) {
		m := newMark()
		if err := host.Send(append(slices.Clone(chunk), m.on(arp))...); err != nil {
			l.t.Fatal(err)
		}
		if testbed.Poll(within(l.t, time.Second), 500*time.Microsecond, func() (bool, error) { return witness.times(m) > 0, nil }) != nil {
			l.fence(from) // the socket was full all the same
		}
		l.forget()
	}
	all, err := l.ovs.Megaflows()
	if err != nil {
		l.t.Fatal(err)
	}
	var out []string
	packets := 0 // as they came in
	for _, m := range all {
		if !strings.Contains(m, "eth_type(0x0800)") && !strings.Contains(m, "eth_type(0x86dd)") {
			continue
		}
		out = append(out, m)
		if n := counted.FindStringSubmatch(m); n != nil && strings.Contains(m, "recirc_id(0)") {
			n, _ := strconv.Atoi(n[1])
			packets += 1 + n // the first is not counted
		}
	}
	if packets < len(frames)*9/10 {
		l.t.Errorf("of %d packets the megaflows saw %d only", len(frames), packets)
	}
	return out
}

var counted = regexp.MustCompile(`packets:(\d+)`)

func (l *lab) expectMegaflows(name, from string, most int, frames [][]byte) {
	l.t.Helper()
	got := l.megaflows(from, frames)
	l.t.Logf("%s: %d packets, %d megaflows", name, len(frames), len(got))
	if len(got) > most {
		l.t.Errorf("%s: more than %d, such as\n%s", name, most, strings.Join(got[:most], "\n"))
	}
}

func someAddr(r *rand.Rand, v6 bool) netip.Addr {
	if v6 {
		b := [16]byte{0: 0x20, 1: 0x01}
		binary.BigEndian.PutUint64(b[2:], r.Uint64())
		binary.BigEndian.PutUint32(b[12:], r.Uint32())
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte{byte(11 + r.IntN(200)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
}

func TestMegaflows(t *testing.T) {
	l := megaflowLab(t)
	r := rand.New(rand.NewPCG(1, 2))
	web, outside := l.vms["web"], l.vms["outside"]
	const many = 10000
	for _, dst := range web.Addrs {
		v6 := dst.Is6()
		frames := func(make func(p testbed.Packet, i int) []byte) [][]byte {
			var out [][]byte
			for i := range many {
				p := outside.To(web, dst)
				p.Src = someAddr(r, v6)
				out = append(out, make(p, i))
			}
			return out
		}
		port := func() uint16 { return uint16(1024 + r.IntN(60000)) }
		ports := make([]uint16, 64)
		for i := range ports {
			ports[i] = port()
		}
		in := l.in(t)
		in.expectMegaflows("clients", "outside", 100, frames(func(p testbed.Packet, _ int) []byte { return p.TCP(port(), 80, testbed.TCPSyn, 1, 0, nil) }))
		in.expectMegaflows("UDP, denied", "outside", 100, frames(func(p testbed.Packet, _ int) []byte { return p.UDP(port(), 53, nil) }))
		in.expectMegaflows("UDP to many ports, denied", "outside", 100, frames(func(p testbed.Packet, _ int) []byte { return p.UDP(port(), port(), nil) }))
		in.expectMegaflows("ping", "outside", 100, frames(func(p testbed.Packet, i int) []byte { return p.Echo(uint16(i), 1, nil) }))
		// A scan costs the megaflows that tell the ports of rules from all other
		// ports, not a megaflow for each port.
		in.expectMegaflows("scan of ports", "outside", 1000, frames(func(p testbed.Packet, i int) []byte {
			return p.TCP(4000, uint16(1+6*i), testbed.TCPSyn, 1, 0, nil)
		}))
		in.expectMegaflows("SYN to 64 ports", "outside", 400, frames(func(p testbed.Packet, i int) []byte {
			return p.TCP(port(), ports[i%len(ports)], testbed.TCPSyn, 1, 0, nil)
		}))
		batch := l.vms["batch1"]
		in.expectMegaflows("destinations", "batch1", 100, frames(func(p testbed.Packet, _ int) []byte {
			p.SrcMAC, p.DstMAC, p.Src, p.Dst = batch.MAC, outside.MAC, batch.To(web, dst).Src, p.Src
			return p.UDP(port(), port(), nil)
		}))
		in.expectMegaflows("foreign sources", "batch1", 100, frames(func(p testbed.Packet, _ int) []byte {
			p.SrcMAC = batch.MAC
			return p.UDP(port(), port(), nil)
		}))
	}
}
