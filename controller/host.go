package controller

import (
	"fmt"
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/ovsdb"
	"github.com/ovs-sg/ovs-sg/policy"
)

// host is the bridge as the compiler wants it.
type host struct {
	vifs  []policy.VIF
	infra []flows.InfraPort
	// noFlood says for each ofport whether NORMAL is to be kept from it.
	noFlood map[uint32]bool
	// unusable are the ports with a reason to leave them out, by name.
	unusable map[string]string
}

func newHost(s ovsdb.Snapshot) host {
	h := host{noFlood: map[uint32]bool{}, unusable: map[string]string{}}
	for _, p := range s.Ports {
		if why := unusable(p); why != "" {
			h.unusable[p.Name] = why
			if p.OFPort > 0 {
				h.noFlood[ofport(p)] = p.Kind != ovsdb.Infrastructure
			}
			continue
		}
		h.noFlood[ofport(p)] = p.Kind != ovsdb.Infrastructure
		switch p.Kind {
		case ovsdb.VM:
			// A bad attached-mac is as good as none.
			mac, _ := policy.ParseMAC(p.AttachedMAC)
			h.vifs = append(h.vifs, policy.VIF{
				Name: p.Name, OFPort: uint16(p.OFPort), Tag: p.Tag,
				IfaceID: p.IfaceID, VMID: p.VMID, MAC: mac,
			})
		case ovsdb.Infrastructure:
			h.infra = append(h.infra, infraPort(p))
		}
	}
	slices.SortFunc(h.infra, func(a, b flows.InfraPort) int { return int(int64(a.OFPort) - int64(b.OFPort)) })
	return h
}

// ofport is the port's number in OpenFlow 1.4: LOCAL has a 32-bit one there
// and 65534 in the database.
func ofport(p ovsdb.Port) uint32 {
	if p.OFPort == 0xfffe {
		return flows.PortLocal
	}
	return uint32(p.OFPort)
}

func unusable(p ovsdb.Port) string {
	switch {
	case p.OFPort < 0 && p.Error != "":
		return p.Error
	case p.OFPort < 0:
		return "ofport is -1: Open vSwitch could not open the interface"
	case p.OFPort == 0:
		return "no ofport yet"
	case p.Kind == ovsdb.Unidentified:
		return p.Reason
	case p.Kind == ovsdb.VM && p.OFPort > flows.MaxOFPort:
		return fmt.Sprintf("ofport %d is above %d, the highest with a connection tracking zone: set ofport_request", p.OFPort, flows.MaxOFPort)
	case p.Kind == ovsdb.VM && p.EffectiveVLANMode() != "access" && (p.Tagged || len(p.Trunks) > 0):
		return "a VM port must be a VLAN access port or have no VLAN at all, not " + p.EffectiveVLANMode()
	case p.Kind == ovsdb.Infrastructure && p.EffectiveVLANMode() == "dot1q-tunnel":
		return "vlan_mode dot1q-tunnel is not supported"
	}
	return ""
}

func infraPort(p ovsdb.Port) flows.InfraPort {
	out := flows.InfraPort{OFPort: ofport(p), Trunks: p.Trunks}
	switch p.EffectiveVLANMode() {
	case "access":
		out.Access, out.Native = true, p.Tag
	case "native-tagged", "native-untagged":
		out.Native = p.Tag
	}
	return out
}
