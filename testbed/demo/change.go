package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// An edit takes one line of a manifest away or puts one behind another.
type edit struct{ group, line, add string }

// The changes that the demonstration makes to the example, all in one file:
// nobody reaches the web server by plain HTTP any more, and everybody reaches the
// application by HTTPS.
const changed = "groups.yaml"

var edits = []edit{
	{group: "webSG", line: "  - {name: http, direction: Ingress, protocol: TCP, port: 80}"},
	{group: "appSG", line: "  - {name: dns, direction: Egress, protocol: UDP, port: 53}",
		add: "  - {name: https, direction: Ingress, protocol: TCP, port: 443}"},
}

// edited returns the text with the edits made and a description of them.
func edited(text string) (string, string, error) {
	var told strings.Builder
	for _, e := range edits {
		begin := strings.Index(text, "metadata: {name: "+e.group+"}\n")
		if begin < 0 {
			return "", "", fmt.Errorf("%s: no group %s", changed, e.group)
		}
		length := strings.Index(text[begin:], e.line+"\n")
		if length < 0 {
			return "", "", fmt.Errorf("%s: group %s: no line %q", changed, e.group, e.line)
		}
		at := begin + length
		rest := text[at+len(e.line)+1:]
		if e.add == "" {
			text = text[:at] + rest
			fmt.Fprintf(&told, "%s  - %s\n", e.group, strings.TrimPrefix(e.line, "  - "))
		} else {
			text = text[:at] + e.line + "\n" + e.add + "\n" + rest
			fmt.Fprintf(&told, "%s  + %s\n", e.group, strings.TrimPrefix(e.add, "  - "))
		}
	}
	return text, told.String(), nil
}

// change edits a manifest while a connection is open, and probes again.
func (d *demo) change(ctx context.Context, before matrix) (matrix, error) {
	data, err := os.ReadFile(filepath.Join(d.dir, "policy", changed))
	if err != nil {
		return matrix{}, err
	}
	text, told, err := edited(string(data))
	if err != nil {
		return matrix{}, err
	}
	client, server := d.host("outside"), d.host("web")
	if client == nil || server == nil {
		return matrix{}, errors.New("the example has no VM named web")
	}
	talk, err := openTalk(ctx, client, netip.AddrPortFrom(server.at[0], 80))
	if err != nil {
		return matrix{}, fmt.Errorf("open a connection from outside to web: %w", err)
	}
	defer talk.conn.Close()

	title("Two rules change: one file is renamed into the policy directory")
	fmt.Print(told)
	at := time.Now()
	if err := d.put(changed, []byte(text)); err != nil {
		return matrix{}, err
	}
	s, err := d.wait(ctx)
	if err != nil {
		return matrix{}, err
	}
	waited := time.Since(at)
	l := s.Last
	fmt.Printf("\nIn force, confirmed by the switch, %s after the first event (compiling %s, the switch %s):\n"+
		"%d flows added, %d modified, %d deleted. \"ovs-sg status --wait\" returned after %s.\n",
		ms(l.Took), ms(l.Compile), ms(l.Switch), l.Added, l.Modified, l.Deleted, ms(waited))
	after, err := d.probeAll(ctx)
	if err != nil {
		return after, err
	}
	silent := time.Since(talk.last())
	if silent < time.Second {
		fmt.Println("\nA connection that was open, outside to web port 80, goes on.")
	} else {
		fmt.Printf("\nA connection that was open, outside to web port 80, stopped %s after the rename.\n", ms(max(0, talk.last().Sub(at))))
	}
	return after, nil
}

func (d *demo) host(name string) *host {
	if i := slices.IndexFunc(d.hosts, func(h *host) bool { return h.Name == name }); i >= 0 {
		return d.hosts[i]
	}
	return nil
}

// talk is a TCP connection on which a byte is sent, and comes back, every
// millisecond.
type talk struct {
	conn   net.Conn
	lastAt atomic.Int64
}

func openTalk(ctx context.Context, from *host, to netip.AddrPort) (*talk, error) {
	ctx, cancel := context.WithTimeout(ctx, testbed.AllowedTimeout)
	defer cancel()
	conn, err := from.DialTCP(ctx, netip.AddrPort{}, to)
	if err != nil {
		return nil, err
	}
	t := &talk{conn: conn}
	go func() {
		for range time.Tick(time.Millisecond) {
			if _, err := conn.Write([]byte{'.'}); err != nil {
				return
			}
		}
	}()
	go func() {
		_, _ = io.Copy(t, conn) // ends with the connection
	}()
	return t, testbed.Poll(ctx, time.Millisecond, func() (bool, error) { return t.lastAt.Load() != 0, nil })
}

// Write takes note of bytes that came back.
func (t *talk) Write(b []byte) (int, error) {
	t.lastAt.Store(time.Now().UnixNano())
	return len(b), nil
}

func (t *talk) last() time.Time { return time.Unix(0, t.lastAt.Load()) }

func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
