package ovsdb

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// impostor listens like ovsdb-server. It treats the connections in turn as
// told, and hands those after them through to the real one.
func impostor(t *testing.T, real string, treat ...func(net.Conn)) (endpoint string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ovs")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		listener.Close()
		os.RemoveAll(dir)
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if len(treat) > 0 {
				treat[0](conn)
				treat = treat[1:]
				conn.Close()
				continue
			}
			server, err := net.Dial("unix", strings.TrimPrefix(real, "unix:"))
			if err != nil {
				conn.Close()
				continue
			}
			go func() { io.Copy(server, conn); server.Close() }()
			go func() { io.Copy(conn, server); conn.Close() }()
		}
	}()
	return "unix:" + listener.Addr().String()
}

// answer replies to the first request with text, as it is, and then waits
// until the client goes away.
func answer(texts ...string) func(net.Conn) {
	return func(conn net.Conn) {
		in := json.NewDecoder(conn)
		for _, text := range texts {
			var request any
			if in.Decode(&request) != nil {
				return
			}
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
		conn.(*net.UnixConn).CloseWrite()
		io.Copy(io.Discard, conn)
	}
}

// goodSchema is an answer to get_schema that names just enough.
func goodSchema(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Skip(err)
	}
	return `{"id":1,"error":null,"result":` + string(text) + `}`
}

func TestGarbage(t *testing.T) {
	o := startOVS(t)
	addBridge(o)
	schema := goodSchema(t)
	first := func(update string) string { return `{"id":2,"error":null,"result":` + update + `}` }
	treat := []func(net.Conn){
		func(net.Conn) {}, // closes at once
		answer("\x00\xff\xfe\x01"),
		answer("GET / HTTP/1.1\r\n\r\n"),
		answer("[]"),
		answer("42"),
		answer(strings.Repeat("[", 100000)),
		answer(`{"id":1,"error":null,"result":null}`),
		answer(`{"id":1,"error":"unknown database","result":null}`),
		answer(`{"id":1,"error":null,"result":{"name":"Open_vSwitch","version":"1","tables":{}}}`),
		answer(`{"id":1,"error":null,"result":{"tables":7}}`),
		answer(`{"id":"x","error":null,"result":{}}`),
		answer(`{"method":"update","params":[],"id":null}`),
		answer(`{"method":"update","params":{},"id":null}`),
		answer(`{"method":"update","params":[null,{"Port":{"x":null}}],"id":null}`),
		answer(`{"method":"update3","params":[],"id":null}`),
		answer(`{"method":"stolen","params":[],"id":null}`),
		answer(`{"method":"echo","params":[],"id":"e"}`),
		answer(schema, `{"id":2,"error":{"error":"syntax error"},"result":null}`),
		answer(schema, first(`{"Nonsense":{"u":{"new":{}}}}`)),
		answer(schema, first(`{"Port":{"u":{"new":{"name":7}}}}`)),
		answer(schema, first(`{"Port":{"u":{"new":{"name":["set"]}}}}`)),
		answer(schema, first(`{"Port":{"u":{"new":{"tag":["set",[5000]]}}}}`)),
		answer(schema, first(`{"Port":{"u":{"new":{"tag":["set",[]],"trunks":["set",7]}}}}`)),
		answer(schema, first(`{"Port":{"u":{"new":{"interfaces":["uuid"]}}}}`)),
		answer(schema, first(`{"Interface":{"u":{"new":{"ofport":1.5}}}}`)),
		answer(schema, first(`{"Interface":{"u":{"new":{"external_ids":["map",[["a"]]]}}}}`)),
		answer(schema, first(`{"Interface":{"u":{"new":{"external_ids":["map",[["a",1]]]}}}}`)),
		answer(schema, first(`{"Interface":{"u":{"new":{"external_ids":"a"}}}}`)),
	}
	f := follow(t, Config{
		Endpoint: impostor(t, o.endpoint(), treat...), Bridge: bridge,
		longestDelay: time.Millisecond,
	})
	snap := f.until("anything", func(Snapshot) bool { return true })
	if !snap.port(bridge).Ready() {
		t.Errorf("the first snapshot is not the real one: %+v", snap)
	}
	if f.Status().LastError == nil {
		t.Error("no error was noticed")
	}
}

// A server that hangs is left after twice the probe interval.
func TestSilentServer(t *testing.T) {
	o := startOVS(t)
	addBridge(o)
	schema := goodSchema(t)
	silent := func(conn net.Conn) {
		in := json.NewDecoder(conn)
		for _, text := range []string{schema, `{"id":2,"error":null,"result":{}}`} {
			var request any
			if in.Decode(&request) != nil {
				return
			}
			io.WriteString(conn, text)
		}
		io.Copy(io.Discard, conn)
	}
	f := follow(t, Config{
		Endpoint: impostor(t, o.endpoint(), silent), Bridge: bridge,
		ProbeInterval: 200 * time.Millisecond,
	})
	snap := f.until("an empty database", func(Snapshot) bool { return true })
	if snap.Bridge.Exists {
		t.Errorf("%+v", snap)
	}
	f.until("the real server's", func(s Snapshot) bool { return s.port(bridge).Ready() })
	var timeout net.Error
	if err := f.Status().LastError; !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("last error: %v", err)
	}
}

// A server that has nothing to say but answers probes is kept.
func TestQuietServer(t *testing.T) {
	o := newOVS(t)
	schema := goodSchema(t)
	probed := make(chan struct{})
	quiet := func(conn net.Conn) {
		in := json.NewDecoder(conn)
		for {
			var request struct {
				Method string
				ID     json.RawMessage
			}
			if in.Decode(&request) != nil {
				return
			}
			switch request.Method {
			case "get_schema":
				io.WriteString(conn, schema)
			case "monitor":
				io.WriteString(conn, `{"id":2,"error":null,"result":{}}`)
			case "echo":
				io.WriteString(conn, `{"id":`+string(request.ID)+`,"error":null,"result":[]}`)
				select {
				case probed <- struct{}{}:
				default: // the test has seen enough
				}
			}
		}
	}
	f := follow(t, Config{
		Endpoint: impostor(t, o.endpoint(), quiet), Bridge: bridge,
		ProbeInterval: 100 * time.Millisecond,
	})
	for range 10 {
		select {
		case <-probed:
		case <-patiently(t).Done():
			t.Fatal("no probe")
		}
	}
	if s := f.Status(); !s.Connected || s.LastError != nil {
		t.Errorf("status: %+v", s)
	}
}

// ovsdb-server's own probes are answered.
func TestAnswersEcho(t *testing.T) {
	answered := make(chan string, 1)
	ask := func(conn net.Conn) {
		in := json.NewDecoder(conn)
		var request any
		in.Decode(&request)
		io.WriteString(conn, `{"method":"echo","params":["a",{"b":1}],"id":"echo"}`)
		var reply json.RawMessage
		in.Decode(&reply)
		answered <- string(reply)
	}
	o := newOVS(t)
	follow(t, Config{Endpoint: impostor(t, o.endpoint(), ask), Bridge: bridge})
	select {
	case got := <-answered:
		if want := `{"result":["a",{"b":1}],"error":null,"id":"echo"}`; got != want {
			t.Errorf("answer %s, want %s", got, want)
		}
	case <-patiently(t).Done():
		t.Error("no answer")
	}
}

// A schema without the columns that came later will do; without the ones that
// count it will not.
func TestMonitorRequests(t *testing.T) {
	schema := func() ovsdb.DatabaseSchema {
		var reply struct{ Result ovsdb.DatabaseSchema }
		if err := json.Unmarshal([]byte(goodSchema(t)), &reply); err != nil {
			t.Fatal(err)
		}
		return reply.Result
	}
	old := schema()
	delete(old.Tables, "Datapath")
	delete(old.Tables["Open_vSwitch"].Columns, "datapaths")
	requests, err := monitorRequests(old)
	if err != nil || len(requests) != 4 {
		t.Errorf("%v, %v", requests, err)
	}
	for table, request := range requests {
		if len(request.Columns) == 0 {
			t.Errorf("table %s: all columns would be sent", table)
		}
	}
	broken := schema()
	delete(broken.Tables["Interface"].Columns, "ofport")
	if _, err := monitorRequests(broken); err == nil || !strings.Contains(err.Error(), "Interface.ofport") {
		t.Errorf("without ofport: %v", err)
	}
}
