package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// speaksOf lists the flows that name a port's number or addresses.
func (h *host) speaksOf(ofport int, vm *testbed.Host) (out []string) {
	h.t.Helper()
	number := regexp.MustCompile(fmt.Sprintf(`in_port=%d\b|output:%d\b|reg(0|1|4|5)=0x%x\b|set_field:0x%x->reg(0|1|3|4|5)\b`, ofport, ofport, ofport, ofport))
	for _, l := range lines(h.flows()) {
		if number.MatchString(l) || strings.Contains(l, vm.MAC.String()) ||
			regexp.MustCompile(`=`+regexp.QuoteMeta(vm.Addr4().String())+`\b`).MatchString(l) {
			out = append(out, l)
		}
	}
	return out
}

// reaches says whether UDP gets through and back.
func reaches(t testing.TB, from, to *testbed.Host, want bool) {
	t.Helper()
	p := testbed.Probe{Proto: "udp", From: from, To: netip.AddrPortFrom(to.Addr4(), 53), Want: want, Timeout: 5 * time.Second}
	if !want {
		p.Timeout = 0
	}
	if r := p.Run(within(t, 20*time.Second)); !r.OK() {
		t.Error(r)
	}
}

// zone lists the connections of an ofport's zone.
func (h *host) zone(n int) (out []string) {
	h.t.Helper()
	all, err := h.ovs.Conntrack()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, c := range all {
		if regexp.MustCompile(fmt.Sprintf(`zone=%d\b`, n)).MatchString(c) {
			out = append(out, c)
		}
	}
	return out
}

// The flows follow every change of a port, and no flow of a former port stays.
func TestPortsComeAndGo(t *testing.T) {
	h := newHost(t, testbed.Options{})
	a, b, c, out := h.vm("a", 31), h.vm("b", 32), h.vm("c", 33), h.uplink("out", 1)
	text := groupOf("openSG", allOut, allIn)
	for _, vm := range []*testbed.Host{a, b, c, out} {
		if vm != out {
			text += machine(vm, "openSG")
		}
		if err := vm.ServeUDP(53); err != nil {
			t.Fatal(err)
		}
	}
	h.write("all.yaml", text)
	if err := c.Unplug(); err != nil {
		t.Fatal(err)
	}
	h.spawn()
	h.inForce()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	vsctl := func(args ...string) {
		t.Helper()
		_, err := h.ovs.Vsctl(args...)
		do(err)
		h.inForce()
	}
	reaches(t, out, a, true)
	reaches(t, b, a, true)
	// The flows without the port must be the same before the port and after it.
	do(a.Unplug())
	h.inForce()
	without := h.epochless()

	t.Run("plug and unplug", func(t *testing.T) {
		for _, n := range []int{20, 21, 20} {
			do(a.Replug(n))
			h.inForce()
			reaches(t, out, a, true)
			reaches(t, b, a, true)
			if h.noFlood() != "a b" || len(h.speaksOf(n, a)) == 0 {
				t.Errorf("port %d: NO_FLOOD at %q, %d flows", n, h.noFlood(), len(h.speaksOf(n, a)))
			}
		}
		do(a.Replug(22)) // at once
		h.inForce()
		if left := h.speaksOf(20, c); len(left) > 0 {
			t.Errorf("of port 20 is left %q", left)
		}
		reaches(t, b, a, true)
		do(a.Unplug())
		h.inForce()
		if left := h.speaksOf(22, a); len(left) > 0 {
			t.Errorf("of a is left %q", left)
		}
		same(t, "after unplugging", h.epochless(), without)
	})

	t.Run("removed and added in one go", func(t *testing.T) {
		do(a.Replug(20))
		h.inForce()
		for range 5 {
			vsctl("del-port", "br0", "a", "--", "add-port", "br0", "a", "--", "set", "Interface", "a", "ofport_request=20",
				"external_ids:iface-id=a", "external_ids:attached-mac="+`"`+a.MAC.String()+`"`)
			if got := h.noFlood(); got != "a b" {
				t.Errorf("NO_FLOOD at %q", got)
			}
		}
		reaches(t, b, a, true)
		reaches(t, out, a, true)
	})

	t.Run("renumbered", func(t *testing.T) {
		vsctl("set", "Interface", "a", "ofport_request=25", "--", "set", "Interface", "b", "ofport_request=20")
		h.until("the new numbers", func(s control.Status) bool {
			return portNamed(t, s, "a").OFPort == 25 && portNamed(t, s, "b").OFPort == 20 && s.State == "enforcing"
		})
		reaches(t, b, a, true)
		reaches(t, out, b, true)
		if got := h.noFlood(); got != "a b" {
			t.Errorf("NO_FLOOD at %q", got)
		}
	})

	t.Run("another MAC", func(t *testing.T) {
		const other = "02:00:0a:00:01:77"
		vsctl("set", "Interface", "a", `external_ids:attached-mac="`+other+`"`)
		reaches(t, a, b, false)
		_, err := a.Exec("ip", "link", "set", "e0", "address", other)
		do(err)
		for _, vm := range []*testbed.Host{b, out} { // they remember
			_, err = vm.Exec("ip", "neigh", "flush", "all")
			do(err)
		}
		reaches(t, a, b, true)
		reaches(t, b, a, true)
		reaches(t, out, a, true)
		vsctl("set", "Interface", "a", `external_ids:attached-mac="`+a.MAC.String()+`"`)
		_, err = a.Exec("ip", "link", "set", "e0", "address", a.MAC.String())
		do(err)
		for _, vm := range []*testbed.Host{b, out} {
			_, err = vm.Exec("ip", "neigh", "flush", "all")
			do(err)
		}
		reaches(t, a, b, true)
	})

	t.Run("another VLAN", func(t *testing.T) {
		vsctl("set", "Port", "a", "tag=7")
		reaches(t, b, a, false)
		vsctl("set", "Port", "b", "tag=7")
		reaches(t, b, a, true)
		reaches(t, out, a, false)
		vsctl("clear", "Port", "a", "tag", "--", "clear", "Port", "b", "tag")
		reaches(t, b, a, true)
		reaches(t, out, a, true)
	})

	t.Run("on another bridge and back", func(t *testing.T) {
		vsctl("add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=netdev")
		vsctl("del-port", "br0", "a", "--", "add-port", "br1", "a", "--", "set", "Interface", "a",
			"external_ids:iface-id=a", "external_ids:attached-mac="+`"`+a.MAC.String()+`"`)
		if left := h.speaksOf(25, a); len(left) > 0 {
			t.Errorf("of a is left %q", left)
		}
		vsctl("del-br", "br1", "--", "add-port", "br0", "a", "--", "set", "Interface", "a",
			"external_ids:iface-id=a", "external_ids:attached-mac="+`"`+a.MAC.String()+`"`)
		reaches(t, b, a, true)
		reaches(t, out, a, true)
	})

	t.Run("two of one name", func(t *testing.T) {
		do(c.Replug(40))
		vsctl("set", "Interface", "c", "external_ids:iface-id=a")
		s := h.inForce()
		// The VM owns the port with the lower number; the other port's MAC is not
		// the VM's.
		if p := portNamed(t, s, "c"); p.State != "blocked" {
			t.Errorf("c is %s as %s (%s)", p.State, p.VM, p.Reason)
		}
		if !warns(s, "c") {
			t.Errorf("no warning: %q", s.Warnings)
		}
		reaches(t, b, a, true)
		reaches(t, c, b, false)
		vsctl("set", "Interface", "c", "external_ids:iface-id=c")
		reaches(t, c, b, true)
		do(c.Unplug())
		h.inForce()
	})

	t.Run("a number passes to another VM", func(t *testing.T) {
		do(a.Replug(50))
		h.inForce()
		reaches(t, out, a, true)
		reaches(t, a, out, true)
		if n := len(h.zone(50)); n == 0 {
			t.Fatal("no connections to be forgotten")
		}
		for range 3 {
			// One transaction, so that the number always belongs to a port.
			vsctl("del-port", "br0", "a", "--", "add-port", "br0", "c", "--", "set", "Interface", "c", "ofport_request=50",
				"external_ids:iface-id=c", "external_ids:attached-mac="+`"`+c.MAC.String()+`"`)
			if n, _ := h.ovs.OFPort("c"); n != 50 {
				t.Fatalf("c has number %d", n)
			}
			if left := h.zone(50); len(left) > 0 {
				t.Errorf("c inherits %q", left)
			}
			reaches(t, out, c, true)
			vsctl("del-port", "br0", "c", "--", "add-port", "br0", "a", "--", "set", "Interface", "a", "ofport_request=50",
				"external_ids:iface-id=a", "external_ids:attached-mac="+`"`+a.MAC.String()+`"`)
			if left := h.zone(50); len(left) > 0 {
				t.Errorf("a inherits %q", left)
			}
			reaches(t, out, a, true)
		}
		vsctl("del-port", "br0", "a")
		if left := h.zone(50); len(left) > 0 {
			t.Errorf("a port that is gone leaves %q", left)
		}
	})
	h.sameAsFresh()
}

// Hundreds of ports at once.
func TestManyPortsAtOnce(t *testing.T) {
	const n = 500
	h := newHost(t, testbed.Options{Dummy: true})
	var text strings.Builder
	text.WriteString(groupOf("openSG", allOut, allIn))
	var add, del []string
	for i := range n {
		name := fmt.Sprintf("tap%d", i)
		fmt.Fprintf(&text, "---\napiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: %s}\nspec:\n  networking:\n"+
			"    interfaces: [{ipAddresses: [10.0.%d.%d]}]\n    securityGroups: {securityGroupMemberships: [{name: openSG}]}\n", name, i/200, 1+i%200)
		add = append(add, "--", "add-port", h.ovs.Bridge(), name, "--", "set", "Interface", name, "type=dummy",
			"external_ids:iface-id="+name, fmt.Sprintf(`external_ids:attached-mac="02:00:00:00:%02x:%02x"`, i>>8, i&255))
		del = append(del, "--", "del-port", h.ovs.Bridge(), name)
	}
	h.write("all.yaml", text.String())
	h.spawn()
	h.inForce()
	before := h.epochless()
	for range 2 {
		began := time.Now()
		if _, err := h.ovs.Vsctl(add...); err != nil {
			t.Fatal(err)
		}
		plugged := time.Since(began)
		enforced := 0
		for _, p := range h.inForce().Ports {
			if p.State == "enforced" {
				enforced++
			}
		}
		t.Logf("%d ports: plugged in %v, in force after %v, %d flows", n, plugged.Round(time.Millisecond),
			time.Since(began).Round(time.Millisecond), len(lines(h.flows())))
		if enforced != n {
			t.Errorf("%d of %d ports are enforced", enforced, n)
		}
		if got := len(strings.Fields(h.noFlood())); got != n {
			t.Errorf("%d of %d ports have NO_FLOOD", got, n)
		}
		if _, err := h.ovs.Vsctl(del...); err != nil {
			t.Fatal(err)
		}
		h.inForce()
		same(t, "without ports again", h.epochless(), before)
	}
}

// A new port receives no frames for others as soon as the change is in force.
// (Until then NORMAL floods to the port.)
func TestNewPortHearsNothing(t *testing.T) {
	h := newHost(t, testbed.Options{})
	a, out := h.vm("a", 31), h.uplink("out", 1)
	h.uplink("next", 2)
	h.write("all.yaml", groupOf("openSG", allOut, allIn)+machine(a, "openSG"))
	if err := a.Unplug(); err != nil {
		t.Fatal(err)
	}
	h.spawn()
	h.inForce()
	l := h.tapped()
	p := out.To(a, a.Addr4())
	p.DstMAC = hw("02:99:99:99:99:99") // that of some host elsewhere
	if err := a.Replug(44); err != nil {
		t.Fatal(err)
	}
	h.inForce()
	for range 3 { // the first two are where they will ever be once the third is
		l.behind("out", p.UDP(1, 2, []byte("not for you")), "next")
	}
	if n := l.count("a", has([]byte("not for you"))); n > 0 {
		t.Errorf("%d frames for somebody else arrived", n)
	}
}
