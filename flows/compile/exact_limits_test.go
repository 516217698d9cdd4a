package compile_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
)

// TestExactCollisions checks that the verdicts are the same when hashes, from
// which all numbers are made, collide: the hashes here have next to no bits.
func TestExactCollisions(t *testing.T) {
	b := newLab(t)
	var n tally
	for i, hash := range []func(string) uint64{
		func(s string) uint64 { return uint64(len(s)) & 3 },
		func(s string) uint64 { return uint64(s[len(s)-1]) & 7 },
		func(string) uint64 { return 0 },
		func(string) uint64 { return 0xffffffff }, // the next number is 0, which is not used
	} {
		b.compile = func(in compile.Input) (*flows.Set, error) { return compile.FullWith(in, hash) }
		worlds := 15
		if testing.Short() {
			worlds = 4
		}
		for j := range worlds {
			seed := uint64(1000*i + j + 1)
			f, err := b.world(seed, 40, &n)
			if err != nil {
				t.Fatal(err)
			}
			if f != nil {
				t.Fatalf("hash %d, seed %d:\n%s", i, seed, b.shrink(f))
			}
		}
	}
	t.Logf("%d worlds, %d packets, %d delivered", n.worlds.Load(), n.packets.Load(), n.delivered.Load())
}

// TestExactOrder checks that the flows do not depend on the order of the input,
// and that applying a Diff leads to the desired flows.
func TestExactOrder(t *testing.T) {
	old := &flows.Set{}
	for seed := range uint64(60) {
		d := newDice(seed)
		w := d.world()
		_, set := w.compiled(t)
		turned := w.clone()
		shuffle(d, turned.groups)
		shuffle(d, turned.subnets)
		shuffle(d, turned.vms)
		shuffle(d, turned.vifs)
		for i := range turned.vms {
			shuffle(d, turned.vms[i].groups)
			for j := range turned.vms[i].ifaces {
				shuffle(d, turned.vms[i].ifaces[j].addrs)
			}
		}
		lt, err := turned.resolve()
		if err != nil {
			t.Fatal(err)
		}
		in := lt.input()
		in.Infra = slices.Clone(in.Infra)
		shuffle(d, in.Infra)
		again, err := compile.Full(in)
		if err != nil {
			t.Fatal(err)
		}
		if set.String() != again.String() {
			t.Fatalf("seed %d: the order shows:\n%s", seed, flows.Diff(again, set))
		}
		if delta := flows.Diff(again, set); !delta.Empty() {
			t.Fatalf("seed %d: not empty: %s", seed, delta)
		}
		now := old.Clone()
		flows.Diff(set, old).ApplyTo(now)
		if now.String() != set.String() || now.Len() != set.Len() {
			t.Fatalf("seed %d: not what was desired", seed)
		}
		old = set
	}
}

func shuffle[T any](d dice, s []T) {
	d.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// bulk returns a world with one VM at port 1 in one group, whose rules are the
// lines.
func bulk(rules iter) *world {
	w := &world{epochs: map[uint16]uint32{1: 1, 2: 1}}
	const most = 30000 // rules in a document, which holds so many fields at most
	w.groups = []worldGroup{{ns: "default", name: "web"}}
	names := []string{"web"}
	for line := range rules {
		g := &w.groups[len(w.groups)-1]
		if len(g.rules) == most {
			names = append(names, fmt.Sprintf("web%d", len(w.groups)))
			w.groups = append(w.groups, worldGroup{ns: "default", name: names[len(names)-1]})
			g = &w.groups[len(w.groups)-1]
		}
		g.rules = append(g.rules, worldRule{yaml: line})
	}
	for i := range 2 {
		id := fmt.Sprintf("v%d", i+1)
		w.vms = append(w.vms, worldVM{ns: "default", name: id, groups: slices.Clone(names),
			ifaces: []worldIface{{id: id, addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 9, 9, byte(i + 1)})}}}})
	}
	w.vifs = []policy.VIF{{Name: "vm1", OFPort: 1, IfaceID: "v1", MAC: hostPorts[0].mac}}
	return w
}

type iter = func(yield func(string) bool)

// inbound returns a first packet from outside to the VM at port 1.
func inbound(src string, proto uint8, port uint16) packet {
	k := packet{inPort: trunkPort, eth: policy.MAC{0xe, 0, 0, 0, 0, 1}, to: hostPorts[0].mac, src: netip.MustParseAddr(src),
		dst: netip.AddrFrom4([4]byte{10, 9, 9, 1}), proto: proto, sport: 4000, dport: port, state: "new"}
	k.conn = tuple{k.src, k.dst, proto, 4000, port}
	return k
}

// twoClasses is the case with a second class, which makes conjunctions of rules
// that would otherwise be plain flows.
const twoClasses = "5,000 ranges of ports to two classes"

// TestExactLimits checks more rules than one flow has room for that share a
// class, a service, a prefix or a group.
func TestExactLimits(t *testing.T) {
	b := newLab(t)
	ports := 65535
	if testing.Short() || raceEnabled {
		ports = 9000
	}
	for _, test := range []struct {
		name  string
		rules iter
		ask   []packet
	}{
		{twoClasses, func(yield func(string) bool) {
			for i := range 5000 {
				if !yield(fmt.Sprintf("direction: Ingress, protocol: TCP, port: \"%d-%d\"", 10001+8*i, 10006+8*i)) {
					return
				}
			}
		}, []packet{
			inbound("10.9.9.2", 6, 10000), inbound("10.9.9.2", 6, 10001), inbound("20.0.0.1", 6, 10006), inbound("20.0.0.1", 6, 10007),
			inbound("20.0.0.1", 6, 30481), inbound("20.0.0.1", 6, 30486), inbound("20.0.0.1", 6, 49998), inbound("20.0.0.1", 6, 49999), inbound("20.0.0.1", 17, 49998),
		}},
		{"5,000 prefixes to one service", func(yield func(string) bool) {
			for i := range 5000 {
				if !yield(fmt.Sprintf("direction: Ingress, protocol: TCP, port: 80, remote: {address: {IPAddressOrCIDR: 20.%d.%d.0/24}}", i>>8, i&255)) {
					return
				}
			}
		}, []packet{
			inbound("20.0.0.1", 6, 80), inbound("20.8.0.1", 6, 80), inbound("20.19.135.255", 6, 80), inbound("20.19.136.0", 6, 80),
			inbound("20.7.255.9", 6, 81), inbound("20.7.255.9", 17, 80), inbound("20.7.255.9", 6, 80), inbound("19.255.255.255", 6, 80),
		}},
		{"5,000 services from one prefix", func(yield func(string) bool) {
			for i := range 5000 {
				if !yield(fmt.Sprintf("direction: Ingress, protocol: UDP, port: %d, remote: {address: {IPAddressOrCIDR: 20.0.0.0/8}}", 10000+2*i)) {
					return
				}
			}
		}, []packet{
			inbound("20.1.1.1", 17, 10000), inbound("20.1.1.1", 17, 10001), inbound("20.1.1.1", 17, 14096), inbound("20.1.1.1", 17, 19998),
			inbound("20.1.1.1", 17, 20000), inbound("21.1.1.1", 17, 10000), inbound("20.1.1.1", 6, 10000),
		}},
		{"5,000 services from one group", func(yield func(string) bool) {
			for i := range 5000 {
				if !yield(fmt.Sprintf("direction: Ingress, protocol: TCP, port: %d, remote: {securityGroupRef: {name: web}}", 10000+2*i)) {
					return
				}
			}
		}, []packet{
			inbound("10.9.9.2", 6, 10000), inbound("10.9.9.2", 6, 10001), inbound("10.9.9.2", 6, 19998), inbound("10.9.9.3", 6, 10000),
		}},
		{"every port a rule", func(yield func(string) bool) {
			for i := range ports {
				if !yield(fmt.Sprintf("direction: Ingress, protocol: TCP, port: %d", i+1)) {
					return
				}
			}
		}, []packet{
			inbound("10.9.9.2", 6, 0), inbound("10.9.9.2", 6, 1), inbound("20.0.0.1", 6, 2048), inbound("20.0.0.1", 6, 2049), inbound("20.0.0.1", 6, 8192),
			inbound("20.0.0.1", 6, uint16(ports)), inbound("20.0.0.1", 6, uint16(ports+1)), inbound("20.0.0.1", 17, 80), inbound("20.0.0.1", 132, 80),
		}},
		{"every range from a port to the last", func(yield func(string) bool) {
			for i := range 3000 {
				if !yield(fmt.Sprintf("direction: Ingress, protocol: TCP, port: \"%d-65535\"", 1+20*i)) {
					return
				}
			}
		}, []packet{inbound("10.9.9.2", 6, 0), inbound("10.9.9.2", 6, 1), inbound("10.9.9.2", 6, 65535), inbound("10.9.9.2", 17, 65535)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := bulk(test.rules)
			if test.name == twoClasses {
				w.groups = append(w.groups, worldGroup{ns: "default", name: "app"})
				w.vms[1].groups = append(w.vms[1].groups, "app")
				w.vifs = append(w.vifs, policy.VIF{Name: "vm2", OFPort: 2, IfaceID: "v2", MAC: hostPorts[1].mac})
			}
			l, set := w.compiled(t)
			if err := b.install(set, false); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d rules, %d flows", len(w.groups[0].rules), set.Len())
			allowed := 0
			for _, k := range test.ask {
				difference, want, err := b.ask(l, k)
				if err != nil || difference != "" {
					t.Fatalf("%s: %v\n%s", k, err, difference)
				}
				if len(want.outputs) > 0 {
					allowed++
				}
			}
			if allowed == 0 || allowed == len(test.ask) {
				t.Fatalf("%d of %d allowed", allowed, len(test.ask))
			}
		})
	}
}

// TestExactFlood checks that a multicast of one VM reaches 600 others, and that
// each copy is judged. (Open vSwitch gives a packet 4,096 lookups, of which a
// copy needs six: with about 680 VMs in a network it drops judged multicast.)
func TestExactFlood(t *testing.T) {
	b := newLab(t)
	w := &world{epochs: map[uint16]uint32{}}
	w.groups = []worldGroup{{ns: "default", name: "web", rules: []worldRule{
		{yaml: "direction: Egress"}, {yaml: "direction: Ingress, protocol: UDP, port: 5353, remote: {securityGroupRef: {name: web}}"}}}}
	const n = 600
	for i := range n + 2 {
		id, hi, lo := fmt.Sprintf("v%d", i), byte((i+1)>>8), byte(i+1)
		vm := worldVM{ns: "default", name: id, groups: []string{"web"}, ifaces: []worldIface{{id: id, addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 9, hi, lo})}}}}
		if i > n {
			vm.groups = []string{"missing"}
		}
		w.vms = append(w.vms, vm)
		w.vifs = append(w.vifs, policy.VIF{Name: id, OFPort: uint16(200 + i), IfaceID: id, MAC: policy.MAC{2, 0, 0, 0, hi, lo}})
		w.epochs[uint16(200+i)] = 1
	}
	for _, w.userspace = range []bool{false, true} {
		_, set := w.compiled(t)
		if err := b.install(set, false); err != nil {
			t.Fatal(err)
		}
		k := packet{inPort: 200, eth: w.vifs[0].MAC, to: policy.MAC{1, 0, 0x5e, 0, 0, 0xfb}, src: netip.AddrFrom4([4]byte{10, 9, 0, 1}),
			dst: netip.AddrFrom4([4]byte{224, 0, 0, 251}), proto: 17, sport: 5353, dport: 5353, state: "new", label: flows.Label{Orig: 1, OrigEpoch: 1}}
		k.conn = tuple{k.src, k.dst, 17, 5353, 5353}
		r, err := b.tracer.Trace("br0", k.String(), k.ctNext()...)
		if err != nil {
			t.Fatal(err)
		}
		// The ports do not exist; the trace says to which ports the switch would
		// have sent, and that the sender is none of them.
		copies := strings.Count(r.Text, "output port is ")
		if copies != n+1 || !r.Reaches(trunkPort) || strings.Contains(r.Text, ">>>> over") {
			t.Errorf("userspace %v: %d copies, want %d; outside: %v", w.userspace, copies, n+1, r.Outputs)
		}
	}
}

// TestCompileOFPorts checks that the compiler refuses an ofport that is no
// connection tracking zone.
func TestCompileOFPorts(t *testing.T) {
	for ofport, ok := range map[uint16]bool{1: true, 0x7ffe: true, 0x7fff: true, 0x8000: false, 0xf000: false, 0xfeff: false, 0xffff: false} {
		w := bulk(func(func(string) bool) {})
		w.vifs[0].OFPort = ofport
		l, err := w.resolve()
		if err != nil {
			t.Fatal(err)
		}
		_, err = compile.Full(l.input())
		if ok != (err == nil) {
			t.Errorf("ofport %#x: %v", ofport, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "vm1") || !strings.Contains(err.Error(), fmt.Sprint(ofport))) {
			t.Errorf("ofport %#x: unclear: %v", ofport, err)
		}
	}
}

// TestExactEpochsOfNobody checks that a port without a class in Input.Classes has
// the epochs 1.
func TestExactEpochsOfNobody(t *testing.T) {
	w := newDice(3).world()
	clear(w.epochs)
	l, none := w.compiled(t)
	in, want := l.input(), map[uint16]flows.Epochs{}
	in.Classes = map[uint16]compile.Class{}
	for _, v := range w.vifs {
		in.Classes[v.OFPort] = compile.Class{Epochs: flows.Epochs{1, 1}}
		want[v.OFPort] = flows.Epochs{1, 1}
	}
	ones, err := compile.Full(in)
	if err != nil {
		t.Fatal(err)
	}
	if none.String() != ones.String() {
		t.Error(flows.Diff(none, ones))
	}
	if read := compile.InstalledEpochs(ones); !maps.Equal(read, want) {
		t.Errorf("read back %v, want %v", read, want)
	}
}
