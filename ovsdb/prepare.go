package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
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
// is right already is not written; when all is, nothing is. The rows of other
// tables, and what else is set in a row (flow_limit, groups, ...), stay.
//
// All changes are one transaction, which fails and is tried again if somebody
// else changed the bridge meanwhile. It raises next_cfg as ovs-vsctl does, so
// that WaitApplied can tell when ovs-vswitchd has taken them over; Prepare
// itself does not wait. It waits for a session if there is none. The error
// wraps ErrNoBridge when there is no such bridge; when the session breaks
// meanwhile it is not known whether the changes were made: call it again.
func (c *Client) Prepare(ctx context.Context, tables []Table) error {
	if err := checkTables(tables); err != nil {
		return fmt.Errorf("prepare bridge %s: %w", c.config.Bridge, err)
	}
	for {
		s, err := c.session(ctx)
		if err == nil {
			err = s.prepare(ctx, c.config.Bridge, tables)
		}
		var refused *TransactError
		if errors.As(err, &refused) && refused.Kind == "timed out" {
			continue // the wait operation: the bridge has changed
		}
		if err != nil {
			return fmt.Errorf("prepare bridge %s: %w", c.config.Bridge, err)
		}
		return nil
	}
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

// prepare reads the present state from the server, not from the monitored
// rows: Flow_Table is not monitored, and nothing could be fresher.
func (s *session) prepare(ctx context.Context, bridge string, tables []Table) error {
	results, err := s.transact(ctx,
		ovsdb.Operation{
			Op: ovsdb.OperationSelect, Table: "Bridge",
			Columns: []string{"_uuid", "name", "fail_mode", "flow_tables"},
		},
		ovsdb.Operation{
			Op: ovsdb.OperationSelect, Table: "Flow_Table",
			Columns: []string{"_uuid", "name", "prefixes"},
		},
		ovsdb.Operation{
			Op: ovsdb.OperationSelect, Table: "Open_vSwitch", Columns: []string{"_uuid"},
		})
	if err != nil {
		return err
	}
	ops, err := prepareOps(results[0].Rows, results[1].Rows, bridge, tables)
	if err != nil || len(ops) == 0 {
		return err
	}
	for _, row := range results[2].Rows { // exactly one
		ops = append(ops, ovsdb.Operation{
			Op: ovsdb.OperationMutate, Table: "Open_vSwitch", Where: whereUUID(row["_uuid"]),
			Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("next_cfg", ovsdb.MutateOperationAdd, 1)},
		})
	}
	_, err = s.transact(ctx, ops...)
	return err
}

func whereUUID(uuid any) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, uuid)}
}

// flowTable is a Flow_Table row as it is.
type flowTable struct {
	name     string
	prefixes []string // sorted
	users    int      // how many entries of Bridge.flow_tables refer to it
}

// prepareOps compares and returns the operations that are needed, none if all
// is right.
func prepareOps(bridges, flowTables []ovsdb.Row, bridge string, tables []Table) ([]ovsdb.Operation, error) {
	have := map[string]*flowTable{}
	for _, row := range flowTables {
		in := &reader{row: row}
		uuid, t := in.uuid("_uuid"), &flowTable{name: in.text("name"), prefixes: in.texts("prefixes")}
		if in.err != nil {
			return nil, fmt.Errorf("read Flow_Table: %w", in.err)
		}
		slices.Sort(t.prefixes)
		have[uuid] = t
	}

	var ours ovsdb.Row
	var uuid, failMode string
	var byID map[int]string
	for _, row := range bridges {
		in := &reader{row: row}
		refs := in.references("flow_tables")
		for _, ref := range refs {
			if t := have[ref]; t != nil {
				t.users++
			}
		}
		if in.text("name") == bridge {
			ours, byID, uuid, failMode = row, refs, in.uuid("_uuid"), in.text("fail_mode")
		}
		if in.err != nil {
			return nil, fmt.Errorf("read Bridge: %w", in.err)
		}
	}
	if ours == nil {
		return nil, ErrNoBridge
	}
	here := whereUUID(ovsdb.UUID{GoUUID: uuid})

	var ops []ovsdb.Operation
	if failMode != "secure" {
		ops = append(ops, ovsdb.Operation{
			Op: ovsdb.OperationUpdate, Table: "Bridge", Where: here,
			Row: ovsdb.Row{"fail_mode": "secure"},
		})
	}
	added := map[any]any{}
	var replaced []any
	for _, t := range tables {
		prefixes := slices.Sorted(slices.Values(t.Prefixes))
		prefixes = slices.Compact(prefixes)
		row := ovsdb.Row{"name": t.Name, "prefixes": textSet(prefixes)}
		ref, referred := byID[int(t.ID)]
		old := have[ref]
		switch {
		case old != nil && old.name == t.Name && slices.Equal(old.prefixes, prefixes):
			continue
		case old != nil && old.users == 1:
			ops = append(ops, ovsdb.Operation{
				Op: ovsdb.OperationUpdate, Table: "Flow_Table", Where: whereUUID(ovsdb.UUID{GoUUID: ref}), Row: row,
			})
			continue
		}
		// No row, or one that is shared with another table or bridge. A row
		// that nothing refers to any more is collected by the server.
		if referred {
			replaced = append(replaced, int(t.ID))
		}
		name := fmt.Sprintf("table%d", t.ID)
		ops = append(ops, ovsdb.Operation{
			Op: ovsdb.OperationInsert, Table: "Flow_Table", UUIDName: name, Row: row,
		})
		added[int(t.ID)] = ovsdb.UUID{GoUUID: name}
	}
	var mutations []ovsdb.Mutation
	if len(replaced) > 0 {
		mutations = append(mutations, *ovsdb.NewMutation("flow_tables",
			ovsdb.MutateOperationDelete, ovsdb.OvsSet{GoSet: replaced}))
	}
	if len(added) > 0 {
		mutations = append(mutations, *ovsdb.NewMutation("flow_tables",
			ovsdb.MutateOperationInsert, ovsdb.OvsMap{GoMap: added}))
	}
	if len(mutations) > 0 {
		ops = append(ops, ovsdb.Operation{
			Op: ovsdb.OperationMutate, Table: "Bridge", Where: here, Mutations: mutations,
		})
	}
	if len(ops) == 0 {
		return nil, nil
	}

	now := 0
	unchanged := ovsdb.Operation{
		Op: ovsdb.OperationWait, Table: "Bridge", Timeout: &now, Where: here,
		Columns: []string{"fail_mode", "flow_tables"}, Until: "==",
		Rows: []ovsdb.Row{{"fail_mode": ours["fail_mode"], "flow_tables": ours["flow_tables"]}},
	}
	return append([]ovsdb.Operation{unchanged}, ops...), nil
}

func textSet(texts []string) ovsdb.OvsSet {
	set := ovsdb.OvsSet{GoSet: []any{}}
	for _, t := range texts {
		set.GoSet = append(set.GoSet, t)
	}
	return set
}
