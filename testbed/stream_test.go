package testbed

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func TestStreams(t *testing.T) {
	o, vm1, vm2 := pair(t)
	setFlows(t, o, "priority=0 actions=NORMAL")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var streams []*Stream
	for _, addr := range vm2.Addrs {
		tcp, err := TCPStream(ctx, vm1, vm2, netip.AddrPortFrom(addr, 8080))
		if err != nil {
			t.Fatal(err)
		}
		udp, err := UDPStream(ctx, vm1, vm2, netip.AddrPortFrom(addr, 8080))
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, tcp, udp)
	}
	for range 2 {
		setFlows(t, o, "priority=0 actions=drop")
		var wg sync.WaitGroup
		for i, s := range streams {
			wg.Go(func() {
				if err := s.WaitStopped(ctx, 500*time.Millisecond); err != nil {
					t.Error(i, err)
				}
			})
		}
		wg.Wait()
		if udp := streams[1]; udp.Sent() < udp.Received()+50 {
			t.Error("the server does not try:", udp.Sent(), udp.Received())
		}
		setFlows(t, o, "priority=0 actions=NORMAL")
		start := time.Now()
		for i, s := range streams {
			if err := s.WaitFlowing(ctx); err != nil {
				t.Error(i, err)
			}
			t.Logf("stream %d flows after %v: sent %d, received %d, missing %d", i, time.Since(start), s.Sent(), s.Received(), s.Missing())
		}
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := streams[1].WaitStopped(short, 40*time.Millisecond); err == nil {
		t.Error("a flowing stream counts as stopped")
	}
	for _, s := range streams {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for i, s := range streams {
		if err := s.WaitStopped(ctx, time.Millisecond); err == nil {
			t.Errorf("stream %d: a closed stream counts as stopped", i)
		}
	}
	if streams[0].Missing() != 0 || streams[1].Missing() == 0 {
		t.Error("missing", streams[0].Missing(), streams[1].Missing())
	}
}
