package vswitch

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/ovsdb"
)

// Snapshot is one consistent picture of the bridge: the database between two
// transactions, never half of one. It is immutable; receivers share its
// slices and must not change them.
type Snapshot struct {
	// Seq grows with every snapshot delivered by one Client, from 1.
	Seq uint64
	// Bridge is the followed bridge.
	Bridge Bridge
	// OVSVersion is Open_vSwitch.ovs_version, such as "3.1.0". Empty when
	// ovs-vswitchd's start script did not set it.
	OVSVersion string
	// Ports has one entry per interface of the bridge, sorted by Name.
	Ports []Port
	// Absent are the configured uplinks that name neither an interface nor a
	// port of the bridge.
	Absent []string
	// Bypasses says, in a phrase each, by which settings of the bridge packets
	// get around the flows.
	Bypasses []string
}

// Equal tells whether s and t are the same picture. Seq does not count.
func (s Snapshot) Equal(t Snapshot) bool {
	return s.Bridge == t.Bridge &&
		s.OVSVersion == t.OVSVersion &&
		slices.EqualFunc(s.Ports, t.Ports, Port.Equal) &&
		slices.Equal(s.Absent, t.Absent) && slices.Equal(s.Bypasses, t.Bypasses)
}

// Bridge is the Bridge row that is followed.
type Bridge struct {
	// Name is the configured name, also when there is no such bridge.
	Name string
	// Exists tells whether the database has a bridge of that name. When
	// false, the rest is empty.
	Exists bool
	// UUID is the row's, in its usual text form. A bridge that was deleted and
	// added again has another one.
	UUID string
	// DatapathType is Bridge.datapath_type: "" and "system" are the kernel
	// datapath, "netdev" the userspace one.
	DatapathType string
	// FailMode is "secure", "standalone" or "" (standalone).
	FailMode string
	// Taken tells that another Client may change the bridge, and this one must
	// not: that one holds the lock.
	Taken bool
	// Unprepared says what Prepare would change, in a phrase; "" when it would
	// change nothing.
	Unprepared string
	// Controllers is the number of OpenFlow controllers. Open vSwitch flushes
	// all flows when the first comes and when the last goes.
	Controllers int
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

	// Tag is Port.tag, 0 to 4095; Tagged tells whether it is set.
	Tag    uint16
	Tagged bool
	// Trunks is Port.trunks in ascending order. Empty trunks all VLANs.
	Trunks []uint16
	// VLANMode is Port.vlan_mode as it is in the database, often "". See
	// EffectiveVLANMode.
	VLANMode string

	// IfaceID, VMID, AttachedMAC and Role are the interface's external_ids
	// iface-id, vm-id, attached-mac and ovs-sg-role, unchecked, "" when
	// absent.
	IfaceID, VMID, AttachedMAC, Role string

	// Kind is what the interface is, by Classify.
	Kind Kind
	// State is what can be done with the port.
	State State
	// Reason is a readable phrase that explains State: why the port cannot be
	// used or, if it can, why it is of its Kind.
	Reason string
}

// Equal tells whether p and q are equal in every field.
func (p Port) Equal(q Port) bool {
	return p.Name == q.Name && p.PortName == q.PortName && p.Bond == q.Bond &&
		p.OFPort == q.OFPort && p.Error == q.Error && p.Type == q.Type &&
		p.Tag == q.Tag && p.Tagged == q.Tagged &&
		slices.Equal(p.Trunks, q.Trunks) && p.VLANMode == q.VLANMode &&
		p.IfaceID == q.IfaceID && p.VMID == q.VMID && p.AttachedMAC == q.AttachedMAC && p.Role == q.Role &&
		p.Kind == q.Kind && p.State == q.State && p.Reason == q.Reason
}

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

// newSnapshot builds the picture of one bridge out of the rows. The result
// shares with them only strings.
func newSnapshot(p ovsdb.Picture, config Config) Snapshot {
	snap := Snapshot{Bridge: Bridge{Name: config.Bridge}}
	for _, root := range ovsdb.All[rootRow](p, rootTable) { // exactly one
		snap.OVSVersion = value(root.OVSVersion)
	}
	for uuid, row := range ovsdb.All[bridgeRow](p, bridgeTable) {
		if row.Name != config.Bridge { // names are unique: an index of the schema
			continue
		}
		_, missing := changes(p, row, config.Tables)
		snap.Bridge = Bridge{
			Name: row.Name, Exists: true, UUID: uuid,
			DatapathType: row.DatapathType, FailMode: value(row.FailMode),
			Unprepared: strings.Join(missing, "; "), Controllers: len(row.Controllers),
		}
		snap.Ports = newPorts(p, row.Ports, config)
		for _, name := range config.Uplinks {
			if !slices.ContainsFunc(snap.Ports, func(p Port) bool { return p.Name == name || p.PortName == name }) {
				snap.Absent = append(snap.Absent, name)
			}
		}
		snap.Bypasses = bypasses(p, row, snap.Ports)
	}
	return snap
}

// newPorts builds the ports of a bridge, sorted.
func newPorts(p ovsdb.Picture, uuids []string, config Config) []Port {
	ports := make([]Port, 0, len(uuids))
	for _, uuid := range uuids {
		row := ovsdb.Get[portRow](p, portTable, uuid)
		if row == nil {
			continue
		}
		for _, uuid := range row.Interfaces {
			if iface := ovsdb.Get[interfaceRow](p, interfaceTable, uuid); iface != nil {
				ports = append(ports, newPort(row, iface, config))
			}
		}
	}
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.PortName, b.PortName))
	})
	return ports
}

func newPort(row *portRow, iface *interfaceRow, config Config) Port {
	p := Port{
		Name: iface.Name, PortName: row.Name, Bond: len(row.Interfaces) > 1,
		OFPort: value(iface.OFPort), Error: value(iface.Error), Type: iface.Type,
		Tag: uint16(value(row.Tag)), Tagged: row.Tag != nil, VLANMode: value(row.VLANMode),
		IfaceID:     iface.ExternalIDs[keyIfaceID],
		VMID:        iface.ExternalIDs[keyVMID],
		AttachedMAC: iface.ExternalIDs[keyAttachedMAC],
		Role:        iface.ExternalIDs[keyRole],
	}
	for _, vlan := range row.Trunks {
		p.Trunks = append(p.Trunks, uint16(vlan))
	}
	slices.Sort(p.Trunks)
	p.Kind, p.Reason = Classify(p, config.Bridge, config.Uplinks, config.Physical)
	p.State, p.Reason = judge(p, config.MaxOFPort)
	return p
}
