package ovsdb

import (
	"cmp"
	"maps"
	"slices"
)

// Snapshot is one consistent picture of the bridge: the database between two
// transactions, never half of one. It is immutable; receivers share its
// slices and maps and must not change them.
type Snapshot struct {
	// Seq grows with every snapshot delivered by one Client, from 1.
	Seq uint64
	// Bridge is the followed bridge.
	Bridge Bridge
	// OVSVersion is Open_vSwitch.ovs_version, such as "3.1.0". Empty when
	// ovs-vswitchd's start script did not set it.
	OVSVersion string
	// Datapath is what is published about the bridge's datapath.
	Datapath Datapath
	// CurCfg and NextCfg are the columns of Open_vSwitch: writers raise
	// next_cfg, and ovs-vswitchd sets cur_cfg to it once it has applied the
	// configuration up to there.
	CurCfg, NextCfg int
	// Ports has one entry per interface of the bridge, sorted by Name.
	Ports []Port
}

// Bridge is the Bridge row that is followed.
type Bridge struct {
	// Name is the configured name, also when there is no such bridge.
	Name string
	// Exists tells whether the database has a bridge of that name. When
	// false, the rest is empty.
	Exists bool
	// UUID is the row's, in its usual text form.
	UUID string
	// DatapathType is Bridge.datapath_type: "" and "system" are the kernel
	// datapath, "netdev" the userspace one.
	DatapathType string
	// DatapathID is the OpenFlow datapath id in 16 hex digits, "" as long as
	// ovs-vswitchd has not set it.
	DatapathID string
	// FailMode is "secure", "standalone" or "" (standalone).
	FailMode string
	// Controllers counts the rows of Bridge.controller.
	Controllers int
}

// Datapath is what the Datapath table says about the bridge's datapath type.
// Most hosts have no such row: ovs-vswitchd fills in rows that somebody made
// (ovs-vsctl add-dp), it makes none. Then all is empty, which says nothing
// about what the datapath can do; ask dpif/show-dp-features on ovs-vswitchd's
// unixctl socket.
type Datapath struct {
	// Version is Datapath.datapath_version.
	Version string
	// Capabilities is Datapath.capabilities, for example "ct_zone": "true".
	Capabilities map[string]string
}

// Port is one interface of the bridge, with what its Port row adds.
type Port struct {
	// Name is Interface.name, the name of the network device.
	Name string
	// PortName is Port.name. It differs from Name for the members of a bond.
	PortName string
	// Bond tells that the port has several interfaces.
	Bond bool
	// OFPort is Interface.ofport: 0 when ovs-vswitchd has not assigned it
	// yet, -1 when it could not add the interface (see Error).
	OFPort int
	// Error is Interface.error: why ovs-vswitchd could not open the device.
	Error string
	// Type is Interface.type: "" and "system" are ordinary network devices.
	Type string
	// MACInUse is Interface.mac_in_use, lower case with colons, or "".
	MACInUse string

	// Tag is Port.tag, 0 to 4095; Tagged tells whether it is set.
	Tag    uint16
	Tagged bool
	// Trunks is Port.trunks in ascending order. Empty trunks all VLANs.
	Trunks []uint16
	// VLANMode is Port.vlan_mode as it is in the database, often "". See
	// EffectiveVLANMode.
	VLANMode string

	// IfaceID, VMID, AttachedMAC, IfaceStatus and Role are the interface's
	// external_ids iface-id, vm-id, attached-mac, iface-status and
	// ovs-sg-role, unchecked, "" when absent.
	IfaceID, VMID, AttachedMAC, IfaceStatus, Role string

	// Kind is what the interface is, by Classify.
	Kind Kind
	// Reason is a readable phrase: why it is of that kind and, when it is not
	// Ready, why not.
	Reason string
}

// Ready tells whether the interface has an OpenFlow port, so that flows can
// name it.
func (p Port) Ready() bool { return p.OFPort > 0 }

// EffectiveVLANMode is the VLANMode that Open vSwitch goes by when the column
// is empty: "access" with a tag, else "trunk".
func (p Port) EffectiveVLANMode() string {
	switch {
	case p.VLANMode != "":
		return p.VLANMode
	case p.Tagged:
		return "access"
	}
	return "trunk"
}

// Equal tells whether s and t are the same picture. Seq does not count.
func (s Snapshot) Equal(t Snapshot) bool {
	return s.Bridge == t.Bridge &&
		s.OVSVersion == t.OVSVersion &&
		s.CurCfg == t.CurCfg && s.NextCfg == t.NextCfg &&
		s.Datapath.Version == t.Datapath.Version &&
		maps.Equal(s.Datapath.Capabilities, t.Datapath.Capabilities) &&
		slices.EqualFunc(s.Ports, t.Ports, Port.Equal)
}

// Equal tells whether p and q are equal in every field.
func (p Port) Equal(q Port) bool {
	if !slices.Equal(p.Trunks, q.Trunks) {
		return false
	}
	p.Trunks, q.Trunks = nil, nil
	return p.Name == q.Name && p.PortName == q.PortName && p.Bond == q.Bond &&
		p.OFPort == q.OFPort && p.Error == q.Error && p.Type == q.Type &&
		p.MACInUse == q.MACInUse &&
		p.Tag == q.Tag && p.Tagged == q.Tagged && p.VLANMode == q.VLANMode &&
		p.IfaceID == q.IfaceID && p.VMID == q.VMID && p.AttachedMAC == q.AttachedMAC &&
		p.IfaceStatus == q.IfaceStatus && p.Role == q.Role &&
		p.Kind == q.Kind && p.Reason == q.Reason
}

// snapshot builds the picture of one bridge out of the rows. The result
// shares only maps and strings with them that are never changed again.
func (r *rows) snapshot(bridge string, uplinks []string, physical func(string) bool) Snapshot {
	snap := Snapshot{Bridge: Bridge{Name: bridge}}
	var root rootRow
	for _, root = range r.root { // the table has exactly one row
		snap.OVSVersion = root.version
		snap.CurCfg, snap.NextCfg = root.curCfg, root.nextCfg
	}
	for uuid, br := range r.bridges {
		if br.name != bridge { // names are unique: an index of the schema
			continue
		}
		snap.Bridge = Bridge{
			Name: bridge, Exists: true, UUID: uuid,
			DatapathType: br.datapathType, DatapathID: br.datapathID,
			FailMode: br.failMode, Controllers: len(br.controllers),
		}
		dp := r.datapaths[root.datapaths[cmp.Or(br.datapathType, "system")]]
		snap.Datapath = Datapath{Version: dp.version, Capabilities: dp.capabilities}
		snap.Ports = make([]Port, 0, len(br.ports))
		for _, id := range br.ports {
			port := r.ports[id]
			for _, id := range port.interfaces {
				if iface, ok := r.interfaces[id]; ok {
					p := newPort(port, iface)
					p.Kind, p.Reason = Classify(p, bridge, uplinks, physical)
					p.Reason += p.unready()
					snap.Ports = append(snap.Ports, p)
				}
			}
		}
	}
	slices.SortFunc(snap.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.PortName, b.PortName))
	})
	return snap
}

func newPort(port portRow, iface interfaceRow) Port {
	p := Port{
		Name: iface.name, PortName: port.name, Bond: len(port.interfaces) > 1,
		OFPort: iface.ofport, Error: iface.err, Type: iface.typ, MACInUse: iface.mac,
		VLANMode:    port.vlanMode,
		IfaceID:     iface.externalIDs[keyIfaceID],
		VMID:        iface.externalIDs[keyVMID],
		AttachedMAC: iface.externalIDs[keyAttachedMAC],
		IfaceStatus: iface.externalIDs[keyIfaceStatus],
		Role:        iface.externalIDs[keyRole],
	}
	if port.tag != nil {
		p.Tag, p.Tagged = uint16(*port.tag), true
	}
	for _, vlan := range port.trunks {
		p.Trunks = append(p.Trunks, uint16(vlan))
	}
	return p
}

// unready is the end of the Reason of a port without an OpenFlow port.
func (p Port) unready() string {
	switch {
	case p.Ready():
		return ""
	case p.OFPort == 0 && p.Error == "":
		return "; not ready: ovs-vswitchd has not assigned an OpenFlow port yet"
	case p.Error == "":
		return "; not ready: ovs-vswitchd could not add it to the bridge"
	}
	return "; not ready: " + p.Error
}
