package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	good := Config{Endpoint: "unix:/run/x", Database: "Pairs", Tables: map[string]Model{"Left": &left{}}}
	for name, spoil := range map[string]func(*Config){
		"no endpoint": func(c *Config) { c.Endpoint = "" },
		"no path":     func(c *Config) { c.Endpoint = "unix:" },
		"no network":  func(c *Config) { c.Endpoint = "/run/x" },
		"ssl":         func(c *Config) { c.Endpoint = "ssl:127.0.0.1:6640" },
		"no pointer":  func(c *Config) { c.Tables = map[string]Model{"Left": left{}} },
		"no UUID": func(c *Config) {
			c.Tables = map[string]Model{"Left": &struct {
				Name string `ovsdb:"name"`
			}{}}
		},
	} {
		config := good
		spoil(&config)
		if _, err := New(config); err == nil {
			t.Errorf("%s: New did not fail", name)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

// Libovsdb reads endpoints as URLs.
func TestEndpoints(t *testing.T) {
	s := startServer(t)
	dir := s.path("a b%41?#")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../sock", dir+"/s"); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, endpoint := range []string{"unix:s", "unix:" + dir + "/s", s.endpoint()} {
		until(t, run(t, Config{Endpoint: endpoint}), endpoint, func(Picture) bool { return true })
	}
}

// A picture shows whole transactions: each sets the rows of both tables to the
// same number, adds a row to one and removes one from the other. Pictures that
// are read from the copy and pictures that the server is asked for take turns,
// and none is older than the one before.
func TestPicturesAreNotTorn(t *testing.T) {
	s := startServer(t)
	c, writer := run(t, Config{Endpoint: s.endpoint()}), run(t, Config{Endpoint: s.endpoint()})
	_, err := writer.Transact(patiently(t),
		Operation{Op: "insert", Table: "Left", Row: Row{"name": "a"}},
		Operation{Op: "insert", Table: "Right", Row: Row{"name": "a", "number": 0}},
		Operation{Op: "insert", Table: "Left", Row: Row{"name": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	const last = 1000
	writing, stop := context.WithCancel(context.Background())
	written := make(chan struct{})
	defer func() { stop(); <-written }()
	go func() {
		defer close(written)
		tables := []string{"Left", "Right"}
		for i := 1; i <= last; i++ {
			all := []Condition{{Column: "number", Function: "!=", Value: i}}
			_, err := writer.Transact(writing,
				Operation{Op: "update", Table: tables[i%2], Where: all, Row: Row{"number": i}},
				Operation{Op: "update", Table: tables[1-i%2], Where: all, Row: Row{"number": i}},
				Operation{Op: "delete", Table: tables[1-i%2], Where: []Condition{{Column: "name", Function: "==", Value: "b"}}},
				Operation{Op: "insert", Table: tables[i%2], Row: Row{"name": "b", "number": i}},
			)
			if err != nil {
				if writing.Err() == nil {
					t.Error(err)
				}
				return
			}
		}
	}()
	pictures, shown := 0, 0
	check := func(p Picture) {
		pictures++
		numbers, rows := map[int]bool{}, 0
		for _, row := range All[left](p, "Left") {
			numbers[row.Number], rows = true, rows+1
		}
		for _, row := range All[right](p, "Right") {
			numbers[row.Number[0]], rows = true, rows+1
		}
		if rows == 0 {
			return
		}
		if len(numbers) != 1 || rows != 3 {
			t.Fatalf("%d rows with the numbers %v", rows, numbers)
		}
		for number := range numbers {
			if number < shown {
				t.Fatalf("number %d after %d", number, shown)
			}
			shown = number
		}
	}
	until(t, c, "the last number", func(p Picture) bool {
		check(p)
		if s, err := c.session(patiently(t)); err != nil {
			t.Fatal(err)
		} else if p, err = s.ask(); err != nil {
			t.Fatal(err)
		} else {
			check(p)
		}
		if p, ok := c.Picture(); ok {
			check(p)
		}
		return shown == last
	})
	t.Logf("%d pictures of %d transactions", pictures, last)
	<-written
}

// text writes the rows out, by UUID.
func text(p Picture) map[string]string {
	out := map[string]string{}
	for _, rows := range p {
		for uuid, row := range rows {
			out[uuid] = fmt.Sprintf("%+v", row)
		}
	}
	return out
}

// The server's rows are the same as those of the copy.
func TestAskedPictureIsTheCopy(t *testing.T) {
	c := run(t, Config{Endpoint: startServer(t).endpoint()})
	for i, numbers := range []Set{{GoSet: []any{}}, {GoSet: []any{1}}, {GoSet: []any{1, 2, 3}}} {
		insert(t, c, fmt.Sprint(i))
		if _, err := c.Transact(patiently(t), Operation{Op: "insert", Table: "Right", Row: Row{"number": numbers}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Sync(patiently(t)); err != nil {
		t.Fatal(err)
	}
	s, err := c.session(patiently(t))
	if err != nil {
		t.Fatal(err)
	}
	asked, err := s.ask()
	if err != nil {
		t.Fatal(err)
	}
	p, ok := c.Picture()
	if got, want := text(p), text(asked); !ok || len(want) != 6 || !maps.Equal(got, want) {
		t.Errorf("%v, %v; the server says %v", got, ok, want)
	}
}

// What one client has committed, another one shows after Sync.
func TestSync(t *testing.T) {
	s := startServer(t)
	c, writer := run(t, Config{Endpoint: s.endpoint()}), run(t, Config{Endpoint: s.endpoint()})
	for i := range 500 {
		name := fmt.Sprint(i)
		insert(t, writer, name)
		if err := c.Sync(patiently(t)); err != nil {
			t.Fatal(err)
		}
		if p, ok := c.Picture(); !ok || !names(p)[name] {
			t.Fatalf("row %s is missing", name)
		}
	}
}

// Sync waits for the connection and goes on when one breaks.
func TestSyncAcrossRestart(t *testing.T) {
	s := newServer(t)
	c := run(t, Config{Endpoint: s.endpoint()})
	short, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := c.Sync(short); !errors.Is(err, ErrNotConnected) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Sync without a server: %v", err)
	}
	if _, ok := c.Picture(); ok {
		t.Error("a picture without a server")
	}
	synced := make(chan error, 1)
	for range 3 {
		go func() { synced <- c.Sync(patiently(t)) }()
		s.start()
		if err := <-synced; err != nil {
			t.Fatal(err)
		}
		s.stop()
	}
}

// A server that hangs is left after five times the interval, and calls on it end.
func TestServerHangs(t *testing.T) {
	s := startServer(t)
	c := run(t, Config{Endpoint: s.endpoint(), probeInterval: 500 * time.Millisecond})
	for i, lost := range []string{"a", strings.Repeat("more than the socket holds", 200000), "b"} {
		insert(t, c, fmt.Sprint(i))
		connection, err := c.session(patiently(t))
		if err != nil {
			t.Fatal(err)
		}
		s.hang(true)
		called := make(chan error, 1)
		go func() {
			_, err := connection.transact(patiently(t), Operation{Op: "insert", Table: "Left", Row: Row{"name": lost}})
			called <- err
		}()
		untilStatus(t, c, func(s Status) bool { return !s.Connected })
		if err := c.Status().LastError; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("last error: %v", err)
		}
		if err := <-called; err == nil {
			t.Error("a transaction on a server that hangs has succeeded")
		}
		s.hang(false)
		if err := c.Sync(patiently(t)); err != nil {
			t.Fatal(err)
		}
		if p, ok := c.Picture(); !ok || !names(p)[fmt.Sprint(i)] {
			t.Errorf("after the server went on: %v, %v", p, ok)
		}
	}
}

// The rows of a database that was replaced are not mixed with the new ones.
func TestDatabaseRecreated(t *testing.T) {
	s := startServer(t)
	c := run(t, Config{Endpoint: s.endpoint()})
	insert(t, c, "old")
	until(t, c, "old", func(p Picture) bool { return names(p)["old"] })
	s.stop()
	s.create()
	s.start()
	insert(t, c, "new")
	until(t, c, "new alone", func(p Picture) bool { return names(p)["new"] && !names(p)["old"] })
}

func TestTransactRefused(t *testing.T) {
	s := startServer(t)
	c := run(t, Config{Endpoint: s.endpoint()})
	insert(t, c, "a")
	before := c.Status()
	_, err := c.Transact(patiently(t),
		Operation{Op: "insert", Table: "Left", Row: Row{"name": "b"}},
		Operation{Op: "insert", Table: "Left", Row: Row{"name": 7}})
	var refused *TransactError
	if !errors.As(err, &refused) || refused.Operation != 1 || refused.Kind == "" || !strings.Contains(err.Error(), refused.Kind) {
		t.Errorf("got %v", err)
	}
	if err := c.Sync(patiently(t)); err != nil {
		t.Fatal(err)
	}
	if p, _ := c.Picture(); names(p)["b"] || c.Status() != before {
		t.Errorf("%v, %+v", names(p), c.Status())
	}
}

// A schema without a table or column that a Model names will not do.
func TestSchemaLacks(t *testing.T) {
	s := startServer(t)
	type wrong struct {
		UUID string `ovsdb:"_uuid"`
		Lack string `ovsdb:"lacking"`
	}
	for what, tables := range map[string]map[string]Model{
		"lacking": {"Left": &wrong{}},
		"Nowhere": {"Nowhere": &left{}},
	} {
		c, err := New(Config{Endpoint: s.endpoint(), Database: "Pairs", Tables: tables})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() { _ = c.Run(ctx, func() {}) }()
		untilStatus(t, c, func(s Status) bool { return s.LastError != nil })
		if err := c.Status().LastError; !strings.Contains(err.Error(), what) {
			t.Errorf("without %s: %v", what, err)
		}
		cancel()
	}
}
