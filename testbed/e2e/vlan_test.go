package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// subnetOf writes a Subnet of a VPC.
func subnetOf(name, vpc string, cidrs ...string) string {
	return fmt.Sprintf("---\napiVersion: networking.evroclabs.net/v1alpha1\nkind: Subnet\nmetadata: {name: %s}\nspec: {ipv4CidrBlock: %s, ipv6CidrBlock: %q, vpcRef: {name: %s}}\n",
		name, cidrs[0], cidrs[1], vpc)
}

// placed writes a VirtualMachine whose interface is in a subnet.
func placed(vm *testbed.Host, subnet, group string) string {
	return fmt.Sprintf("---\napiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: %s}\n"+
		"spec:\n  networking:\n    interfaces: [{ipAddresses: [%q, %q], subnetRef: {name: %s}}]\n    securityGroups: {securityGroupMemberships: [{name: %s}]}\n",
		vm.Name, vm.Addrs[0], vm.Addrs[1], subnet, group)
}

func cidrs(n int) []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.1.%d/24", n)), netip.MustParsePrefix(fmt.Sprintf("fd00:1::%x/64", n))}
}

// vlanLab has two VMs in VLAN 100 and two VMs with the same addresses and MACs in
// VLAN 200, which are two VPCs; a VM without VLAN; and a trunk. Rules of one group
// allow UDP 53 among its members, in each VPC among the members of that VPC.
func vlanLab(t *testing.T) *lab {
	h := newHost(t, testbed.Options{})
	text := groupOf("memberSG", "{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 53, remote: {securityGroupRef: {name: memberSG}}}",
		"{direction: Ingress, protocol: ICMP}", "{direction: Ingress, protocol: UDP, port: 5353}") +
		groupOf("otherSG", "{direction: Egress}", "{direction: Ingress, protocol: UDP, port: 53, remote: {securityGroupRef: {name: memberSG}}}",
			"{direction: Ingress, protocol: ICMP}", "{direction: Ingress, protocol: UDP, port: 5353}")
	for _, vlan := range []int{100, 200} {
		subnet := fmt.Sprintf("s%d", vlan)
		text += subnetOf(subnet, fmt.Sprintf("vpc%d", vlan), "10.0.1.0/24", "fd00:1::/64")
		for i, name := range []string{"a", "b"} {
			vm := h.ovs.VM(t, testbed.VMConfig{Name: fmt.Sprintf("%s%d", name, vlan), Tag: vlan,
				MAC: fmt.Sprintf("02:00:0a:00:01:%02x", 40+i), Addrs: cidrs(40 + i)})
			h.vms[vm.Name] = vm
			// The address of a200 is a member's in the other VPC, not in its own.
			group := "memberSG"
			if vm.Name == "a200" {
				group = "otherSG"
			}
			text += placed(vm, subnet, group)
		}
	}
	text += subnetOf("plain", "default", "10.0.1.0/24", "fd00:1::/64")
	h.vms["plain"] = h.ovs.VM(t, testbed.VMConfig{Name: "plain", MAC: "02:00:0a:00:01:2a", Addrs: cidrs(42)})
	text += placed(h.vms["plain"], "plain", "memberSG")
	h.vms["trunk"] = h.ovs.Uplink(t, testbed.UplinkConfig{Name: "trunk", MAC: "02:00:0a:00:01:01",
		VLANs: map[int][]netip.Prefix{
			100: {netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("fd00:1::1/64")},
			200: {netip.MustParsePrefix("10.0.1.2/24"), netip.MustParsePrefix("fd00:1::2/64")},
		}})
	for _, vm := range h.vms {
		if err := vm.ServeUDP(53); err != nil {
			t.Fatal(err)
		}
	}
	h.write("all.yaml", text)
	h.start()
	h.wait()
	l := h.tapped()
	l.fenced = func(from string) []string {
		return map[string][]string{"a100": {"b100", "trunk"}, "b100": {"a100", "trunk"}, "a200": {"b200", "trunk"}, "b200": {"a200", "trunk"},
			"plain": {"trunk"}, "trunk": {"plain"}}[from]
	}
	return l
}

func TestVLANs(t *testing.T) {
	l := vlanLab(t)
	t.Run("tags", func(t *testing.T) { l.in(t).run(vlanFrames(l)) })
	t.Run("tag on the wire", func(t *testing.T) { l.in(t).tagOnWire() })
	t.Run("connections", func(t *testing.T) { l.in(t).vlanConnections() })
}

func inVLAN(vlan int, frame []byte) []byte {
	if vlan == 0 {
		return frame
	}
	return tagged(frame, 0x8100, uint16(vlan))
}

// vlanFrames: every frame stays in its VLAN.
func vlanFrames(l *lab) []sent {
	trunk := l.vms["trunk"]
	var out []sent
	add := func(name, from string, frame []byte, to string) { out = append(out, sent{name, from, frame, to}) }
	group := addr("239.1.2.3")
	all := testbed.Packet{DstMAC: testbed.Broadcast}
	nets := []struct {
		vlan    int
		a, b    string // b: "" where there is one VM only
		members string // those who get what the trunk sends to all
	}{{100, "a100", "b100", "a100 b100"}, {200, "a200", "b200", "a200 b200"}, {0, "plain", "", "plain"}}
	for _, net := range nets {
		a := l.vms[net.a]
		all.SrcMAC = a.MAC
		rest := "trunk"
		if net.b != "" {
			rest = net.b + " trunk"
		}
		// From a VM.
		add("ARP", net.a, all.ARP(testbed.ARPRequest, a.MAC, a.Addr4(), nil, addr("10.0.1.9")), rest)
		m := a.To(a, group)
		m.DstMAC = testbed.MulticastMAC(group)
		add("multicast", net.a, m.UDP(1, 5353, nil), rest)
		add("multicast that no rule allows", net.a, m.UDP(1, 5354, nil), "trunk")
		add("RARP", net.a, all.RARP(), "trunk")
		for _, dst := range trunk.Addrs[:2] {
			add("to the trunk", net.a, a.To(trunk, dst).UDP(1, 53, nil), "trunk")
			add("to an unknown MAC", net.a, testbed.Packet{SrcMAC: a.MAC, DstMAC: hw("02:99:00:00:00:01"), Src: a.To(trunk, dst).Src, Dst: dst}.UDP(1, 53, nil), "trunk")
		}
		add("tagged by the VM itself", net.a, inVLAN(max(net.vlan, 100), a.To(trunk, trunk.Addr4()).UDP(1, 53, nil)), "")
		if net.b != "" {
			b := l.vms[net.b]
			for _, dst := range b.Addrs {
				want := net.b
				if net.b == "b200" {
					want = "" // from a200, which is no member there
				}
				add("UDP 53 to the other", net.a, a.To(b, dst).UDP(1, 53, nil), want)
				add("ping to the other", net.a, a.To(b, dst).Echo(7, 7, nil), net.b)
				add("UDP 53 back", net.b, b.To(a, a.To(b, dst).Src).UDP(2, 53, nil), map[string]string{"b100": "a100", "b200": "a200"}[net.b])
			}
		}
		// From the trunk.
		all.SrcMAC = trunk.MAC
		add("ARP", "trunk", inVLAN(net.vlan, all.ARP(testbed.ARPRequest, trunk.MAC, trunk.Addr4(), nil, a.Addr4())), net.members)
		p := testbed.Packet{SrcMAC: trunk.MAC, DstMAC: testbed.MulticastMAC(group), Src: trunk.Addr4(), Dst: group}
		add("multicast", "trunk", inVLAN(net.vlan, p.UDP(1, 5353, nil)), net.members)
		add("multicast that no rule allows", "trunk", inVLAN(net.vlan, p.UDP(1, 5354, nil)), "")
		r := testbed.Packet{SrcMAC: trunk.MAC, DstMAC: testbed.MulticastMAC(testbed.AllNodes), Src: linkLocalOf(trunk.MAC), Dst: testbed.AllNodes}
		add("RA", "trunk", inVLAN(net.vlan, r.RouterAdvert()), net.members)
		for _, dst := range a.Addrs {
			p := trunk.To(a, dst)
			add("ping", "trunk", inVLAN(net.vlan, p.Echo(9, 9, nil)), net.a)
			add("UDP that no rule allows", "trunk", inVLAN(net.vlan, p.UDP(9, 9, nil)), "")
			if net.vlan != 0 {
				add("tagged twice", "trunk", tagged(inVLAN(net.vlan, p.Echo(9, 9, nil)), 0x8100, uint16(net.vlan)), "")
			}
		}
	}
	for _, vlan := range []int{1, 101, 300, 4094} {
		all.SrcMAC = trunk.MAC
		add(fmt.Sprintf("ARP in VLAN %d", vlan), "trunk", inVLAN(vlan, all.ARP(testbed.ARPRequest, trunk.MAC, trunk.Addr4(), nil, addr("10.0.1.40"))), "")
		add(fmt.Sprintf("ping in VLAN %d", vlan), "trunk", inVLAN(vlan, trunk.To(l.vms["a100"], addr("10.0.1.40")).Echo(1, 1, nil)), "")
	}
	return out
}

// tagOnWire: frames to the trunk carry the VM's tag, those to a VM none.
func (l *lab) tagOnWire() {
	l.t.Helper()
	trunk := l.vms["trunk"]
	for name, vlan := range map[string]int{"a100": 100, "a200": 200, "plain": 0} {
		vm := l.vms[name]
		l.forget()
		arp := testbed.Packet{SrcMAC: vm.MAC, DstMAC: testbed.Broadcast}.ARP(testbed.ARPRequest, vm.MAC, vm.Addr4(), nil, addr("10.0.1.9"))
		udp := vm.To(trunk, trunk.Addr4()).UDP(3, 53, nil)
		ping := trunk.To(vm, vm.Addr4()).Echo(3, 3, nil)
		for _, frame := range [][]byte{arp, udp} {
			m := newMark()
			if err := vm.Send(m.on(frame)); err != nil {
				l.t.Fatal(err)
			}
			l.passes("trunk", 1, has(m.on(inVLAN(vlan, frame))))
		}
		m := newMark()
		if err := trunk.Send(m.on(inVLAN(vlan, ping))); err != nil {
			l.t.Fatal(err)
		}
		l.passes(name, 1, has(m.on(ping)))
	}
}

// vlanConnections: real connections of the same addresses in two VLANs do not
// meet; each answer comes from the VM of the same VLAN.
func (l *lab) vlanConnections() {
	l.t.Helper()
	var probes []testbed.Probe
	names := []string{}
	add := func(from, to string, dst netip.Addr, answers bool) {
		probes = append(probes, testbed.Probe{Proto: "udp", From: l.vms[from], SrcPort: 4000, Src: l.vms[from].To(l.vms[to], dst).Src,
			To: netip.AddrPortFrom(dst, 53), Want: answers})
		names = append(names, to)
	}
	for i, dst := range l.vms["b100"].Addrs {
		add("a100", "b100", dst, true)
		add("a200", "b200", dst, false)
		add("b100", "a100", l.vms["a100"].Addrs[i], true)
		add("b200", "a200", l.vms["a200"].Addrs[i], true)
		add("plain", "b100", dst, false)
	}
	// Over the trunk to its host's device for the VLAN.
	for _, dst := range l.vms["trunk"].Addrs[:2] {
		p := testbed.Probe{Proto: "udp", From: l.vms["a100"], To: netip.AddrPortFrom(dst, 53), Want: true}
		probes, names = append(probes, p), append(names, "trunk")
	}
	for i, r := range testbed.Matrix(context.Background(), probes, 0) {
		if !r.OK() || r.Reachable && r.Answer != names[i] {
			l.t.Errorf("%v, from %s, answered by %q, want %s", r, r.Probe.From.Name, r.Answer, names[i])
		}
	}
}
