package vswitch

import (
	"fmt"
	"slices"

	"github.com/ovs-sg/ovs-sg/ovsdb"
)

// bypasses says by which settings of a bridge packets get around the flows
// (ovs-vswitchd.conf.db(5)). The settings are the operator's, and stay.
func bypasses(p ovsdb.Picture, b *bridgeRow, ports []Port) []string {
	var out []string
	if b.OtherConfig["forward-bpdu"] == "true" {
		out = append(out, "other_config:forward-bpdu=true: NORMAL forwards frames to reserved multicast addresses (01:80:c2:00:00:0X)")
	}
	if b.McastSnooping {
		out = append(out, "mcast_snooping_enable=true: NORMAL sends multicast to every port that has asked for it, VM ports included")
	}
	for name, on := range map[string]bool{"stp": b.STP, "rstp": b.RSTP} {
		if on {
			out = append(out, fmt.Sprintf("%s_enable=true: Open vSwitch takes BPDUs before any flow, and a VM that sends them can become the root of the spanning tree; other_config:%[1]s-enable=false of its port keeps it from that", name))
		}
	}
	for _, uuid := range b.Mirrors {
		m := ovsdb.Get[mirrorRow](p, mirrorTable, uuid)
		if m == nil {
			continue
		}
		switch row := ovsdb.Get[portRow](p, portTable, value(m.OutputPort)); {
		case row != nil:
			for _, port := range ports {
				if port.PortName == row.Name && port.Kind != Infrastructure {
					out = append(out, fmt.Sprintf("mirror %q: port %q gets copies of packets that no rule allows it", m.Name, port.Name))
				}
			}
		case m.OutputVLAN != nil:
			out = append(out, fmt.Sprintf("mirror %q: the ports of VLAN %d get copies of packets that no rule allows them", m.Name, *m.OutputVLAN))
		}
	}
	slices.Sort(out)
	return out
}
