package vswitch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/ovsdb"
)

// logSize is how long the database file is. Every transaction that changes
// something that is kept makes it longer.
func (o *testOVS) logSize() int64 {
	o.t.Helper()
	info, err := os.Stat(o.path("conf.db"))
	if err != nil {
		o.t.Fatal(err)
	}
	return info.Size()
}

// startWriter runs a second client, whose transactions the follower sees.
func startWriter(t *testing.T, o *testOVS) *ovsdb.Client {
	t.Helper()
	writer, err := ovsdb.New(ovsdb.Config{Endpoint: o.endpoint(), Database: database, Tables: map[string]ovsdb.Model{rootTable: &rootRow{}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		_ = writer.Run(ctx, func() {})
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return writer
}

// take receives the snapshots that wait.
func (f *follower) take() {
	for {
		select {
		case f.last = <-f.Snapshots():
		default:
			return
		}
	}
}

// What one client has committed, the next Sync of another one shows: 200
// times through a second session and 20 times through ovs-vsctl.
func TestSyncShowsWhatWasCommitted(t *testing.T) {
	o := startOVS(t)
	addBridge(o)
	o.vsctl(addPort(bridge, "p1", "external_ids:iface-id=vm")...)
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge})
	if _, err := f.Sync(patiently(t)); err != nil {
		t.Fatal(err)
	}
	check := func(want string) {
		t.Helper()
		seq, err := f.Sync(patiently(t))
		if err != nil {
			t.Fatal(err)
		}
		f.take()
		if f.last.Seq < seq {
			t.Fatalf("Sync says %d, the newest snapshot delivered is %d", seq, f.last.Seq)
		}
		if got := f.last.port("p1").VMID; got != want {
			t.Fatalf("after %s was committed, snapshot %d shows %q", want, f.last.Seq, got)
		}
	}

	writer := startWriter(t, o)
	for i := range 200 {
		id := fmt.Sprintf("writer-%d", i)
		_, err := writer.Transact(patiently(t), ovsdb.Operation{
			Op: "update", Table: "Interface",
			Where: []ovsdb.Condition{{Column: "name", Function: "==", Value: "p1"}},
			Row:   ovsdb.Row{"external_ids": ovsdb.Map{GoMap: map[any]any{keyVMID: id}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		check(id)
	}
	for i := range 20 {
		id := fmt.Sprintf("vsctl-%d", i)
		o.vsctl("--no-wait", "set", "Interface", "p1", "external_ids:vm-id="+id)
		check(id)
	}
}

// A snapshot shows whole transactions: each sets a port's tag and its
// interface's identifier to the same number.
func TestSnapshotsAreNotTorn(t *testing.T) {
	o := startOVS(t)
	addBridge(o)
	o.vsctl(addPort(bridge, "p1", "external_ids:iface-id=1", "--", "set", "Port", "p1", "tag=1")...)
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge})
	writer := startWriter(t, o)
	written := make(chan struct{})
	p1 := []ovsdb.Condition{{Column: "name", Function: "==", Value: "p1"}}
	const last = 2000
	writing, stop := context.WithCancel(context.Background())
	defer func() {
		stop()
		<-written
	}()
	go func() {
		defer close(written)
		for i := 2; i <= last; i++ {
			_, err := writer.Transact(writing,
				ovsdb.Operation{
					Op: "update", Table: "Interface", Where: p1,
					Row: ovsdb.Row{"external_ids": ovsdb.Map{GoMap: map[any]any{keyIfaceID: fmt.Sprint(i)}}},
				},
				ovsdb.Operation{
					Op: "update", Table: "Port", Where: p1,
					Row: ovsdb.Row{"tag": i},
				})
			if err != nil {
				if writing.Err() == nil {
					t.Error(err)
				}
				return
			}
		}
	}()
	f.until("the last number", func(s Snapshot) bool {
		p := s.port("p1")
		if p.Name != "" && p.IfaceID != fmt.Sprint(p.Tag) {
			t.Fatalf("snapshot %d: iface-id %s with tag %d", s.Seq, p.IfaceID, p.Tag)
		}
		return p.Tag == last
	})
	// The follower may hear of the last transaction before its writer does.
	<-written
}

// Sync waits for the session and goes on when one breaks.
func TestSyncAcrossRestart(t *testing.T) {
	o := newOVS(t)
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge})
	short, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := f.Sync(short); !errors.Is(err, ovsdb.ErrNotConnected) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Sync without a server: %v", err)
	}
	synced := make(chan error, 1)
	sync := func() { _, err := f.Sync(patiently(t)); synced <- err }
	for range 3 {
		go sync()
		o.startDB()
		if err := <-synced; err != nil {
			t.Fatal(err)
		}
		o.stop(&o.db)
	}
}

// Updates that never cease, of a bridge with 5,000 ports, do not hold the
// snapshots up. Each update sets a port's tag and its interface's identifier
// to the same number.
func TestStorm(t *testing.T) {
	const n = 5000
	o := newOVS(t)
	o.startDB()
	o.vsctl("--no-wait", "init", "--", "add-br", bridge)
	writer := startWriter(t, o)
	set := func(table string, port, number int) ovsdb.Operation {
		row := ovsdb.Row{"tag": number}
		if table == interfaceTable {
			row = ovsdb.Row{"external_ids": ovsdb.Map{GoMap: map[any]any{keyIfaceID: fmt.Sprint(number)}}}
		}
		where := []ovsdb.Condition{{Column: "name", Function: "==", Value: fmt.Sprintf("p%d", port)}}
		return ovsdb.Operation{Op: "update", Table: table, Where: where, Row: row}
	}
	var ops []ovsdb.Operation
	var ports []any
	for i := range n {
		name := fmt.Sprintf("p%d", i)
		iface, port := set(interfaceTable, i, 1), set(portTable, i, 1)
		iface.Op, iface.Where, iface.UUIDName, iface.Row["name"] = "insert", nil, "i"+name, name
		port.Op, port.Where, port.UUIDName, port.Row["name"] = "insert", nil, name, name
		port.Row["interfaces"] = ovsdb.UUID{GoUUID: "i" + name}
		ops, ports = append(ops, iface, port), append(ports, ovsdb.UUID{GoUUID: name})
	}
	ops = append(ops, ovsdb.Operation{
		Op: "mutate", Table: bridgeTable, Where: []ovsdb.Condition{{Column: "name", Function: "==", Value: bridge}},
		Mutations: []ovsdb.Mutation{{Column: "ports", Mutator: "insert", Value: ovsdb.Set{GoSet: ports}}},
	})
	if _, err := writer.Transact(patiently(t), ops...); err != nil {
		t.Fatal(err)
	}

	writing, stop := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	for w := range 8 { // enough that the server is never idle
		writers.Go(func() {
			for i := w; writing.Err() == nil; i += 8 {
				number := i % 4096
				if _, err := writer.Transact(writing, set(interfaceTable, i%n, number), set(portTable, i%n, number)); err != nil && writing.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge})
	f.until("five snapshots of all ports", func(s Snapshot) bool {
		for _, p := range s.Ports {
			if p.Name != bridge && p.IfaceID != fmt.Sprint(p.Tag) {
				t.Fatalf("snapshot %d: %s has iface-id %s with tag %d", s.Seq, p.Name, p.IfaceID, p.Tag)
			}
		}
		if len(s.Ports) != n+1 {
			t.Fatalf("snapshot %d: %d ports", s.Seq, len(s.Ports))
		}
		return f.seen == 5
	})
	if _, err := f.Sync(patiently(t)); err != nil {
		t.Error(err)
	}
}

// WaitApplied waits for ovs-vswitchd, not only for the database.
func TestWaitAppliedNeedsVswitchd(t *testing.T) {
	o := newOVS(t)
	o.startDB()
	o.vsctl("--no-wait", "init", "--", "add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=dummy")
	f := follow(t, Config{Endpoint: o.endpoint(), Bridge: bridge, Tables: []Table{{Name: "classify"}}})
	for range 2 { // nothing is missing the second time, and nothing is applied
		short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := f.Prepare(short); !errors.Is(err, context.DeadlineExceeded) || o.vsctl("get", "Bridge", bridge, "fail_mode") != "secure" {
			t.Fatalf("Prepare without ovs-vswitchd: %v", err)
		}
	}
	o.startVswitchd()
	if _, err := f.Prepare(patiently(t)); err != nil {
		t.Fatal(err)
	}
	if err := f.WaitApplied(patiently(t)); err != nil {
		t.Fatal(err)
	}
}
