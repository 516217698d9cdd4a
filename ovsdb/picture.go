package ovsdb

import (
	"iter"
	"maps"

	"github.com/ovn-kubernetes/libovsdb/cache"
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
func (c *Client) Picture() (p Picture, ok bool) {
	c.mu.Lock()
	s := c.current
	c.mu.Unlock()
	if s == nil {
		return nil, false
	}
	first := c.read(s.cache)
	for !s.over() {
		second := c.read(s.cache)
		if maps.EqualFunc(first, second, maps.Equal[map[string]Model, map[string]Model]) {
			return second, true
		}
		first = second
	}
	return nil, false
}

// read reads each table once.
func (c *Client) read(from *cache.TableCache) Picture {
	p := make(Picture, len(c.columns))
	for table := range c.columns {
		p[table] = from.Table(table).RowsShallow()
	}
	return p
}
