package vswitch

import (
	"strings"
	"testing"
)

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

func TestUnusable(t *testing.T) {
	for version, want := range map[string]bool{
		"2.8.0": true, "2.12.4": true, "2.13.6": true, "2.13.7": false, "2.14.4": true, "2.14.5": false, "2.15.0": true, "2.15.3": true,
		"2.15.4": false, "2.16.2": true, "2.16.3": false, "2.17.0": true, "2.17.1": false, "2.17.12": false, "2.18.0": true,
		"3.0.0": false, "3.1.0": false, "4.0.0": false, "5.0": false, "3.1.0-rc1": false, "": false, "x": false,
	} {
		if got := Unusable(version); (got != "") != want {
			t.Errorf("%q: got %q", version, got)
		}
	}
}

func TestMissing(t *testing.T) {
	const all = "Masked set action: Yes\nRecirc: Yes\nCT state: Yes\nCT zone: Yes\nCT mark: No\nCT label: Yes\nCT orig tuple: Yes\n" +
		"CT orig tuple for IPv6: Yes\nConntrack clear: Yes\nMax VLAN headers: 1\n"
	for _, c := range []struct{ features, want string }{
		{all, ""},
		{strings.Replace(all, "CT zone: Yes", "CT zone: No", 1), "CT zone"},
		{strings.ReplaceAll(all, "Yes", "No"), "Recirc, CT state, CT zone, CT label, CT orig tuple, CT orig tuple for IPv6, Conntrack clear"},
		{strings.Replace(all, "CT orig tuple: Yes", "CT orig tuple: No", 1), "CT orig tuple"},
		{"", ""}, // not known
		{all + "ct_zone (CT zone) : [run time]:false, [boot time]:true\nct_label (CT label) : [run time]:true, [boot time]:true\n", "CT zone"},
		{"ct_mark (CT mark) : [run time]:false, [boot time]:true\nmax_hash_alg (Max dp_hash algorithm) : [run time]:1, [boot time]:1\n", ""},
	} {
		if got := strings.Join(Missing(c.features), ", "); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
