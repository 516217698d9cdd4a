package ovsdb

import (
	"iter"
	"maps"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// Picture is the copy of all tables as they were between two transactions: by
// table, the rows by UUID. The rows are shared and must not be changed.
type Picture map[string]map[string]Model

// All returns the rows of a table by UUID, in no order. T is the struct that
// Config.Tables has for the table.
func All[T any](p Picture, table string) iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		for uuid, row := range p[table] {
			if !yield(uuid, row.(*T)) {
				return
			}
		}
	}
}

// Get returns the row of a table that has a UUID, or nil if there is none. T
// is the struct that Config.Tables has for the table.
func Get[T any](p Picture, table, uuid string) *T {
	row, _ := p[table][uuid].(*T)
	return row
}

// maxReadings is how often Picture reads the copy before it asks the server.
const maxReadings = 100

// Picture returns the newest picture. ok is false when there is no connection;
// then the copy of before is gone.
//
// The picture is made by reading all tables twice until both readings are the
// same. Libovsdb's TableCache holds a lock for the whole of an update, Table
// waits for that lock, and each change of a row puts a new struct in its
// place. So if the second reading finds the same structs, none of them changed
// between the two readings, and the second one began between two updates. Only
// a row that was added and removed again between the readings of its table
// escapes; the picture is without it.
//
// Updates that follow each other faster than the tables can be read would keep
// Picture at it for as long as they come. One to three readings of some 2 ms
// are what a busy server with 5,000 ports needs. After maxReadings Picture has
// the server read the tables in one transaction, which takes 1 to 2 s there.
func (c *Client) Picture() (p Picture, ok bool) {
	c.mu.Lock()
	s := c.current
	c.mu.Unlock()
	if s == nil {
		return nil, false
	}
	before := s.read()
	for range maxReadings {
		p := s.read()
		if s.ctx.Err() != nil {
			return nil, false
		}
		if maps.EqualFunc(before, p, maps.Equal[map[string]Model, map[string]Model]) {
			return p, true
		}
		before = p
	}
	p, err := s.ask()
	if err != nil {
		s.end(err)
	}
	return p, err == nil
}

// read reads each table of the copy once.
func (s *session) read() Picture {
	p := make(Picture, len(s.columns))
	for table := range s.columns {
		p[table] = s.cache.Table(table).RowsShallow()
	}
	return p
}

// ask has the server read all tables. The picture is not newer than the copy
// then is: the updates before come in front of the reply.
func (s *session) ask() (Picture, error) {
	tables := slices.Sorted(maps.Keys(s.columns))
	ops := make([]Operation, len(tables))
	for i, table := range tables {
		ops[i] = Operation{Op: "select", Table: table, Columns: append([]string{"_uuid"}, s.columns[table]...)}
	}
	results, err := s.transact(s.ctx, ops...)
	if err != nil {
		return nil, err
	}
	p := Picture{}
	for i, table := range tables {
		p[table] = make(map[string]Model, len(results[i].Rows))
		for _, row := range results[i].Rows {
			id, _ := row["_uuid"].(UUID)
			if p[table][id.GoUUID], err = model.CreateModel(s.cache.DatabaseModel(), table, &row, id.GoUUID); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}
