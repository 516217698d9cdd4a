package controller

import (
	"slices"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/policy"
)

// host is the bridge as the compiler wants it.
type host struct {
	vifs  []policy.VIF
	infra []flows.InfraPort
	// noFlood says for each ofport whether NORMAL is to be kept from it.
	noFlood map[uint32]bool
}

func newHost(s vswitch.Snapshot) host {
	h := host{noFlood: map[uint32]bool{}}
	for _, p := range s.Ports {
		if p.OFPort > 0 {
			h.noFlood[ofport(p)] = p.Kind != vswitch.Infrastructure
		}
		switch p.State {
		case vswitch.Pending:
			// A bad attached-mac is as good as none.
			mac, _ := policy.ParseMAC(p.AttachedMAC)
			h.vifs = append(h.vifs, policy.VIF{
				Name: p.Name, OFPort: uint16(p.OFPort), Tag: p.Tag,
				IfaceID: p.IfaceID, VMID: p.VMID, MAC: mac,
			})
		case vswitch.Trusted:
			h.infra = append(h.infra, infraPort(p))
		}
	}
	slices.SortFunc(h.infra, func(a, b flows.InfraPort) int { return int(int64(a.OFPort) - int64(b.OFPort)) })
	return h
}

// ofport is the port's number in OpenFlow 1.4: LOCAL has a 32-bit one there
// and 65534 in the database.
func ofport(p vswitch.Port) uint32 {
	if p.OFPort == 0xfffe {
		return flows.PortLocal
	}
	return uint32(p.OFPort)
}

func infraPort(p vswitch.Port) flows.InfraPort {
	out := flows.InfraPort{OFPort: ofport(p), Trunks: p.Trunks}
	switch p.EffectiveVLANMode() {
	case "access":
		out.Access, out.Native = true, p.Tag
	case "native-tagged", "native-untagged":
		out.Native = p.Tag
	}
	return out
}
