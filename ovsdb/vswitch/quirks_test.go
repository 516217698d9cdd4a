package vswitch

import "testing"

func TestStaleMegaflows(t *testing.T) {
	for _, c := range []struct {
		datapath, version string
		want              bool
	}{
		{"netdev", "3.1.0", true}, {"netdev", "3.1.2", true}, {"netdev", "3.1.3", false}, {"netdev", "3.3.0", false},
		{"netdev", "2.17.3", true}, {"netdev", "", true}, {"dummy", "3.1.0", true}, {"system", "3.1.0", false}, {"", "3.1.0", false},
	} {
		if got := QuirksOf(c.version, c.datapath).StaleMegaflows; got != c.want {
			t.Errorf("%q, %q: %v", c.datapath, c.version, got)
		}
	}
}

func TestFlushAddr(t *testing.T) {
	for version, want := range map[string]bool{
		"3.1.0": true, "3.1.4": true, "3.1.5": false, "3.2.2": true, "3.2.3": false, "3.3.0": true, "3.3.1": false,
		"3.4.0": false, "3.0.9": false, "2.17.8": false, "4.0.0-rc1": false, "3.3.90": false, "": true, "x": true,
	} {
		if got := QuirksOf(version, "netdev").FlushAddr; got != want {
			t.Errorf("%q: got %v", version, got)
		}
		if QuirksOf(version, "system").FlushAddr {
			t.Errorf("%q: the kernel's datapath", version)
		}
	}
}

func TestHoldsFragments(t *testing.T) {
	for datapath, want := range map[string]bool{"netdev": true, "dummy": true, "system": false, "": false} {
		if got := QuirksOf("3.7.1", datapath).HoldsFragments; got != want {
			t.Errorf("%q: got %v", datapath, got)
		}
	}
}
