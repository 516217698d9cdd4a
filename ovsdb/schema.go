package ovsdb

import (
	"fmt"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// database is the name of the database that ovs-vswitchd is configured by.
const database = "Open_vSwitch"

// Keys of Interface.external_ids. All but the role are those of Open
// vSwitch's integration guide.
const (
	keyIfaceID     = "iface-id"
	keyIfaceStatus = "iface-status"
	keyAttachedMAC = "attached-mac"
	keyVMID        = "vm-id"
	keyRole        = "ovs-sg-role"
)

// column is one column that the client reads.
type column struct {
	name     string
	optional bool // absent from older schemas: read as empty
}

// columns lists what is monitored, by table. Everything is listed because a
// monitor without columns sends all of them, with the statistics that change
// every five seconds.
var columns = map[string][]column{
	"Open_vSwitch": {
		{name: "bridges"}, {name: "cur_cfg"}, {name: "next_cfg"},
		{name: "ovs_version"}, {name: "datapaths", optional: true},
	},
	"Bridge": {
		{name: "name"}, {name: "ports"}, {name: "controller"},
		{name: "fail_mode"}, {name: "datapath_type"}, {name: "datapath_id"},
	},
	"Port": {
		{name: "name"}, {name: "interfaces"}, {name: "tag"},
		{name: "trunks"}, {name: "vlan_mode"},
	},
	"Interface": {
		{name: "name"}, {name: "type"}, {name: "ofport"}, {name: "error"},
		{name: "mac_in_use"}, {name: "external_ids"},
	},
	"Datapath": {
		{name: "capabilities", optional: true},
		{name: "datapath_version", optional: true},
	},
}

// monitorRequests are the columns above as far as the server's schema has
// them. A missing table or column that is not optional is an error: the
// server is not one that can be enforced on.
func monitorRequests(schema ovsdb.DatabaseSchema) (map[string]ovsdb.MonitorRequest, error) {
	requests := make(map[string]ovsdb.MonitorRequest, len(columns))
	for table, want := range columns {
		var names []string
		have := schema.Table(table)
		for _, c := range want {
			if have != nil && have.Columns[c.name] != nil {
				names = append(names, c.name)
			} else if !c.optional {
				return nil, fmt.Errorf("read schema: database %s version %s has no column %s.%s",
					schema.Name, schema.Version, table, c.name)
			}
		}
		if len(names) > 0 {
			requests[table] = ovsdb.MonitorRequest{
				Columns: names,
				Select:  ovsdb.NewDefaultMonitorSelect(),
			}
		}
	}
	return requests, nil
}

// The rows as they are kept. Absent optional values are zero, except where a
// pointer tells them apart.
type (
	rootRow struct {
		curCfg, nextCfg int
		version         string
		datapaths       map[string]string // datapath type to Datapath row
	}
	bridgeRow struct {
		name, failMode, datapathType, datapathID string
		ports, controllers                       []string
	}
	portRow struct {
		name, vlanMode string
		interfaces     []string
		tag            *int
		trunks         []int
	}
	interfaceRow struct {
		name, typ, err, mac string
		ofport              int
		externalIDs         map[string]string
	}
	datapathRow struct {
		version      string
		capabilities map[string]string
	}
)

// rows is the store: all monitored rows by UUID.
type rows struct {
	root       map[string]rootRow
	bridges    map[string]bridgeRow
	ports      map[string]portRow
	interfaces map[string]interfaceRow
	datapaths  map[string]datapathRow
}

func newRows() *rows {
	return &rows{
		root:       map[string]rootRow{},
		bridges:    map[string]bridgeRow{},
		ports:      map[string]portRow{},
		interfaces: map[string]interfaceRow{},
		datapaths:  map[string]datapathRow{},
	}
}

// apply takes over one update notification or the reply to the monitor
// request. In both "new" is the whole row (RFC 7047, 4.1.6), so that there
// is nothing to merge.
func (r *rows) apply(updates ovsdb.TableUpdates) error {
	for table, update := range updates {
		for uuid, change := range update {
			if change == nil {
				return fmt.Errorf("update of %s row %s: no contents", table, uuid)
			}
			var err error
			switch table {
			case "Open_vSwitch":
				err = applyRow(r.root, uuid, change, readRoot)
			case "Bridge":
				err = applyRow(r.bridges, uuid, change, readBridge)
			case "Port":
				err = applyRow(r.ports, uuid, change, readPort)
			case "Interface":
				err = applyRow(r.interfaces, uuid, change, readInterface)
			case "Datapath":
				err = applyRow(r.datapaths, uuid, change, readDatapath)
			default:
				err = fmt.Errorf("table was not asked for")
			}
			if err != nil {
				return fmt.Errorf("update of %s row %s: %w", table, uuid, err)
			}
		}
	}
	return nil
}

func applyRow[T any](m map[string]T, uuid string, change *ovsdb.RowUpdate, read func(*reader) T) error {
	if change.New == nil {
		delete(m, uuid)
		return nil
	}
	in := &reader{row: *change.New}
	row := read(in)
	if in.err != nil {
		return in.err
	}
	m[uuid] = row
	return nil
}

func readRoot(in *reader) rootRow {
	return rootRow{
		curCfg:    in.integer("cur_cfg"),
		nextCfg:   in.integer("next_cfg"),
		version:   in.text("ovs_version"),
		datapaths: in.dict("datapaths"),
	}
}

func readBridge(in *reader) bridgeRow {
	return bridgeRow{
		name:         in.text("name"),
		failMode:     in.text("fail_mode"),
		datapathType: in.text("datapath_type"),
		datapathID:   in.text("datapath_id"),
		ports:        in.uuids("ports"),
		controllers:  in.uuids("controller"),
	}
}

func readPort(in *reader) portRow {
	row := portRow{
		name:       in.text("name"),
		vlanMode:   in.text("vlan_mode"),
		interfaces: in.uuids("interfaces"),
		trunks:     in.integers("trunks"),
	}
	if tag := in.integers("tag"); len(tag) > 0 {
		row.tag = &tag[0]
	}
	for _, vlan := range slices.Concat(row.trunks, in.integers("tag")) {
		if vlan < 0 || vlan > 4095 {
			in.fail("tag", vlan)
		}
	}
	slices.Sort(row.trunks)
	return row
}

func readInterface(in *reader) interfaceRow {
	return interfaceRow{
		name:        in.text("name"),
		typ:         in.text("type"),
		err:         in.text("error"),
		mac:         in.text("mac_in_use"),
		ofport:      in.integer("ofport"),
		externalIDs: in.dict("external_ids"),
	}
}

func readDatapath(in *reader) datapathRow {
	return datapathRow{
		version:      in.text("datapath_version"),
		capabilities: in.dict("capabilities"),
	}
}

// reader reads the columns of one row. It keeps the first error.
type reader struct {
	row ovsdb.Row
	err error
}

func (in *reader) fail(column string, value any) {
	if in.err == nil {
		in.err = fmt.Errorf("column %s: unexpected value %v", column, value)
	}
}

// atoms are the elements of a set. One atom stands for a set of one (RFC
// 7047, 5.1), an absent column for the empty set.
func (in *reader) atoms(column string) []any {
	switch v := in.row[column].(type) {
	case nil:
		return nil
	case ovsdb.OvsSet:
		return v.GoSet
	default:
		return []any{v}
	}
}

func list[T, E any](in *reader, column string, convert func(T) (E, bool)) []E {
	atoms := in.atoms(column)
	if len(atoms) == 0 {
		return nil
	}
	out := make([]E, 0, len(atoms))
	for _, atom := range atoms {
		v, ok := atom.(T)
		if ok {
			var e E
			if e, ok = convert(v); ok {
				out = append(out, e)
				continue
			}
		}
		in.fail(column, atom)
		return nil
	}
	return out
}

func (in *reader) texts(column string) []string {
	return list(in, column, func(s string) (string, bool) { return s, true })
}

// integers reads JSON numbers, which are exact up to 2^53: enough for every
// column that is read.
func (in *reader) integers(column string) []int {
	return list(in, column, func(f float64) (int, bool) {
		return int(f), f == float64(int(f)) && f < 1<<53 && f > -1<<53
	})
}

func (in *reader) uuids(column string) []string {
	return list(in, column, func(u ovsdb.UUID) (string, bool) { return u.GoUUID, u.GoUUID != "" })
}

// uuid reads a reference, or the row's own _uuid.
func (in *reader) uuid(column string) string {
	if v := in.uuids(column); len(v) > 0 {
		return v[0]
	}
	return ""
}

// text reads a string or an optional string.
func (in *reader) text(column string) string {
	if v := in.texts(column); len(v) > 0 {
		return v[0]
	}
	return ""
}

// integer reads an integer or an optional integer.
func (in *reader) integer(column string) int {
	if v := in.integers(column); len(v) > 0 {
		return v[0]
	}
	return 0
}

// dict reads a map from strings to strings or UUIDs. Empty is nil.
func (in *reader) dict(column string) map[string]string {
	v, ok := in.row[column]
	if !ok {
		return nil
	}
	m, ok := v.(ovsdb.OvsMap)
	if !ok {
		in.fail(column, v)
		return nil
	}
	if len(m.GoMap) == 0 {
		return nil
	}
	out := make(map[string]string, len(m.GoMap))
	for k, v := range m.GoMap {
		key, ok := k.(string)
		switch value := v.(type) {
		case string:
			out[key] = value
		case ovsdb.UUID:
			out[key] = value.GoUUID
		default:
			ok = false
		}
		if !ok {
			in.fail(column, k)
			return nil
		}
	}
	return out
}

// references reads a map from integers to UUIDs.
func (in *reader) references(column string) map[int]string {
	m, ok := in.row[column].(ovsdb.OvsMap)
	if !ok {
		in.fail(column, in.row[column])
		return nil
	}
	out := make(map[int]string, len(m.GoMap))
	for k, v := range m.GoMap {
		key, ok1 := k.(float64)
		ref, ok2 := v.(ovsdb.UUID)
		if !ok1 || !ok2 {
			in.fail(column, k)
			return nil
		}
		out[int(key)] = ref.GoUUID
	}
	return out
}
