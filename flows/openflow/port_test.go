package openflow

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// show returns the output of ovs-ofctl show with OpenFlow 1.0, the only version
// with NO_FLOOD.
func show(t *testing.T, o *testbed.OVS) string {
	t.Helper()
	cmd := exec.Command("ovs-ofctl", "-O", "OpenFlow10", "show", o.Bridge())
	cmd.Env = append(os.Environ(), o.Env()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func portNamed(t *testing.T, c *Conn, name string) Port {
	t.Helper()
	ports, err := c.Ports(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ports {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no port %s in %+v", name, ports)
	return Port{}
}

func TestSetNoFlood(t *testing.T) {
	o, c := dummy(t)
	ctx := testContext(t)
	if _, err := o.Vsctl("add-port", "br0", "p1", "--", "set", "Interface", "p1", "ofport_request=17"); err != nil {
		t.Fatal(err)
	}
	p := portNamed(t, c, "p1")
	if p.OFPort != 17 || !strings.Contains(show(t, o), "17(p1): addr:"+p.HWAddr.String()) || p.NoFlood {
		t.Errorf("got %+v", p)
	}
	if p := portNamed(t, c, "br0"); p.OFPort != 0xfffffffe {
		t.Errorf("got %+v", p)
	}
	sent := func() uint32 { return xids(c.old) }
	for _, on := range []bool{true, false} {
		if err := c.setNoFlood(ctx, p, on); err != nil {
			t.Fatal(err)
		}
		if text := show(t, o); strings.Contains(text, "NO_FLOOD") != on {
			t.Errorf("want NO_FLOOD %v:\n%s", on, text)
		}
		if p = portNamed(t, c, "p1"); p.NoFlood != on {
			t.Errorf("got %+v", p)
		}
		before := sent()
		if err := c.setNoFlood(ctx, p, on); err != nil || sent() != before {
			t.Error("sent what the switch has already", err)
		}
	}
	p.HWAddr[5]++
	if e, ok := errors.AsType[*SwitchError](c.setNoFlood(ctx, p, true)); !ok || e.Error() != "OFPPMFC_BAD_HW_ADDR" {
		t.Errorf("got %v", e)
	}
}

// The session of OpenFlow 1.0 must not make the switch take the Conn for a
// controller.
func TestMissesAreDropped(t *testing.T) {
	o, c := dummy(t)
	if _, err := o.Vsctl("add-port", "br0", "p1"); err != nil {
		t.Fatal(err)
	}
	portNamed(t, c, "p1")
	text, err := o.Appctl("ofproto/trace", "br0", "in_port=1")
	if err != nil || c.old == nil || strings.Contains(text, "CONTROLLER") || !strings.Contains(text, "Datapath actions: drop") {
		t.Errorf("a packet that misses: %s, %v", text, err)
	}
}

func TestPortStatusWakes(t *testing.T) {
	o, c := dummy(t)
	if _, err := o.Vsctl("add-port", "br0", "p1"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.PortStatus():
	case <-testContext(t).Done():
		t.Error("no word of a new port")
	}
}

func TestManyPorts(t *testing.T) {
	o, c := dummy(t)
	var args []string
	for i := range 1500 { // more than one part of a reply
		args = append(args, "--", "add-port", "br0", "p"+string(rune('a'+i/100))+string(rune('a'+i/10%10))+string(rune('a'+i%10)))
	}
	if _, err := o.Vsctl(append([]string{"--no-wait"}, args...)...); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		ports, err := c.Ports(testContext(t))
		return err == nil && len(ports) == 1501
	})
}

func TestVersionsThatTheBridgeAllows(t *testing.T) {
	o, _ := dummy(t)
	ctx := testContext(t)
	set := func(versions string) {
		t.Helper()
		if _, err := o.Vsctl("set", "Bridge", "br0", "protocols="+versions); err != nil {
			t.Fatal(err)
		}
	}
	set("OpenFlow14")
	c := dial(t, o, Options{})
	p := portNamed(t, c, "br0")
	if e, ok := errors.AsType[*VersionError](c.setNoFlood(ctx, p, true)); !ok || e.Version != 1 {
		t.Errorf("got %v", e)
	}
	set("OpenFlow10,OpenFlow13")
	if c, err := Dial(ctx, o.Mgmt(), Options{}); err == nil {
		t.Error("connected without OpenFlow 1.4")
		c.Close()
	} else if e, ok := errors.AsType[*VersionError](err); !ok || e.Version != 5 || !strings.Contains(err.Error(), "OpenFlow14") {
		t.Errorf("got %v", err)
	}
}

func TestEchoKeepsTheConnection(t *testing.T) {
	o, _ := dummy(t)
	c := dial(t, o, Options{EchoInterval: 300 * time.Millisecond})
	before := c.s.heard.Load()
	waitFor(t, func() bool { return c.s.heard.Load() >= before+5 })
	if c.s.failure() != nil {
		t.Error(c.s.failure())
	}
	if err := syscall.Kill(o.SwitchdPID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(o.SwitchdPID(), syscall.SIGCONT)
	<-c.Done()
	if !errors.Is(c.s.failure(), ErrSilent) {
		t.Errorf("got %v", c.s.failure())
	}
}

func TestFlush(t *testing.T) {
	o, c := dummy(t)
	ctx := testContext(t)
	if err := c.FlushZone(ctx, 7); err != nil {
		t.Error(err)
	}
	var asked string
	allowed := dial(t, o, Options{FlushAddr: func(version string) bool { asked = version; return true }}) // there are no connections to forget
	for _, a := range []string{"10.0.0.1", "fd00::1"} {
		addr := netip.MustParseAddr(a)
		if err := allowed.FlushAddr(ctx, 7, addr); err != nil {
			t.Error(err)
		}
		if err := c.FlushAddr(ctx, 7, addr); !errors.Is(err, ErrUnsupported) || asked != c.version {
			t.Errorf("version %s, asked about %q: %v", c.version, asked, err)
		}
	}
	for _, addr := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if allowed.FlushAddr(ctx, 7, addr) == nil {
			t.Errorf("%v would flush everything", addr)
		}
	}
}
