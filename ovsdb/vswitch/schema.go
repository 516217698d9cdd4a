package vswitch

import (
	"maps"
	"slices"

	"github.com/ovs-sg/ovs-sg/ovsdb"
)

// database is the name of the database that ovs-vswitchd is configured by.
const database = "Open_vSwitch"

// Keys of Interface.external_ids. All but the role are those of Open
// vSwitch's integration guide.
const (
	keyIfaceID     = "iface-id"
	keyAttachedMAC = "attached-mac"
	keyVMID        = "vm-id"
	keyRole        = "ovs-sg-role"
)

// The tables that are copied.
const (
	rootTable      = "Open_vSwitch"
	bridgeTable    = "Bridge"
	flowTableTable = "Flow_Table"
	portTable      = "Port"
	interfaceTable = "Interface"
	mirrorTable    = "Mirror"
)

// The rows of the tables, with the columns that are used. A nil pointer is an
// optional value that is absent.
type (
	rootRow struct {
		UUID       string  `ovsdb:"_uuid"`
		OVSVersion *string `ovsdb:"ovs_version"`
		CurCfg     int     `ovsdb:"cur_cfg"`
		NextCfg    int     `ovsdb:"next_cfg"`
	}
	bridgeRow struct {
		UUID         string         `ovsdb:"_uuid"`
		Name         string         `ovsdb:"name"`
		Ports        []string       `ovsdb:"ports"`
		FailMode     *string        `ovsdb:"fail_mode"`
		DatapathType string         `ovsdb:"datapath_type"`
		FlowTables   map[int]string `ovsdb:"flow_tables"`

		OtherConfig   map[string]string `ovsdb:"other_config"`
		Controllers   []string          `ovsdb:"controller"`
		Mirrors       []string          `ovsdb:"mirrors"`
		Protocols     []string          `ovsdb:"protocols"`
		McastSnooping bool              `ovsdb:"mcast_snooping_enable"`
		STP           bool              `ovsdb:"stp_enable"`
		RSTP          bool              `ovsdb:"rstp_enable"`
	}
	mirrorRow struct {
		UUID       string  `ovsdb:"_uuid"`
		Name       string  `ovsdb:"name"`
		OutputPort *string `ovsdb:"output_port"`
		OutputVLAN *int    `ovsdb:"output_vlan"`
	}
	flowTableRow struct {
		UUID      string   `ovsdb:"_uuid"`
		Name      *string  `ovsdb:"name"`
		Prefixes  []string `ovsdb:"prefixes"`
		FlowLimit *int     `ovsdb:"flow_limit"`
	}
	portRow struct {
		UUID       string   `ovsdb:"_uuid"`
		Name       string   `ovsdb:"name"`
		Interfaces []string `ovsdb:"interfaces"`
		Tag        *int     `ovsdb:"tag"`
		Trunks     []int    `ovsdb:"trunks"`
		VLANMode   *string  `ovsdb:"vlan_mode"`
	}
	interfaceRow struct {
		UUID        string            `ovsdb:"_uuid"`
		Name        string            `ovsdb:"name"`
		Type        string            `ovsdb:"type"`
		OFPort      *int              `ovsdb:"ofport"`
		Error       *string           `ovsdb:"error"`
		ExternalIDs map[string]string `ovsdb:"external_ids"`
	}
)

// tables are the models of the rows by table.
func tables() map[string]ovsdb.Model {
	return map[string]ovsdb.Model{
		rootTable:      &rootRow{},
		bridgeTable:    &bridgeRow{},
		flowTableTable: &flowTableRow{},
		portTable:      &portRow{},
		interfaceTable: &interfaceRow{},
		mirrorTable:    &mirrorRow{},
	}
}

// The rows make copies of themselves, because libovsdb would do it by way of
// JSON.

func (r *rootRow) CloneModel() ovsdb.Model {
	c := *r
	c.OVSVersion = pointer(r.OVSVersion)
	return &c
}

func (r *bridgeRow) CloneModel() ovsdb.Model {
	c := *r
	c.Ports, c.FailMode, c.FlowTables = slices.Clone(r.Ports), pointer(r.FailMode), maps.Clone(r.FlowTables)
	c.OtherConfig, c.Protocols = maps.Clone(r.OtherConfig), slices.Clone(r.Protocols)
	c.Controllers, c.Mirrors = slices.Clone(r.Controllers), slices.Clone(r.Mirrors)
	return &c
}

func (r *mirrorRow) CloneModel() ovsdb.Model {
	c := *r
	c.OutputPort, c.OutputVLAN = pointer(r.OutputPort), pointer(r.OutputVLAN)
	return &c
}

func (r *flowTableRow) CloneModel() ovsdb.Model {
	c := *r
	c.Name, c.Prefixes, c.FlowLimit = pointer(r.Name), slices.Clone(r.Prefixes), pointer(r.FlowLimit)
	return &c
}

func (r *portRow) CloneModel() ovsdb.Model {
	c := *r
	c.Interfaces, c.Trunks = slices.Clone(r.Interfaces), slices.Clone(r.Trunks)
	c.Tag, c.VLANMode = pointer(r.Tag), pointer(r.VLANMode)
	return &c
}

func (r *interfaceRow) CloneModel() ovsdb.Model {
	c := *r
	c.OFPort, c.Error, c.ExternalIDs = pointer(r.OFPort), pointer(r.Error), maps.Clone(r.ExternalIDs)
	return &c
}

func (r *rootRow) CloneModelInto(to ovsdb.Model)   { *to.(*rootRow) = *r.CloneModel().(*rootRow) }
func (r *bridgeRow) CloneModelInto(to ovsdb.Model) { *to.(*bridgeRow) = *r.CloneModel().(*bridgeRow) }
func (r *mirrorRow) CloneModelInto(to ovsdb.Model) { *to.(*mirrorRow) = *r.CloneModel().(*mirrorRow) }
func (r *flowTableRow) CloneModelInto(to ovsdb.Model) {
	*to.(*flowTableRow) = *r.CloneModel().(*flowTableRow)
}
func (r *portRow) CloneModelInto(to ovsdb.Model) { *to.(*portRow) = *r.CloneModel().(*portRow) }
func (r *interfaceRow) CloneModelInto(to ovsdb.Model) {
	*to.(*interfaceRow) = *r.CloneModel().(*interfaceRow)
}

// pointer returns a pointer to a copy of *p, or nil.
func pointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// value returns *p, or the zero value if p is nil.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
