package pipeline_test

import (
	"net/netip"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/pipeline"
	"github.com/ovs-sg/ovs-sg/policy"
)

// manyMembers returns members of both families in two VPCs, with numbers for the
// VPC and the set of groups of each.
func manyMembers(n int) (ms []policy.Member, vpcs, sets []uint32) {
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if i%3 == 0 {
			a = netip.AddrFrom16([16]byte{0: 0xfd, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
		}
		ms = append(ms, policy.Member{Addr: a, VM: policy.Key{Namespace: "default", Name: a.String()}})
		vpcs, sets = append(vpcs, uint32(i%2)), append(sets, uint32(i%5))
	}
	return ms, vpcs, sets
}

// TestMembers checks that Members and Member give the same flows, also for
// addresses that look like the header in front of them.
func TestMembers(t *testing.T) {
	ms, vpcs, sets := manyMembers(100)
	for _, a := range []string{"0.1.240.4", "0.1.242.4", "::1:f410:0:1", "1:f410:1:f410:1:f410:1:f410", "1:f610:1:f610:1:f610:1:f610"} {
		ms, vpcs, sets = append(ms, policy.Member{Addr: netip.MustParseAddr(a)}), append(vpcs, 1), append(sets, 1)
	}
	for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
		for first := range ms { // each may be the one that the template is made from
			fast := pipeline.Members{Direction: d}
			fast.Flow(&ms[first], vpcs[first], sets[first])
			for i := range ms {
				want := pipeline.Member(d, &ms[i], vpcs[i], sets[i])
				if got := fast.Flow(&ms[i], vpcs[i], sets[i]); got != want {
					t.Fatalf("%s after %s:\n%s\n%s", ms[i].Addr, ms[first].Addr, got, want)
				}
			}
		}
	}
}

// BenchmarkMembers compares Members with Member.
func BenchmarkMembers(b *testing.B) {
	ms, vpcs, sets := manyMembers(1000)
	var f flows.Flow
	b.Run("Members", func(b *testing.B) {
		fast := pipeline.Members{}
		for i := 0; b.Loop(); i++ {
			f = fast.Flow(&ms[i%1000], vpcs[i%1000], sets[i%1000])
		}
	})
	b.Run("Member", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			f = pipeline.Member(policy.Ingress, &ms[i%1000], vpcs[i%1000], sets[i%1000])
		}
	})
	_ = f
}
