package compile_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/flows/pipeline"
	"github.com/ovs-sg/ovs-sg/policy"
)

const layoutFile = "testdata/layout.txt"

// TestLayout holds flows.Layout against everything that an agent takes for granted
// when it reads flows and connections of the agent before it: tables, registers,
// cookies, zones, ct_label, and the flows that readback.go understands, their
// priorities included. Other priorities do not count, because a flow that is
// different is replaced without being understood.
func TestLayout(t *testing.T) {
	data, err := os.ReadFile(layoutFile)
	if err != nil {
		t.Fatal(err)
	}
	var recorded int
	first, want, _ := strings.Cut(string(data), "\n")
	if _, err := fmt.Sscanf(first, "layout %d", &recorded); err != nil {
		t.Fatalf("%s: %v", layoutFile, err)
	}
	got := layoutText(t)
	switch {
	case got == want && recorded == flows.Layout:
	case recorded == flows.Layout:
		t.Errorf("what an agent reads back from the flows of the agent before it has changed:\n%s"+
			"Raise flows.Layout (flows/cookie.go) from %d to %d, so that an agent does not take the epochs of old flows for its own, "+
			"then run: make golden", lineDiff(want, got), recorded, recorded+1)
	case !*update:
		t.Errorf("%s is that of layout %d, flows.Layout is %d; if it was raised on purpose, run: make golden", layoutFile, recorded, flows.Layout)
	default:
		if err := os.WriteFile(layoutFile, fmt.Appendf(nil, "layout %d\n%s", flows.Layout, got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// layoutText describes the layout. The layout number in the cookies is masked.
func layoutText(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, table := range flows.Tables() {
		fmt.Fprintf(&b, "table %d %s\n", table, table)
	}
	for _, r := range []struct {
		name string
		reg  flows.Field
	}{
		{"RegSrc", flows.RegSrc}, {"RegDst", flows.RegDst}, {"RegNetwork", flows.RegNetwork}, {"RegZone", flows.RegZone},
		{"RegOrig", flows.RegOrig}, {"RegResp", flows.RegResp}, {"RegOrigEpoch", flows.RegOrigEpoch}, {"RegRespEpoch", flows.RegRespEpoch},
		{"RegLocal", flows.RegLocal}, {"RegRemote", flows.RegRemote}, {"RegVPC", flows.RegVPC}, {"RegFlood", flows.RegFlood},
		{"RegCause", flows.RegCause}, {"RegND", flows.RegND}, {"RegCommit", flows.RegCommit}, {"RegPorts", flows.RegPorts},
	} {
		fmt.Fprintf(&b, "register %d %s\n", r.reg-flows.FieldReg0, r.name)
	}
	cookie := func(name string, k flows.Kind) {
		fmt.Fprintf(&b, "cookie %s %s\n", name, masked(flows.NewCookie(k, flows.ObjectMask)))
	}
	cookie("KindPipeline", flows.KindPipeline)
	cookie("KindInfra", flows.KindInfra)
	cookie("KindPort", flows.KindPort)
	cookie("KindEpoch", flows.KindEpoch)
	cookie("KindNetwork", flows.KindNetwork)
	cookie("KindMember", flows.KindMember)
	cookie("KindClause", flows.KindClause)
	cookie("KindRule", flows.KindRule)
	fmt.Fprintf(&b, "zones up to %#x, local %#x to %#x, multicast %#x\n", flows.MaxOFPort, flows.LocalZone(0), flows.LocalZone(4095), flows.ZoneFlood)
	for _, f := range readBackFlows(t) {
		f.Cookie = masked(f.Cookie)
		fmt.Fprintf(&b, "flow %s\n", f)
	}
	return b.String()
}

func masked(c flows.Cookie) flows.Cookie { return c &^ (0xf << 48) }

// readBackFlows returns the flows that readback.go looks at, for one VM.
func readBackFlows(t *testing.T) (out []flows.Flow) {
	t.Helper()
	m := &policy.Model{
		Endpoints: []policy.Endpoint{{VIF: "tap7", OFPort: 7, Tag: 10, MAC: policy.MAC{2, 0, 0, 0, 0, 7},
			Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("fd00::7")},
			VM:    policy.Key{Namespace: "default", Name: "web"}, Known: true, VPC: "default/v", Groups: []string{"default/web"}}},
		Groups: []policy.RuleGroup{{ID: "default/web", Rules: []policy.ResolvedRule{
			{Group: "default/web", Name: "#0", Direction: policy.Ingress, Protocol: policy.TCP, Ports: policy.PortRange{First: 80, Last: 80},
				Remote: policy.ResolvedRemote{Kind: policy.ResolvedMembers, Group: "default/web"}},
			{Group: "default/web", Name: "#1", Direction: policy.Egress, Ports: policy.PortRange{Last: 65535},
				Remote: policy.ResolvedRemote{Kind: policy.ResolvedMembers, Group: "default/web"}}}}},
		Members: []policy.Member{{VPC: "default/v", Addr: netip.MustParseAddr("10.0.0.7"), Groups: []string{"default/web"},
			VM: policy.Key{Namespace: "default", Name: "web"}}},
	}
	classes := map[uint16]compile.Class{7: {Epochs: flows.Epochs{policy.Egress: 3, policy.Ingress: 4}}}
	set, err := compile.Full(compile.Input{Model: m, Classes: classes, HighestEpoch: 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range set.Sorted() {
		kind := f.Cookie.Kind()
		switch {
		case kind == flows.KindPipeline && f.Cookie.Object() != 0,
			kind == flows.KindPort && f.Table == flows.TableDispatch && ofMAC(f),
			kind == flows.KindPort && f.Table == flows.TableSpoofGuard && ownAddress(f),
			kind == flows.KindPort && f.Priority == pipeline.EstOwn && (f.Table == flows.TableEgressEst || f.Table == flows.TableIngressEst),
			kind == flows.KindEpoch && f.Priority == pipeline.EpochCurrent,
			kind == flows.KindMember:
			out = append(out, f)
		}
	}
	return out
}

// ofMAC reports whether a flow has a MAC that owners are read from.
func ofMAC(f flows.Flow) bool {
	_, _, ok := f.Match.Get(flows.FieldEthDst)
	return ok
}

// ownAddress reports whether a flow has an address that places are read from.
func ownAddress(f flows.Flow) bool {
	for _, field := range []flows.Field{flows.FieldIPSrc, flows.FieldIPv6Src} {
		if a, ok := f.Match.Addr(field); ok && !a.IsUnspecified() {
			return true
		}
	}
	return false
}
