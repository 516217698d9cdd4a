package vswitch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-sg/ovs-sg/ovsdb"
)

// Table is what a Flow_Table row says about one OpenFlow table.
type Table struct {
	// ID is the table's number, 0 to 254.
	ID uint8
	// Name is shown by ovs-ofctl. It should be unique on the bridge.
	Name string
	// Prefixes are the fields whose prefixes the classifier tracks, three on
	// most versions at the most, for example "ct_nw_dst" and "ct_ipv6_dst". Order does not count.
	// Empty leaves Open vSwitch its default.
	Prefixes []string
}

// Prepared is what Prepare found and did.
type Prepared struct {
	// UUID is the bridge's.
	UUID string
	// Missing says, in a phrase each, what was missing and is there now.
	Missing []string
}

// Prepare makes the bridge ready for flows: it sets fail_mode to secure and
// other_config:disable-in-band to true, so that Open vSwitch adds no flows of its
// own, adds the versions of OpenFlow that are needed to protocols, unless that is
// empty, and gives each of the configured tables a Flow_Table row with its name and
// prefixes and without a flow_limit, by which the switch would refuse or remove
// flows. What is right already is not written; when everything is right, nothing
// is. The rows of other tables, and what else is set in a row (groups, ...), stay.
//
// All changes are one transaction, which fails and is tried again if somebody
// else changed the bridge meanwhile. It raises next_cfg as ovs-vsctl does, and
// Prepare then waits until ovs-vswitchd has applied the changes, because a change
// of fail_mode flushes all flows; if it cannot, the next call waits for that, too.
// Prepare waits for a connection if there is none.
// The error wraps ErrNoBridge when there is no such bridge; when the connection
// breaks meanwhile it is not known whether the changes were made: call it again.
func (c *Client) Prepare(ctx context.Context) (Prepared, error) {
	for {
		done, err := c.prepare(ctx)
		if refused, ok := errors.AsType[*ovsdb.TransactError](err); ok && refused.Kind == "timed out" {
			continue // the wait operation has failed: the bridge has changed
		}
		if err == nil && c.owed.Load() {
			if err = c.WaitApplied(ctx); err == nil {
				c.owed.Store(false)
			}
		}
		if err != nil {
			return Prepared{}, fmt.Errorf("prepare bridge %s: %w", c.config.Bridge, err)
		}
		return done, nil
	}
}

func (c *Client) prepare(ctx context.Context) (Prepared, error) {
	for {
		if err := c.db.Sync(ctx); err != nil {
			return Prepared{}, err
		}
		p, ok := c.db.Picture()
		if !ok {
			continue // Sync waits for the next connection
		}
		for _, b := range ovsdb.All[bridgeRow](p, bridgeTable) {
			if b.Name != c.config.Bridge {
				continue
			}
			ops, missing := changes(p, b, c.config.Tables)
			if len(ops) == 0 {
				return Prepared{UUID: b.UUID}, nil
			}
			c.owed.Store(true)
			_, err := c.db.Transact(ctx, ops...)
			return Prepared{UUID: b.UUID, Missing: missing}, err
		}
		return Prepared{}, ErrNoBridge
	}
}

// checkTables refuses tables that the server would not refuse.
func checkTables(tables []Table) error {
	for i, t := range tables {
		if t.Name == "" {
			return fmt.Errorf("table %d: name is empty", t.ID)
		}
		if slices.ContainsFunc(tables[:i], func(u Table) bool { return u.ID == t.ID }) {
			return fmt.Errorf("table %d: given twice", t.ID)
		}
	}
	return nil
}

// disableInBand is the key of Bridge.other_config that keeps Open vSwitch from
// adding flows for its controllers and managers above all others, by which any
// port reaches those addresses.
const disableInBand = "disable-in-band"

// changes returns the transaction that makes what is missing, provided that
// the bridge is still as it is in p, and says what is missing; no operation if
// nothing is. A Flow_Table row that is shared with another table or bridge is not
// changed: the table gets one of its own.
func changes(p ovsdb.Picture, b *bridgeRow, tables []Table) (ops []ovsdb.Operation, missing []string) {
	here, now := ovsdb.WhereUUID(b.UUID), 0
	was := ovsdb.Row{"fail_mode": ovsdb.Set{GoSet: []any{}}, "flow_tables": ovsdb.Map{GoMap: map[any]any{}}}
	if b.FailMode != nil {
		was["fail_mode"] = *b.FailMode
	}
	for id, ref := range b.FlowTables {
		was["flow_tables"].(ovsdb.Map).GoMap[id] = ovsdb.UUID{GoUUID: ref}
	}
	ops = []ovsdb.Operation{{
		Op: "wait", Table: bridgeTable, Timeout: &now, Where: here, Until: "==",
		Columns: []string{"fail_mode", "flow_tables"}, Rows: []ovsdb.Row{was},
	}}
	if mode := value(b.FailMode); mode != "secure" {
		missing = append(missing, fmt.Sprintf("fail_mode is %q, not \"secure\"", mode))
		ops = append(ops, ovsdb.Operation{Op: "update", Table: bridgeTable, Where: here, Row: ovsdb.Row{"fail_mode": "secure"}})
	}
	if have := b.OtherConfig[disableInBand]; have != "true" {
		missing = append(missing, fmt.Sprintf("other_config:%s is %q, not \"true\"", disableInBand, have))
		ops = append(ops, ovsdb.Operation{Op: "mutate", Table: bridgeTable, Where: here, Mutations: []ovsdb.Mutation{
			{Column: "other_config", Mutator: "delete", Value: ovsdb.Set{GoSet: []any{disableInBand}}},
			{Column: "other_config", Mutator: "insert", Value: ovsdb.Map{GoMap: map[any]any{disableInBand: "true"}}},
		}})
	}
	if len(b.Protocols) > 0 { // empty: Open vSwitch allows all that are needed
		lacks := ovsdb.Set{}
		for _, p := range []string{"OpenFlow10", "OpenFlow14"} {
			if !slices.Contains(b.Protocols, p) {
				missing = append(missing, "protocols has no "+p)
				lacks.GoSet = append(lacks.GoSet, p)
			}
		}
		if len(lacks.GoSet) > 0 {
			ops = append(ops, ovsdb.Operation{Op: "mutate", Table: bridgeTable, Where: here, Mutations: []ovsdb.Mutation{
				{Column: "protocols", Mutator: "insert", Value: lacks},
			}})
		}
	}
	users := map[string]int{} // by UUID of a Flow_Table row
	for _, b := range ovsdb.All[bridgeRow](p, bridgeTable) {
		for _, ref := range b.FlowTables {
			users[ref]++
		}
	}
	numbers, refs := []any{}, map[any]any{}
	var wrong []string
	for _, t := range tables {
		ref := b.FlowTables[int(t.ID)]
		have := ovsdb.Get[flowTableRow](p, flowTableTable, ref)
		if have != nil && value(have.Name) == t.Name && slices.Equal(sorted(have.Prefixes), sorted(t.Prefixes)) && have.FlowLimit == nil {
			continue
		}
		wrong = append(wrong, t.Name)
		if have != nil && users[ref] == 1 {
			ops = append(ops, ovsdb.Operation{Op: "update", Table: flowTableTable, Where: ovsdb.WhereUUID(ref), Row: t.row()})
			continue
		}
		name := fmt.Sprintf("table%d", t.ID)
		ops = append(ops, ovsdb.Operation{Op: "insert", Table: flowTableTable, UUIDName: name, Row: t.row()})
		numbers, refs[int(t.ID)] = append(numbers, int(t.ID)), ovsdb.UUID{GoUUID: name}
	}
	if len(wrong) > 0 {
		missing = append(missing, "names, prefixes or flow limits (Flow_Table) of the tables "+strings.Join(wrong, " "))
	}
	if len(refs) > 0 {
		// The server collects a row that nothing refers to any more.
		ops = append(ops, ovsdb.Operation{Op: "mutate", Table: bridgeTable, Where: here, Mutations: []ovsdb.Mutation{
			{Column: "flow_tables", Mutator: "delete", Value: ovsdb.Set{GoSet: numbers}},
			{Column: "flow_tables", Mutator: "insert", Value: ovsdb.Map{GoMap: refs}},
		}})
	}
	if len(missing) == 0 {
		return nil, nil
	}
	for root := range p[rootTable] { // exactly one
		ops = append(ops, ovsdb.Operation{
			Op: "mutate", Table: rootTable, Where: ovsdb.WhereUUID(root),
			Mutations: []ovsdb.Mutation{{Column: "next_cfg", Mutator: "+=", Value: 1}},
		})
	}
	return ops, missing
}

// row returns the columns that a Flow_Table row gets.
func (t Table) row() ovsdb.Row {
	prefixes := ovsdb.Set{GoSet: []any{}}
	for _, p := range sorted(t.Prefixes) {
		prefixes.GoSet = append(prefixes.GoSet, p)
	}
	return ovsdb.Row{"name": t.Name, "prefixes": prefixes, "flow_limit": ovsdb.Set{GoSet: []any{}}}
}

// sorted returns the set of the given texts in order.
func sorted(texts []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(texts)))
}
