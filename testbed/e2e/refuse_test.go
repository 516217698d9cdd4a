package e2e

import (
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// On an Open vSwitch that cannot enforce, the agent says why and changes nothing:
// the bridge forwards what it forwarded before. When it can, the agent enforces.
func TestRefusedSwitch(t *testing.T) {
	for _, c := range []struct {
		name, want string
		set, mend  func(h *host, a *appctl)
	}{
		{"release", "Open_vSwitch.ovs_version is 2.15.0: a packet can crash this release",
			func(h *host, _ *appctl) { h.setVersion("2.15.0") }, func(h *host, _ *appctl) { h.setVersion("3.1.0") }},
		{"datapath", "lacks what the flows need: CT zone, CT label",
			func(_ *host, a *appctl) {
				a.alter(func(command, text string) string {
					if command != "dpif/show-dp-features" {
						return text
					}
					return strings.NewReplacer("CT zone: Yes", "CT zone: No", "CT label: Yes", "CT label: No").Replace(text)
				})
			},
			func(_ *host, a *appctl) { a.alter(nil) }},
		{"feature switched off", "lacks what the flows need: CT orig tuple (",
			func(h *host, _ *appctl) { h.feature("ct_orig_tuple", "false") }, func(h *host, _ *appctl) { h.feature("ct_orig_tuple", "true") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, testbed.Options{Standalone: true})
			a := newAppctl(h)
			h.vm("server", 21)
			h.vm("client", 22)
			h.vm("other", 23)
			h.write("vms.yaml", streamVMs)
			h.write("client.yaml", clientIn("strangerSG"))
			h.write("groups.yaml", clientGroups)
			h.write("server.yaml", serverGroup(fromClients))
			c.set(h, a)
			h.spawn("--unixctl", a.path)
			h.waitReady()
			h.until(c.want, func(s control.Status) bool {
				return s.State == "out of date" && strings.Contains(s.Reason, c.want)
			})
			forbidden := h.vms["client"].To(h.vms["server"], h.vms["server"].Addr4()).UDP(5000, 7001, []byte("no rule"))
			allowed := h.vms["other"].To(h.vms["server"], h.vms["server"].Addr4()).UDP(5000, 7001, []byte("a rule"))
			fromClient, fromOther := ipProto(testbed.ProtoUDP, h.vms["client"].Addr4()), ipProto(testbed.ProtoUDP, h.vms["other"].Addr4())
			h.arrives("client", "server", true, fromClient, forbidden)
			if flows := lines(h.flows()); len(flows) != 1 {
				t.Errorf("%d flows", len(flows))
			}
			if mode, err := h.ovs.Vsctl("get", "Bridge", h.ovs.Bridge(), "fail_mode"); err != nil || !strings.Contains(mode, "standalone") {
				t.Errorf("fail_mode %q, %v", mode, err)
			}
			if !strings.Contains(h.log.String(), c.want) {
				t.Errorf("the log does not say %q", c.want)
			}

			c.mend(h, a)
			h.inForce()
			h.arrives("other", "server", true, fromOther, allowed)
			h.arrives("client", "server", false, fromClient, forbidden)
		})
	}
}

// feature switches a feature of the datapath off or on.
func (h *host) feature(name, value string) {
	h.t.Helper()
	if out, err := h.ovs.Appctl("dpif/set-dp-features", h.ovs.Bridge(), name, value); err != nil || out != "" {
		h.t.Fatal(out, err)
	}
}
