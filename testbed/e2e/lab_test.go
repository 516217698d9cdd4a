package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// lab is a host with a tap on every wire: a lab knows where a frame arrives.
type lab struct {
	*host
	t    testing.TB
	taps map[string]*tap
	// fenced are the hosts that a broadcast from a host reaches.
	fenced func(from string) []string
}

// tap is what arrived at a host.
type tap struct {
	mu     sync.Mutex
	marks  map[uint64]int
	frames [][]byte
}

// tapped listens at every host. By default a broadcast reaches all other hosts.
func (h *host) tapped() *lab {
	h.t.Helper()
	l := &lab{host: h, t: h.t, taps: map[string]*tap{}}
	for name := range h.vms {
		l.tap(name)
	}
	l.fenced = func(from string) []string {
		return slices.DeleteFunc(slices.Sorted(maps.Keys(l.vms)), func(n string) bool { return n == from })
	}
	return l
}

func (l *lab) tap(name string) {
	l.t.Helper()
	c := &tap{marks: map[uint64]int{}}
	if _, err := l.vms[name].Capture(c.see); err != nil {
		l.t.Fatal(err)
	}
	l.taps[name] = c
}

func (c *tap) see(frame []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = append(c.frames, frame)
	if i := bytes.Index(frame, marked); i >= 0 && len(frame) >= i+len(marked)+8 {
		c.marks[binary.BigEndian.Uint64(frame[i+len(marked):])]++
	}
	return false
}

func (c *tap) times(m mark) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.marks[binary.BigEndian.Uint64(m[len(marked):])]
}

// in returns the lab for a subtest.
func (l *lab) in(t testing.TB) *lab {
	sub := *l
	sub.t = t
	return &sub
}

// mark is a unique word that identifies a frame. The word is appended to the frame
// as padding, which changes nothing of the frame's meaning.
type mark []byte

var (
	marked = []byte("\xf0ovs-sg\x0f")
	marks  atomic.Uint64
)

func newMark() mark { return binary.BigEndian.AppendUint64(slices.Clone(marked), marks.Add(1)) }

func (m mark) on(frame []byte) []byte { return append(slices.Clone(frame), m...) }

// at lists the hosts at which a frame with the mark arrived, and how often:
// "web", or "web*2".
func (l *lab) at(m mark) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(l.taps)) {
		switch n := l.taps[name].times(m); {
		case n == 1:
			out = append(out, name)
		case n > 1:
			out = append(out, fmt.Sprintf("%s*%d", name, n))
		}
	}
	return strings.Join(out, " ")
}

// fence returns when the switch has handled every frame that a host sent before.
// fence sends a broadcast that nothing stops and waits for its arrival, twice,
// because the switch may reorder frames that it reads in one batch.
func (l *lab) fence(from string) {
	l.t.Helper()
	sender := l.vms[from]
	arp := testbed.Packet{SrcMAC: sender.MAC, DstMAC: testbed.Broadcast}.
		ARP(testbed.ARPRequest, sender.MAC, sender.Addr4(), nil, sender.Addr4())
	for range 2 {
		l.behind(from, arp, l.fenced(from)...)
	}
}

// behind sends a frame again and again until the frame has reached the hosts.
func (l *lab) behind(from string, frame []byte, to ...string) {
	l.t.Helper()
	m := newMark()
	again := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := testbed.Poll(ctx, 500*time.Microsecond, func() (bool, error) {
		if !time.Now().Before(again) {
			again = time.Now().Add(time.Second)
			if err := l.vms[from].Send(m.on(frame)); err != nil {
				return false, err
			}
		}
		return !slices.ContainsFunc(to, func(name string) bool { return l.taps[name].times(m) == 0 }), nil
	})
	if err != nil {
		l.t.Fatalf("what %s sends reaches %q only, not %s: %v", from, l.at(m), to, err)
	}
}

// forget empties the taps.
func (l *lab) forget() {
	for _, c := range l.taps {
		c.mu.Lock()
		c.frames = nil
		c.mu.Unlock()
	}
}

// sent is a frame and the hosts at which the frame must arrive.
type sent struct {
	name  string
	from  string
	frame []byte
	to    string // hosts, sorted, with blanks between; "" = nobody gets it
}

// run sends all frames twice, the second time after every other frame has passed
// once, and compares the hosts at which they arrived with those expected.
func (l *lab) run(all []sent) {
	l.t.Helper()
	l.forget()
	got := make([][2]mark, len(all))
	defer l.forget()
	for round := range 2 {
		for i := 0; i < len(all); {
			// What one host sends in a row goes out together.
			from := all[i].from
			var frames [][]byte
			for ; i < len(all) && all[i].from == from && len(frames) < 64; i++ {
				got[i][round] = newMark()
				frames = append(frames, got[i][round].on(all[i].frame))
			}
			if err := l.vms[from].Send(frames...); err != nil {
				l.t.Fatalf("%s: %v", from, err)
			}
			l.fence(from)
		}
	}
	for i, s := range all {
		for round, m := range got[i] {
			if at := l.at(m); at != s.to {
				l.t.Errorf("%s (from %s, time %d): arrived at %q, want %q", s.name, s.from, round+1, at, s.to)
			}
		}
	}
}

// passes fails unless n or more frames that match arrive at a host.
func (l *lab) passes(name string, n int, match func(f []byte) bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := testbed.Poll(ctx, time.Millisecond, func() (bool, error) { return l.count(name, match) >= n, nil }); err != nil {
		l.t.Errorf("%s got %d frames, want %d", name, l.count(name, match), n)
	}
}

func (l *lab) count(name string, match func(f []byte) bool) int {
	c := l.taps[name]
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, f := range c.frames {
		if match(f) {
			n++
		}
	}
	return n
}

// has returns a filter for frames that contain a text.
func has(text []byte) func([]byte) bool {
	return func(f []byte) bool { return bytes.Contains(f, text) }
}

// groupOf writes a SecurityGroup; the rules are in YAML's flow style.
func groupOf(name string, rules ...string) string {
	return fmt.Sprintf("---\napiVersion: networking.evroclabs.net/v1alpha1\nkind: SecurityGroup\nmetadata: {name: %s}\nspec:\n  rules: [%s]\n",
		name, strings.Join(rules, ", "))
}

const (
	allOut = "{direction: Egress}"
	allIn  = "{direction: Ingress}"
)

// machine writes a VirtualMachine with one interface, which has all addresses
// of a host.
func machine(vm *testbed.Host, groups ...string) string {
	var memberships []string
	for _, g := range groups {
		memberships = append(memberships, "{name: "+g+"}")
	}
	var addrs []string
	for _, a := range vm.Addrs {
		addrs = append(addrs, fmt.Sprintf("%q", a))
	}
	return fmt.Sprintf("---\napiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: %s}\n"+
		"spec:\n  networking:\n    interfaces: [{ipAddresses: [%s]}]\n    securityGroups: {securityGroupMemberships: [%s]}\n",
		vm.Name, strings.Join(addrs, ", "), strings.Join(memberships, ", "))
}

func linkLocalOf(m net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80,
		8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// tagged puts a VLAN tag, or any other, into a frame.
func tagged(frame []byte, tpid, tci uint16) []byte {
	tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tpid), tci)
	return slices.Insert(slices.Clone(frame), 12, tag...)
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func hw(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}
