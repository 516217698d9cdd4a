package vswitch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ovs-sg/ovs-sg/ovsdb"
)

// Table is what a Flow_Table row says about one OpenFlow table.
type Table struct {
	// ID is the table's number, 0 to 254.
	ID uint8
	// Name is shown by ovs-ofctl. It should be unique on the bridge.
	Name string
	// Prefixes are the fields whose prefixes the classifier tracks, at most
	// three, for example "ct_nw_dst" and "ct_ipv6_dst". Order does not count.
	// Empty leaves Open vSwitch its default.
	Prefixes []string
}

// maxPrefixes is the limit of column Flow_Table.prefixes.
const maxPrefixes = 3

// Prepare makes the bridge ready for flows: it sets fail_mode to secure and
// gives each of the tables a Flow_Table row with its name and prefixes. What
// is right already is not written; when everything is right, nothing is. The rows of other
// tables, and what else is set in a row (flow_limit, groups, ...), stay.
//
// All changes are one transaction, which fails and is tried again if somebody
// else changed the bridge meanwhile. It raises next_cfg as ovs-vsctl does, so
// that WaitApplied can tell when ovs-vswitchd has taken them over; Prepare
// itself does not wait. It waits for a connection if there is none. The error
// wraps ErrNoBridge when there is no such bridge; when the connection breaks
// meanwhile it is not known whether the changes were made: call it again.
func (c *Client) Prepare(ctx context.Context, tables []Table) error {
	if err := checkTables(tables); err != nil {
		return fmt.Errorf("prepare bridge %s: %w", c.config.Bridge, err)
	}
	for {
		err := c.prepare(ctx, tables)
		var refused *ovsdb.TransactError
		if errors.As(err, &refused) && refused.Kind == "timed out" {
			continue // the wait operation: the bridge has changed
		}
		if err != nil {
			return fmt.Errorf("prepare bridge %s: %w", c.config.Bridge, err)
		}
		return nil
	}
}

func (c *Client) prepare(ctx context.Context, tables []Table) error {
	have, err := c.readSetup(ctx)
	if err != nil {
		return err
	}
	todo := have.compare(tables)
	if !todo.secure && len(todo.update) == 0 && len(todo.insert) == 0 {
		return nil
	}
	_, err = c.db.Transact(ctx, have.transaction(todo)...)
	return err
}

func checkTables(tables []Table) error {
	seen := map[uint8]bool{}
	for _, t := range tables {
		switch {
		case t.ID > 254:
			return fmt.Errorf("table %d: the last one is 254", t.ID)
		case t.Name == "":
			return fmt.Errorf("table %d: name is empty", t.ID)
		case len(t.Prefixes) > maxPrefixes:
			return fmt.Errorf("table %d: %d prefixes, at most %d are possible", t.ID, len(t.Prefixes), maxPrefixes)
		case seen[t.ID]:
			return fmt.Errorf("table %d: given twice", t.ID)
		}
		seen[t.ID] = true
	}
	return nil
}

// setup is what Prepare is about, as it is in the database.
type setup struct {
	root     string    // UUID
	bridge   string    // UUID
	row      ovsdb.Row // the bridge's
	failMode string
	tables   map[int]flowTable // those that the bridge refers to, by number
}

// flowTable is a Flow_Table row.
type flowTable struct {
	uuid, name string
	prefixes   []string // sorted
	shared     bool     // more than one entry of Bridge.flow_tables refers to it
}

// readSetup reads from the server, not from the copied rows: Flow_Table is not
// copied, and nothing could be fresher.
func (c *Client) readSetup(ctx context.Context) (setup, error) {
	results, err := c.db.Transact(ctx,
		ovsdb.Operation{Op: "select", Table: bridgeTable, Columns: []string{"_uuid", "name", "fail_mode", "flow_tables"}},
		ovsdb.Operation{Op: "select", Table: "Flow_Table", Columns: []string{"_uuid", "name", "prefixes"}},
		ovsdb.Operation{Op: "select", Table: rootTable, Columns: []string{"_uuid"}})
	if err != nil {
		return setup{}, err
	}
	users := map[string]int{}
	have := setup{tables: map[int]flowTable{}}
	for _, row := range results[0].Rows {
		refs, _ := row["flow_tables"].(ovsdb.Map)
		for _, ref := range refs.GoMap {
			users[uuid(ref)]++
		}
		if row["name"] == c.config.Bridge {
			have.bridge, have.row = uuid(row["_uuid"]), row
			have.failMode, _ = row["fail_mode"].(string)
		}
	}
	if have.row == nil {
		return setup{}, ErrNoBridge
	}
	rows := map[string]flowTable{}
	for _, row := range results[1].Rows {
		id := uuid(row["_uuid"])
		t := flowTable{uuid: id, prefixes: texts(row["prefixes"]), shared: users[id] > 1}
		t.name, _ = row["name"].(string)
		slices.Sort(t.prefixes)
		rows[id] = t
	}
	refs, _ := have.row["flow_tables"].(ovsdb.Map)
	for id, ref := range refs.GoMap {
		if n, ok := id.(float64); ok {
			have.tables[int(n)] = rows[uuid(ref)]
		}
	}
	for _, row := range results[2].Rows { // exactly one
		have.root = uuid(row["_uuid"])
	}
	return have, nil
}

// uuid reads a reference in a row.
func uuid(v any) string {
	u, _ := v.(ovsdb.UUID)
	return u.GoUUID
}

// texts reads a set of strings in a row. One string stands for a set of one
// (RFC 7047, section 5.1).
func texts(v any) (out []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case ovsdb.Set:
		for _, e := range v.GoSet {
			if text, ok := e.(string); ok {
				out = append(out, text)
			}
		}
	}
	return out
}

// changes are what Prepare has to do.
type changes struct {
	secure bool        // set fail_mode
	update []rowUpdate // Flow_Table rows that are there
	insert []Table     // new Flow_Table rows
}

type rowUpdate struct {
	uuid string
	to   Table
}

// compare returns what is missing. A row that is shared with another table or
// bridge is not changed: the table gets one of its own.
func (s setup) compare(tables []Table) changes {
	todo := changes{secure: s.failMode != "secure"}
	for _, t := range tables {
		t.Prefixes = slices.Compact(slices.Sorted(slices.Values(t.Prefixes)))
		have := s.tables[int(t.ID)]
		switch {
		case have.uuid != "" && have.name == t.Name && slices.Equal(have.prefixes, t.Prefixes):
		case have.uuid != "" && !have.shared:
			todo.update = append(todo.update, rowUpdate{have.uuid, t})
		default:
			todo.insert = append(todo.insert, t)
		}
	}
	return todo
}

// transaction returns the operations that make the changes, provided that the
// bridge is still as it was read.
func (s setup) transaction(todo changes) []ovsdb.Operation {
	here, now := ovsdb.WhereUUID(s.bridge), 0
	ops := []ovsdb.Operation{{
		Op: "wait", Table: bridgeTable, Timeout: &now, Where: here,
		Columns: []string{"fail_mode", "flow_tables"}, Until: "==",
		Rows: []ovsdb.Row{{"fail_mode": s.row["fail_mode"], "flow_tables": s.row["flow_tables"]}},
	}}
	if todo.secure {
		ops = append(ops, ovsdb.Operation{Op: "update", Table: bridgeTable, Where: here, Row: ovsdb.Row{"fail_mode": "secure"}})
	}
	for _, u := range todo.update {
		ops = append(ops, ovsdb.Operation{Op: "update", Table: "Flow_Table", Where: ovsdb.WhereUUID(u.uuid), Row: u.to.row()})
	}
	numbers, refs := []any{}, map[any]any{}
	for _, t := range todo.insert {
		name := fmt.Sprintf("table%d", t.ID)
		ops = append(ops, ovsdb.Operation{Op: "insert", Table: "Flow_Table", UUIDName: name, Row: t.row()})
		numbers, refs[int(t.ID)] = append(numbers, int(t.ID)), ovsdb.UUID{GoUUID: name}
	}
	if len(refs) > 0 {
		// The server collects a row that nothing refers to any more.
		ops = append(ops, ovsdb.Operation{Op: "mutate", Table: bridgeTable, Where: here, Mutations: []ovsdb.Mutation{
			{Column: "flow_tables", Mutator: "delete", Value: ovsdb.Set{GoSet: numbers}},
			{Column: "flow_tables", Mutator: "insert", Value: ovsdb.Map{GoMap: refs}},
		}})
	}
	return append(ops, ovsdb.Operation{
		Op: "mutate", Table: rootTable, Where: ovsdb.WhereUUID(s.root),
		Mutations: []ovsdb.Mutation{{Column: "next_cfg", Mutator: "+=", Value: 1}},
	})
}

// row returns the columns that a Flow_Table row gets.
func (t Table) row() ovsdb.Row {
	prefixes := ovsdb.Set{GoSet: []any{}}
	for _, p := range t.Prefixes {
		prefixes.GoSet = append(prefixes.GoSet, p)
	}
	return ovsdb.Row{"name": t.Name, "prefixes": prefixes}
}
