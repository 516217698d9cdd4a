package unixctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// daemon listens at a path and answers each request with the number of the
// connection, "refuse" with an error and "hang up" not at all.
func daemon(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted++
			in := json.NewDecoder(conn)
			for n := 0; ; n++ {
				var r request
				if in.Decode(&r) != nil || r.Method == "hang up" || r.Method == "restart" && n > 0 {
					break
				}
				text := fmt.Sprintf(`"result": "%d"`, accepted)
				if r.Method == "refuse" {
					text = `"error": "no"`
				}
				fmt.Fprintf(conn, `{"id": %d, %s}`, r.ID, text)
			}
			conn.Close()
		}
	}()

}

func TestVswitchd(t *testing.T) {
	dir := shortDir(t)
	v := NewVswitchd(dir, "")
	if _, err := v.Call(patiently(t), "a"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a daemon: %v", err)
	}
	daemon(t, filepath.Join(dir, "ovs-vswitchd.7.ctl"))
	if err := os.WriteFile(filepath.Join(dir, "ovs-vswitchd.pid"), []byte("7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ command, want string }{
		{"a", "1"},
		{"a", "1"},       // the connection is kept,
		{"refuse", ""},   // also after a refusal,
		{"a", "1"},       //
		{"restart", "2"}, // and replaced if it breaks, once
		{"a", "2"},
		{"hang up", ""},
		{"a", "4"},
	} {
		got, err := v.Call(patiently(t), c.command)
		var refused *Error
		if got != c.want || (err != nil) != (c.want == "") || errors.As(err, &refused) != (c.command == "refuse") {
			t.Errorf("%s: got %q, %v, want %q", c.command, got, err, c.want)
		}
	}
}
