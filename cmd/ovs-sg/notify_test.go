package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/controller"
	"github.com/ovs-sg/ovs-sg/policy/dirsource"
)

// An agent whose loop is stuck sends no sign of life to the service manager.
func TestNotifyStuckLoop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "1200000")

	source, err := dirsource.New(dirsource.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	c := controller.New(controller.Config{Source: source, Logger: zap.NewNop()}) // Run is not called
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- notifySystemd(ctx, c, time.Millisecond) }()
	buf := make([]byte, 4096)
	hear := func(within time.Duration) string {
		t.Helper()
		if err := manager.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		n, err := manager.Read(buf)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(buf[:n]))
	}
	if s := hear(30 * time.Second); !strings.HasPrefix(s, "READY=1\nSTATUS=nothing is enforced yet") {
		t.Errorf("notified of %q, want READY=1", s)
	}
	if s := hear(1500 * time.Millisecond); s != "" { // three signs of life would have been due
		t.Errorf("notified of %q though the loop is stuck", s)
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("notifying ended with %v", err)
	}
}
