package openflow

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// testContext bounds what a test waits for.
func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

// xids returns the number of xids that a session has used, one for each message
// but those of echoes.
func xids(s *session) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastXid
}

// dummy returns a switch without packets and a connection that sends no echo
// requests.
func dummy(tb testing.TB) (*testbed.OVS, *Conn) {
	tb.Helper()
	o := testbed.New(tb, testbed.Options{Dummy: true})
	return o, dial(tb, o, Options{EchoInterval: time.Minute})
}

func dial(tb testing.TB, o *testbed.OVS, opts Options) *Conn {
	tb.Helper()
	c, err := Dial(testContext(tb), o.Mgmt(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

func ours(kind flows.Kind, object uint64) flows.Cookie {
	return flows.CookieOwner | 1<<48 | flows.Cookie(kind)<<40 | flows.Cookie(object)
}

func flow(table flows.Table, priority uint16, match flows.Match, next int, actions ...flows.Action) flows.Flow {
	return flows.Flow{
		Key:     flows.Key{Table: table, Priority: priority, Match: match},
		Cookie:  ours(flows.KindPipeline, 0),
		Actions: flows.NewActions(next, actions...),
	}
}

func setOf(fs ...flows.Flow) *flows.Set {
	s := &flows.Set{}
	for _, f := range fs {
		s.Put(f)
	}
	return s
}

func mac(s string) policy.MAC {
	m, err := policy.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// everything has each field, exact and masked where that exists, and each
// action.
func everything() *flows.Set {
	v4, v6 := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00:1::b")
	p4, p6 := netip.MustParsePrefix("10.1.0.0/17"), netip.MustParsePrefix("fd00:1::/64")
	m := mac("02:00:0a:00:01:0b")
	ip, ip6 := flows.EthType(flows.EthTypeIPv4), flows.EthType(flows.EthTypeIPv6)
	arp := flows.EthType(flows.EthTypeARP)

	matches := [][]flows.Term{
		nil,
		{flows.InPort(1)}, {flows.InPort(flows.PortLocal)},
		{flows.EthSrc(m), flows.EthDst(m)}, {flows.Multicast()},
		{flows.Untagged()}, {flows.NoVLAN()}, {flows.VLAN(7)}, {flows.Tagged()},
		{flows.EthType(flows.EthTypeRARP)}, {flows.EthType(0x88cc)},
		{ip, flows.Addr(flows.FieldIPSrc, v4), flows.Addr(flows.FieldIPDst, v4)},
		{ip, flows.Prefix(flows.FieldIPSrc, p4), flows.Prefix(flows.FieldIPDst, p4)},
		{ip6, flows.Addr(flows.FieldIPv6Src, v6), flows.Addr(flows.FieldIPv6Dst, v6)},
		{ip6, flows.Prefix(flows.FieldIPv6Src, p6), flows.Prefix(flows.FieldIPv6Dst, p6)},
		{ip, flows.IPProto(flows.ProtoTCP), flows.Port(flows.FieldTCPSrc, 80, 0xffff), flows.Port(flows.FieldTCPDst, 1000, 0xfff8)},
		{ip6, flows.IPProto(flows.ProtoUDP), flows.Port(flows.FieldUDPSrc, 546, 0xffff), flows.Port(flows.FieldUDPDst, 547, 0xfffe)},
		{ip, flows.IPProto(flows.ProtoUDP)}, {ip6, flows.IPProto(flows.ProtoTCP)},
		{ip, flows.IPProto(47)}, {ip6, flows.IPProto(89)}, {ip, flows.IPProto(flows.ProtoSCTP)},
		{ip, flows.IPProto(flows.ProtoICMP), flows.Byte(flows.FieldICMPType, 8)},
		{ip6, flows.IPProto(flows.ProtoICMPv6), flows.Byte(flows.FieldICMPv6Type, 134)},
		{ip6, flows.IPProto(flows.ProtoICMPv6), flows.Byte(flows.FieldICMPv6Type, 135), flows.Addr(flows.FieldNDTarget, v6), flows.MAC(flows.FieldNDSLL, m)},
		{ip6, flows.IPProto(flows.ProtoICMPv6), flows.Byte(flows.FieldICMPv6Type, 136), flows.Addr(flows.FieldNDTarget, v6), flows.MAC(flows.FieldNDTLL, m)},
		{arp, flows.ARPOp(1), flows.Addr(flows.FieldARPSPA, v4), flows.Addr(flows.FieldARPTPA, v4), flows.MAC(flows.FieldARPSHA, m)},
		{flows.EthType(flows.EthTypeRARP), flows.MAC(flows.FieldARPSHA, m)},
		{flows.RegIs(flows.FieldReg0, 0), flows.RegIs(flows.FieldReg15, 0xffffffff)},
		{ip, flows.ConjID(7), flows.CT(flows.CTNew|flows.CTTrk, flows.CTInv)},
		{ip6, flows.CT(flows.CTTrk|flows.CTEst|flows.CTRpl, flows.CTRel), flows.CTLabel(flows.Label{Orig: 3, OrigEpoch: 9}, flows.Label{Orig: 0xffffffff, OrigEpoch: 0xffffffff})},
		{flows.CTLabel(flows.Label{Orig: 1, Resp: 2, OrigEpoch: 3, RespEpoch: 4}, flows.Label{Orig: 0xffffffff, Resp: 0xffffffff, OrigEpoch: 0xffffffff, RespEpoch: 0xffffffff})},
		{ip, flows.LaterFragment(), flows.Metadata(7)},
		{flows.RegHas(flows.RegPorts, 0x10000)},
		{ip, flows.CT(flows.CTTrk|flows.CTNew, 0), flows.Byte(flows.FieldCTNWProto, 6), flows.Addr(flows.FieldCTNWSrc, v4), flows.Prefix(flows.FieldCTNWDst, p4), flows.Port(flows.FieldCTTPSrc, 1, 0xffff), flows.Port(flows.FieldCTTPDst, 1024, 0xfc00)},
		{ip6, flows.CT(flows.CTTrk|flows.CTNew, 0), flows.Byte(flows.FieldCTNWProto, 17), flows.Prefix(flows.FieldCTIPv6Src, p6), flows.Addr(flows.FieldCTIPv6Dst, v6), flows.Port(flows.FieldCTTPDst, 53, 0xffff)},
	}
	for i := range 16 {
		matches = append(matches, []flows.Term{flows.RegIs(flows.FieldReg0+flows.Field(i), uint32(i+1))})
	}
	var fs []flows.Flow
	for i, ts := range matches {
		fs = append(fs, flow(flows.TableClassify, uint16(i), flows.NewMatch(ts...), -1))
		if len(ts) > 0 { // the default priority is not printed
			fs = append(fs, flow(flows.TableCopy, 0x8000, flows.NewMatch(ts...), -1))
		}
	}

	actions := [][]flows.Action{
		{flows.SetReg(flows.RegSrc, 0), flows.SetReg(flows.RegVPC, 0xfffffff0)},
		{flows.Load(flows.Low(flows.RegZone, 16), 0x1234), flows.Load(flows.Bits{Field: flows.RegZone, Offset: 16, N: 16}, 0)},
		{flows.LoadInPort(), flows.Normal()},
		{flows.Move(flows.Whole(flows.RegSrc), flows.Whole(flows.RegOrig)), flows.Move(flows.Low(flows.RegNetwork, 12), flows.Low(flows.FieldVLANVID, 12))},
		{flows.Output(3), flows.Output(flows.PortLocal)},
		{flows.OutputReg(flows.RegDst)},
		{flows.Resubmit(uint8(flows.TableCopy)), flows.CTClear()},
		{flows.Track(flows.Low(flows.RegZone, 16), uint8(flows.TableRole))},
	}
	for i, as := range actions {
		ip := flows.NewMatch(ip, flows.RegIs(flows.FieldReg0+flows.Field(1), uint32(i)), flows.Tagged())
		fs = append(fs, flow(flows.TableDispatch, 10, ip, -1, as...), flow(flows.TableDispatch, 11, ip, int(flows.TableTrack), as...))
	}
	tagged, plain := flows.NewMatch(flows.VLAN(7)), flows.NewMatch(ip)
	fs = append(fs,
		flow(flows.TableDeliver, 1, tagged, -1, flows.PopVLAN(), flows.Output(1)),
		flow(flows.TableDeliver, 2, flows.NewMatch(flows.Untagged()), -1, flows.PushVLAN(), flows.Move(flows.Low(flows.RegNetwork, 12), flows.Low(flows.FieldVLANVID, 12)), flows.Output(1)),
		flow(flows.TableCommit, 1, plain, int(flows.TableDeliver), flows.Commit(flows.Low(flows.RegZone, 16), flows.Move(flows.Whole(flows.FieldXXReg1), flows.Whole(flows.FieldCTLabel)))),
		flow(flows.TableCommit, 0, flows.NewMatch(), int(flows.TableDeliver)),
		flow(flows.TableEgressRules, 100, flows.NewMatch(ip, flows.CT(flows.CTTrk|flows.CTNew, 0), flows.Addr(flows.FieldCTNWDst, v4)), -1,
			conjunction(7, 1, 2), conjunction(0xfffffff1, 3, 3)),
	)
	return setOf(fs...)
}

func conjunction(id uint32, k, n uint8) flows.Action {
	a := flows.Action{0xff, 0xff, 0, 16, 0, 0, 0x23, 0x20, 0, 34, k - 1, n}
	return binary.BigEndian.AppendUint32(a, id)
}

func TestApplyThenDumpGivesTheSame(t *testing.T) {
	o, c := dummy(t)
	ctx := testContext(t)
	want := everything()
	if err := c.Apply(ctx, flows.Diff(want, &flows.Set{})); err != nil {
		t.Fatal(err)
	}
	have, err := c.Dump(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := flows.Diff(want, have); !d.Empty() {
		t.Errorf("dumped flows differ:\n%s", d)
	}
	text, err := o.DumpFlows()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range want.Sorted() {
		lines = append(lines, f.String())
	}
	if mine := testbed.SortFlows(strings.Join(lines, "\n")); mine != text {
		t.Errorf("text differs:\n%s", diffLines(mine, text))
	}

	before := xids(c.s)
	if err := c.Apply(ctx, flows.Diff(want, have)); err != nil {
		t.Fatal(err)
	}
	if after := xids(c.s); after != before {
		t.Errorf("a second apply sent %d messages", after-before)
	}
	if err := c.Apply(ctx, flows.Diff(&flows.Set{}, have)); err != nil {
		t.Fatal(err)
	}
	if text, err = o.DumpFlows(); err != nil || text != "" {
		t.Errorf("left behind: %q, %v", text, err)
	}
}

func diffLines(mine, theirs string) string {
	a, b := strings.Split(mine, "\n"), strings.Split(theirs, "\n")
	var out strings.Builder
	for _, l := range a {
		if !slices.Contains(b, l) {
			fmt.Fprintln(&out, "ours:  ", l)
		}
	}
	for _, l := range b {
		if !slices.Contains(a, l) {
			fmt.Fprintln(&out, "theirs:", l)
		}
	}
	return out.String()
}
