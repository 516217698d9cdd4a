package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// tenant writes a namespace with a virtual machine and its group.
func tenant(namespace, name, id, mac, addr string, rules ...string) string {
	group := strings.Replace(groupOf("g", rules...), "{name: g}", "{name: g, namespace: "+namespace+"}", 1)
	return group + fmt.Sprintf("---\napiVersion: compute.evroclabs.net/v1alpha1\nkind: VirtualMachine\nmetadata: {name: %s, namespace: %s}\n"+
		"spec:\n  networking:\n    interfaces:\n    - {id: %s, macAddress: %q, ipAddresses: [%s]}\n    securityGroups: {securityGroupMemberships: [{name: g}]}\n",
		name, namespace, id, mac, addr)
}

// A manifest that claims the interface id, the MAC or the address of a running VM
// gets nothing, whatever its name, also after a restart of the agent; with an id, a
// MAC and an address of its own it works.
func TestCopiedManifest(t *testing.T) {
	h := newHost(t, testbed.Options{})
	web, thief, out := h.vm("web", 21), h.vm("thief", 22), h.uplink("out", 1)
	for _, vm := range []*testbed.Host{web, thief, out} {
		if err := vm.ServeUDP(53); err != nil {
			t.Fatal(err)
		}
	}
	webMAC, webAddr := web.MAC.String(), web.Addr4().String()
	mac, addr := thief.MAC.String(), thief.Addr4().String()
	h.write("web.yaml", tenant("web", "web", "web", webMAC, webAddr, allOut, allIn))
	h.spawn()
	h.inForce()
	reaches(t, out, web, true)

	// unharmed waits and checks that the copy is refused and web goes on as before.
	unharmed := func(what, reason string) {
		t.Helper()
		if got := stateOf(h.inForce(), "aaa.yaml"); !strings.HasPrefix(got, "rejected aaa.yaml:") || !strings.Contains(got, reason) {
			t.Errorf("%s: %s, want %q", what, got, reason)
		}
		reaches(t, out, web, true)
		reaches(t, out, thief, false)
	}
	for _, c := range []struct{ what, text, reason string }{
		{"a copy", tenant("aaa", "web", "web", webMAC, webAddr, allOut), `interfaces[0].id: interface id "web" is already that of VM web/web, at web.yaml:`},
		{"an id", tenant("aaa", "a", "web", mac, addr, allOut), `interfaces[0].id: interface id "web" is already that of VM web/web, at web.yaml:`},
		{"a MAC", tenant("aaa", "a", "thief", webMAC, addr, allOut, allIn), "interfaces[0].macAddress: MAC " + webMAC + " is already that of VM web/web, at web.yaml:"},
		{"an address", strings.ReplaceAll(tenant("web", "a", "thief", mac, webAddr, allOut, allIn), "name: g", "name: h"),
			"interfaces[0].ipAddresses: address " + webAddr + " is already that of VM web/web, at web.yaml:"},
	} {
		h.write("aaa.yaml", c.text)
		unharmed(c.what, c.reason)
		h.murder()
		h.spawn()
		unharmed(c.what+", and a restart", c.reason)
		h.stop()
		h.write("web.yaml", tenant("web", "web", "web", webMAC, webAddr, allIn, allOut)) // other rules, while no agent runs
		h.spawn()
		unharmed(c.what+", and a change while no agent ran", c.reason)
	}

	// A manifest gives a port no other MAC than whoever plugged it in: not the gateway's.
	h.write("aaa.yaml", tenant("aaa", "a", "thief", out.MAC.String(), addr, allOut, allIn))
	if s := h.inForce(); portNamed(t, s, "thief").State != "blocked" || !warns(s, "VIF thief: attached-mac "+mac+" differs from macAddress "+out.MAC.String()) {
		t.Errorf("with the gateway's MAC: %+v, %q", portNamed(t, s, "thief"), s.Warnings)
	}
	reaches(t, web, out, true)
	reaches(t, out, thief, false)

	h.write("aaa.yaml", tenant("aaa", "a", "thief", mac, addr, allOut, allIn))
	if got := stateOf(h.inForce(), "aaa.yaml"); got != "accepted" {
		t.Errorf("with what is its own: %s", got)
	}
	reaches(t, out, web, true)
	reaches(t, out, thief, true)
	h.remove("aaa.yaml")
	h.inForce()

	// A copy in the same file is refused with the file, which keeps what it said.
	_, copied, _ := strings.Cut(tenant("aaa", "web", "web", webMAC, webAddr, allOut), "---\napiVersion: compute")
	h.write("web.yaml", tenant("web", "web", "web", webMAC, webAddr, allOut, allIn)+"---\napiVersion: compute"+copied)
	if got := stateOf(h.inForce(), "web.yaml"); !strings.HasPrefix(got, "kept web.yaml:") || !strings.Contains(got, "is already that of VM web/web, at web.yaml:") {
		t.Errorf("a copy in the same file: %s", got)
	}
	reaches(t, out, web, true)
	h.write("web.yaml", tenant("web", "web", "web", webMAC, webAddr, allOut, allIn))

	// When the incumbent goes, the other gets what it claims.
	h.write("aaa.yaml", tenant("aaa", "web", "web", webMAC, webAddr, allOut))
	unharmed("a copy again", "is already that of VM web/web")
	h.remove("web.yaml")
	if s := h.inForce(); stateOf(s, "aaa.yaml") != "accepted" || portNamed(t, s, "web").VM != "aaa/web" {
		t.Errorf("after the incumbent: %s, %+v", stateOf(s, "aaa.yaml"), portNamed(t, s, "web"))
	}
	reaches(t, out, web, false)
}

// A tenant that lists the address of another tenant's VM of the same VLAN, in a VPC
// of its own, does not get the address: it is no member of the other's groups, and
// answers for it to nobody.
func TestAddressOfAnotherTenant(t *testing.T) {
	h := newHost(t, testbed.Options{})
	web, db, thief := h.vm("web", 21), h.vm("db", 22), h.vm("thief", 23)
	h.uplink("out", 1)
	member := func(vm *testbed.Host) string {
		_, machine, _ := strings.Cut(tenant("web", vm.Name, vm.Name, vm.MAC.String(), vm.Addr4().String()), "---\napiVersion: compute")
		return "---\napiVersion: compute" + machine
	}
	h.write("web.yaml", strings.Replace(groupOf("g", allOut, "{direction: Ingress, protocol: UDP, port: 53, remote: {securityGroupRef: {name: g}}}"),
		"{name: g}", "{name: g, namespace: web}", 1)+member(web)+member(db))
	h.write("aaa.yaml", tenant("aaa", "a", "thief", thief.MAC.String(), thief.Addr4().String()+", "+web.Addr4().String(), allOut, allIn))
	h.spawn()
	check := func(what string) {
		t.Helper()
		s := h.inForce()
		if want := "VIF thief: address " + web.Addr4().String() + " is already used by web in the same VLAN: refused"; !warns(s, want) {
			t.Errorf("%s: no %q in %q", what, want, s.Warnings)
		}
		l := h.tapped()
		spoofed := testbed.Packet{SrcMAC: thief.MAC, DstMAC: db.MAC, Src: web.Addr4(), Dst: db.Addr4()}
		l.run([]sent{
			{what + ": web is a member", "web", web.To(db, db.Addr4()).UDP(1000, 53, nil), "db"},
			{what + ": the thief with web's address", "thief", spoofed.UDP(1000, 53, nil), ""},
			{what + ": the thief with its own", "thief", thief.To(db, db.Addr4()).UDP(1000, 53, nil), ""},
			{what + ": the thief to outside", "thief", thief.To(h.vms["out"], h.vms["out"].Addr4()).UDP(1000, 53, nil), "out"},
			{what + ": the thief says that it has web's address", "thief", testbed.Packet{SrcMAC: thief.MAC, DstMAC: db.MAC}.
				ARP(testbed.ARPReply, thief.MAC, web.Addr4(), db.MAC, db.Addr4()), ""},
			{what + ": web says it", "web", testbed.Packet{SrcMAC: web.MAC, DstMAC: db.MAC}.
				ARP(testbed.ARPReply, web.MAC, web.Addr4(), db.MAC, db.Addr4()), "db"},
		})
	}
	check("at first")
	h.murder()
	h.spawn()
	check("after a restart")
}
