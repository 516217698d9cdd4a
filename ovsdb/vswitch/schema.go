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
	portTable      = "Port"
	interfaceTable = "Interface"
)

// The rows of the tables, with the columns that are used. A nil pointer is an
// optional value that is absent.
type (
	rootRow struct {
		UUID       string  `ovsdb:"_uuid"`
		CurCfg     int     `ovsdb:"cur_cfg"`
		NextCfg    int     `ovsdb:"next_cfg"`
		OVSVersion *string `ovsdb:"ovs_version"`
	}
	bridgeRow struct {
		UUID         string   `ovsdb:"_uuid"`
		Name         string   `ovsdb:"name"`
		Ports        []string `ovsdb:"ports"`
		FailMode     *string  `ovsdb:"fail_mode"`
		DatapathType string   `ovsdb:"datapath_type"`
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
		portTable:      &portRow{},
		interfaceTable: &interfaceRow{},
	}
}

// The rows make copies of themselves, because libovsdb would do it by way of
// JSON.

func (r *rootRow) CloneModel() ovsdb.Model      { return clone(r) }
func (r *bridgeRow) CloneModel() ovsdb.Model    { return clone(r) }
func (r *portRow) CloneModel() ovsdb.Model      { return clone(r) }
func (r *interfaceRow) CloneModel() ovsdb.Model { return clone(r) }

func (r *rootRow) CloneModelInto(into ovsdb.Model) {
	to := into.(*rootRow)
	*to = *r
	to.OVSVersion = pointer(r.OVSVersion)
}

func (r *bridgeRow) CloneModelInto(into ovsdb.Model) {
	to := into.(*bridgeRow)
	*to = *r
	to.Ports, to.FailMode = slices.Clone(r.Ports), pointer(r.FailMode)
}

func (r *portRow) CloneModelInto(into ovsdb.Model) {
	to := into.(*portRow)
	*to = *r
	to.Interfaces, to.Trunks = slices.Clone(r.Interfaces), slices.Clone(r.Trunks)
	to.Tag, to.VLANMode = pointer(r.Tag), pointer(r.VLANMode)
}

func (r *interfaceRow) CloneModelInto(into ovsdb.Model) {
	to := into.(*interfaceRow)
	*to = *r
	to.OFPort, to.Error, to.ExternalIDs = pointer(r.OFPort), pointer(r.Error), maps.Clone(r.ExternalIDs)
}

func clone[T any, P interface {
	*T
	CloneModelInto(ovsdb.Model)
}](r P) ovsdb.Model {
	to := P(new(T))
	r.CloneModelInto(to)
	return to
}

// pointer returns a pointer to a copy of *p, or nil.
func pointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// value returns *p, or the zero value if p is nil.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
