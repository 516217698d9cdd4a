package testbed

import (
	"context"
	"testing"
	"time"
)

// New starts a switch for a test and closes it at its end. A missing program or
// missing root fails the test: it never skips.
func New(tb testing.TB, opt Options) *OVS {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	o, err := Start(ctx, opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			if tail := o.logTail(); tail != "" {
				tb.Log("open vswitch complained:", tail)
			}
		}
		if err := o.Close(); err != nil {
			tb.Error("close testbed:", err)
		}
	})
	return o
}

// VM is like AddVM, but fails the test on an error.
func (o *OVS) VM(tb testing.TB, cfg VMConfig) *Host {
	tb.Helper()
	h, err := o.AddVM(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// Uplink is like AddUplink, but fails the test on an error.
func (o *OVS) Uplink(tb testing.TB, cfg UplinkConfig) *Host {
	tb.Helper()
	h, err := o.AddUplink(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}
