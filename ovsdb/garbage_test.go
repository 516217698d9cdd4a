package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

// call is a request as it comes in.
type call struct {
	Method string
	Params []json.RawMessage
	ID     json.RawMessage
}

// result is the reply to a request.
func (c call) result(text string) string {
	return `{"id":` + string(c.ID) + `,"error":null,"result":` + text + `}`
}

// serve plays a server that knows the calls of a session. monitored is the
// contents that it gives; after says what it does once they are given, with
// the name of the monitor and each call that comes.
func serve(conn net.Conn, monitored string, after func(monitor string, c call)) {
	in := json.NewDecoder(conn)
	for {
		var c call
		if in.Decode(&c) != nil {
			return
		}
		switch c.Method {
		case "list_dbs":
			io.WriteString(conn, c.result(`["Pairs"]`))
		case "get_schema":
			io.WriteString(conn, c.result(schema))
		case "monitor_cond_since":
			io.WriteString(conn, c.result(`[false,"00000000-0000-0000-0000-000000000000",`+monitored+`]`))
			after(string(c.Params[1]), c)
		default:
			after("", c)
		}
	}
}

// contents gives the monitored contents and then says nothing.
func contents(monitored string) func(net.Conn) {
	return func(conn net.Conn) {
		serve(conn, monitored, func(string, call) {
			conn.(*net.UnixConn).CloseWrite()
		})
	}
}

// update gives a row and then an update.
func update(updates string) func(net.Conn) {
	return func(conn net.Conn) {
		serve(conn, `{"Left":{"00000000-0000-0000-0000-000000000001":{"initial":{"name":"x"}}}}`, func(monitor string, _ call) {
			if monitor != "" {
				io.WriteString(conn, `{"id":null,"method":"update3","params":[`+monitor+`,"00000000-0000-0000-0000-000000000002",`+updates+`]}`)
			}
		})
	}
}

// answer says texts, one after each request, and then nothing.
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

// Each of these servers is left, and the one after them is the real one. What
// would end the process, and what no ovsdb-server sends, is in the package
// comment.
func TestGarbage(t *testing.T) {
	s := startServer(t)
	treat := []func(net.Conn){
		func(net.Conn) {}, // closes at once
		answer("\x00\xff\xfe\x01"),
		answer("GET / HTTP/1.1\r\n\r\n"),
		answer("[]"),
		answer("42"),
		answer(strings.Repeat("[", 100000)),
		answer(`{"id":1,"error":null,"result":null}`),
		answer(`{"id":1,"error":"unknown database","result":null}`),
		answer(`{"id":1,"error":{"error":"syntax error"},"result":null}`),
		answer(`{"id":1,"error":null,"result":["Other"]}`),
		answer(`{"id":1,"error":null,"result":7}`),
		answer(`{"id":"x","error":null,"result":{}}`),
		answer(`{"method":"update3","params":{},"id":null}`),
		answer(`{"method":"stolen","params":[],"id":null}`),
		answer(`{"id":1,"error":null,"result":["Pairs"]}`, `{"id":2,"error":null,"result":{"tables":7}}`),
		answer(`{"id":1,"error":null,"result":["Pairs"]}`, `{"id":2,"error":null,"result":{"name":"Pairs","version":"1","tables":{}}}`),
		contents(`7`),
		contents(`{"Left":{"u":{"initial":{"name":7}}}}`),
		contents(`{"Right":{"u":{"initial":{"number":["set",["a"]]}}}}`),
		update(`{"Left":{"00000000-0000-0000-0000-000000000009":{"modify":{"name":"who"}}}}`),
		update(`{"Left":{"00000000-0000-0000-0000-000000000001":{"modify":{"name":7}}}}`),
	}
	c := run(t, Config{Endpoint: impostor(t, s.endpoint(), treat...), longestDelay: time.Millisecond})
	writer := run(t, Config{Endpoint: s.endpoint()})
	insert(t, writer, "real")
	until(t, c, "the real server", func(p Picture) bool { return names(p)["real"] })
	if c.Status().LastError == nil {
		t.Error("no error was noticed")
	}
}

// A server that says nothing is left after five times the interval.
func TestSilentServer(t *testing.T) {
	s := startServer(t)
	silent := func(conn net.Conn) { serve(conn, `{}`, func(string, call) {}) }
	c := run(t, Config{Endpoint: impostor(t, s.endpoint(), silent), probeInterval: 100 * time.Millisecond})
	until(t, c, "an empty database", func(p Picture) bool { return len(names(p)) == 0 })
	insert(t, run(t, Config{Endpoint: s.endpoint()}), "real")
	until(t, c, "the real server", func(p Picture) bool { return names(p)["real"] })
	if err := c.Status().LastError; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("last error: %v", err)
	}
}

// A server that has nothing to say but answers probes is kept, and its own
// probes are answered.
func TestQuietServer(t *testing.T) {
	probed, answered := make(chan struct{}), make(chan string, 1)
	quiet := func(conn net.Conn) {
		serve(conn, `{}`, func(monitor string, c call) {
			switch {
			case monitor != "":
				io.WriteString(conn, `{"method":"echo","params":["a",{"b":1}],"id":"mine"}`)
			case c.Method == "transact":
				io.WriteString(conn, c.result(`[]`))
				select {
				case probed <- struct{}{}:
				default: // the test has seen enough
				}
			case string(c.ID) == `"mine"`:
				answered <- c.Method
			}
		})
	}
	c := run(t, Config{Endpoint: impostor(t, "", quiet), probeInterval: 500 * time.Millisecond})
	for range 4 {
		select {
		case <-probed:
		case <-patiently(t).Done():
			t.Fatal("no probe")
		}
	}
	select {
	case <-answered:
	case <-patiently(t).Done():
		t.Error("no answer")
	}
	if s := c.Status(); !s.Connected || s.LastError != nil {
		t.Errorf("status: %+v", s)
	}
}
