package flows

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Field is a match field: an index into the table of the fields the pipeline
// uses, in the order in which Open vSwitch itself encodes them (nx_put_raw in
// its lib/nx-match.c). That order puts each field behind its prerequisites, as
// the OpenFlow 1.4 specification (7.2.3.6) asks. Names are those of ovs-fields(7).
type Field uint8

// The fields.
const (
	FieldConjID Field = iota
	FieldInPort
	FieldEthSrc
	FieldEthDst
	FieldEthType
	FieldVLANVID
	FieldIPSrc
	FieldIPDst
	FieldIPv6Src
	FieldIPv6Dst
	FieldIPFrag
	FieldIPTTL
	FieldIPProto
	FieldTCPSrc
	FieldTCPDst
	FieldUDPSrc
	FieldUDPDst
	FieldICMPType
	FieldICMPv6Type
	FieldNDTarget
	FieldNDSLL
	FieldNDTLL
	FieldARPOp
	FieldARPSPA
	FieldARPTPA
	FieldARPSHA
	FieldMetadata
	FieldReg0 // the 16 registers follow one another
	FieldReg1
	FieldReg2
	FieldReg3
	FieldReg4
	FieldReg5
	FieldReg6
	FieldReg7
	FieldReg8
	FieldReg9
	FieldReg10
	FieldReg11
	FieldReg12
	FieldReg13
	FieldReg14
	FieldReg15
	FieldXXReg1 // registers 4 to 7 as one, the first of them on top; for actions
	FieldCTState
	FieldCTZone
	FieldCTLabel
	FieldCTNWProto
	FieldCTNWSrc
	FieldCTNWDst
	FieldCTIPv6Src
	FieldCTIPv6Dst
	FieldCTTPSrc
	FieldCTTPDst
	numFields
)

const (
	classNXM0 = 0x0000 // NXM_OF_*
	classNXM1 = 0x0001 // NXM_NX_*
	classOXM  = 0x8000 // OpenFlow basic
)

// fieldSpec tells how a field is encoded and printed.
type fieldSpec struct {
	header uint32 // OXM header without mask: class<<16 | number<<9 | size
	name   string // in the text form
	nxm    string // name in move and load actions; empty if never used there
	rank   int    // place in the text form (match_format in Open vSwitch's lib/match.c)
	format func(name string, value, mask []byte) string
}

func header(class, number, size uint32) uint32 { return class<<16 | number<<9 | size }

var fields [numFields]fieldSpec

// byHeader finds a field by its header without the mask bit and with the
// size of its value alone.
var byHeader = map[uint32]Field{}

func init() {
	set := func(f Field, class, number, size uint32, name, nxm string, rank int, format func(string, []byte, []byte) string) {
		fields[f] = fieldSpec{header(class, number, size), name, nxm, rank, format}
		byHeader[fields[f].header] = f
	}
	set(FieldConjID, classNXM1, 37, 4, "conj_id", "", 1, formatDec)
	set(FieldCTState, classNXM1, 105, 4, "ct_state", "", 2, formatCTState)
	set(FieldCTZone, classNXM1, 106, 2, "ct_zone", "NXM_NX_CT_ZONE", 3, formatHex)
	set(FieldCTLabel, classNXM1, 108, 16, "ct_label", "NXM_NX_CT_LABEL", 4, formatLabel)
	set(FieldXXReg1, classNXM1, 112, 16, "xxreg1", "NXM_NX_XXREG1", 20, formatLabel)
	set(FieldCTNWSrc, classNXM1, 120, 4, "ct_nw_src", "", 5, formatAddr)
	set(FieldCTIPv6Src, classNXM1, 122, 16, "ct_ipv6_src", "", 6, formatAddr)
	set(FieldCTNWDst, classNXM1, 121, 4, "ct_nw_dst", "", 7, formatAddr)
	set(FieldCTIPv6Dst, classNXM1, 123, 16, "ct_ipv6_dst", "", 8, formatAddr)
	set(FieldCTNWProto, classNXM1, 119, 1, "ct_nw_proto", "", 9, formatDec)
	set(FieldCTTPSrc, classNXM1, 124, 2, "ct_tp_src", "", 10, formatPort)
	set(FieldCTTPDst, classNXM1, 125, 2, "ct_tp_dst", "", 11, formatPort)
	set(FieldEthType, classOXM, 5, 2, "dl_type", "", 12, nil) // printed with the protocol
	for i := Field(0); i < 16; i++ {
		n := strconv.Itoa(int(i))
		set(FieldReg0+i, classNXM1, uint32(i), 4, "reg"+n, "NXM_NX_REG"+n, 20+int(i), formatHex)
	}
	set(FieldMetadata, classOXM, 2, 8, "metadata", "OXM_OF_METADATA", 39, formatHex)
	set(FieldInPort, classOXM, 0, 4, "in_port", "", 40, formatInPort)
	set(FieldVLANVID, classOXM, 6, 2, "vlan_vid", "OXM_OF_VLAN_VID", 41, formatVLAN)
	set(FieldEthSrc, classOXM, 4, 6, "dl_src", "", 42, formatMAC)
	set(FieldEthDst, classOXM, 3, 6, "dl_dst", "", 43, formatMAC)
	set(FieldIPSrc, classOXM, 11, 4, "nw_src", "", 44, formatAddr)
	set(FieldIPDst, classOXM, 12, 4, "nw_dst", "", 45, formatAddr)
	set(FieldIPv6Src, classOXM, 26, 16, "ipv6_src", "", 44, formatAddr)
	set(FieldIPv6Dst, classOXM, 27, 16, "ipv6_dst", "", 45, formatAddr)
	set(FieldARPSPA, classOXM, 22, 4, "arp_spa", "", 44, formatAddr)
	set(FieldARPTPA, classOXM, 23, 4, "arp_tpa", "", 45, formatAddr)
	set(FieldIPProto, classOXM, 10, 1, "nw_proto", "", 46, formatDec)
	set(FieldIPFrag, classNXM1, 26, 1, "nw_frag", "", 47, formatFrag)
	set(FieldIPTTL, classNXM1, 29, 1, "nw_ttl", "", 48, formatDec)
	set(FieldARPOp, classOXM, 21, 2, "arp_op", "", 46, formatDec)
	set(FieldARPSHA, classOXM, 24, 6, "arp_sha", "", 47, formatMAC)
	set(FieldTCPSrc, classOXM, 13, 2, "tp_src", "", 50, formatPort)
	set(FieldTCPDst, classOXM, 14, 2, "tp_dst", "", 51, formatPort)
	set(FieldUDPSrc, classOXM, 15, 2, "tp_src", "", 50, formatPort)
	set(FieldUDPDst, classOXM, 16, 2, "tp_dst", "", 51, formatPort)
	set(FieldICMPType, classOXM, 19, 1, "icmp_type", "", 50, formatDec)
	set(FieldICMPv6Type, classOXM, 29, 1, "icmp_type", "", 50, formatDec)
	set(FieldNDTarget, classOXM, 31, 16, "nd_target", "", 52, formatAddr)
	set(FieldNDSLL, classOXM, 32, 6, "nd_sll", "", 53, formatMAC)
	set(FieldNDTLL, classOXM, 33, 6, "nd_tll", "", 54, formatMAC)
}

func (f Field) size() int { return int(fields[f].header & 0xff) }

// be reads up to eight bytes, big-endian.
func be(b []byte) uint64 {
	var v uint64
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

// hex prints as C's "%#x" does: zero has no prefix.
func hex(v uint64) string {
	if v == 0 {
		return "0"
	}
	return "0x" + strconv.FormatUint(v, 16)
}

func formatHex(name string, v, m []byte) string {
	if m != nil {
		return name + "=" + hex(be(v)) + "/" + hex(be(m))
	}
	return name + "=" + hex(be(v))
}

func formatDec(name string, v, m []byte) string {
	if m != nil {
		return formatHex(name, v, m)
	}
	return name + "=" + strconv.FormatUint(be(v), 10)
}

// formatLabel prints a field of 16 bytes as one number.
func formatLabel(name string, v, m []byte) string {
	if m != nil {
		return name + "=" + hex128(v) + "/" + hex128(m)
	}
	return name + "=" + hex128(v)
}

func hex128(b []byte) string { return "0x" + new(big.Int).SetBytes(b).Text(16) }

// formatPort prints an L4 port: decimal, or hexadecimal with a mask.
func formatPort(name string, v, m []byte) string {
	if m != nil {
		return fmt.Sprintf("%s=0x%x/0x%x", name, be(v), be(m))
	}
	return formatDec(name, v, nil)
}

func formatInPort(name string, v, _ []byte) string {
	return name + "=" + formatOFPort(uint32(be(v)))
}

// formatOFPort prints a port number as Open vSwitch does.
func formatOFPort(p uint32) string {
	switch p {
	case PortLocal:
		return "LOCAL"
	case portNormal:
		return "NORMAL"
	}
	return strconv.FormatUint(uint64(p), 10)
}

// formatVLAN prints what Open vSwitch makes of OXM_OF_VLAN_VID: its own
// vlan_tci where that says more.
func formatVLAN(_ string, v, m []byte) string {
	vid := be(v)
	switch {
	case m == nil && vid == 0:
		return "vlan_tci=0x0000/0x1fff"
	case m == nil && vid&vlanPresent != 0:
		return "dl_vlan=" + strconv.FormatUint(vid&0xfff, 10)
	case m == nil:
		return fmt.Sprintf("vlan_tci=0x%04x/0x1fff", vid)
	}
	return fmt.Sprintf("vlan_tci=0x%04x/0x%04x", vid, be(m))
}

// The bits of nw_frag (ovs-fields(7)).
const (
	fragAny   = 1
	fragLater = 2
)

// formatFrag prints the words of ovs-fields(7) for nw_frag.
func formatFrag(name string, v, m []byte) string {
	if m == nil {
		m = []byte{fragAny | fragLater}
	}
	word, ok := map[[2]byte]string{
		{0, 3}: "no", {1, 1}: "yes", {1, 3}: "first", {3, 3}: "later", {0, 2}: "not_later",
	}[[2]byte{v[0], m[0]}]
	if !ok {
		return formatHex(name, v, m)
	}
	return name + "=" + word
}

func formatMAC(name string, v, m []byte) string {
	s := name + "=" + policy.MAC(v).String()
	if m != nil {
		s += "/" + policy.MAC(m).String()
	}
	return s
}

func formatAddr(name string, v, m []byte) string {
	a, _ := netip.AddrFromSlice(v)
	s := name + "=" + a.String()
	if m == nil {
		return s
	}
	if n, ok := prefixLen(m); ok {
		return s + "/" + strconv.Itoa(n)
	}
	a, _ = netip.AddrFromSlice(m)
	return s + "/" + a.String()
}

// prefixLen returns the number of leading ones of a mask; ok is false if the mask
// has other ones.
func prefixLen(mask []byte) (int, bool) {
	n := 0
	for n < 8*len(mask) && mask[n/8]>>(7-n%8)&1 == 1 {
		n++
	}
	for i := n; i < 8*len(mask); i++ {
		if mask[i/8]>>(7-i%8)&1 == 1 {
			return 0, false
		}
	}
	return n, true
}

// prefixMask returns a mask of size bytes whose leading bits are ones.
func prefixMask(bits, size int) []byte {
	m := make([]byte, size)
	for i := 0; i < bits; i++ {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// CTState is a set of ct_state bits (ovs-fields(7)).
type CTState uint32

// The ct_state bits the pipeline looks at.
const (
	CTNew CTState = 1 << iota
	CTEst
	CTRel
	CTRpl
	CTInv
	CTTrk
)

var ctStateNames = []string{"new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"}

func formatCTState(name string, v, m []byte) string {
	value, mask := binary.BigEndian.Uint32(v), uint32(0xff)
	if m != nil {
		mask = binary.BigEndian.Uint32(m)
	}
	var b strings.Builder
	b.WriteString(name + "=")
	for i, n := range ctStateNames {
		switch bit := uint32(1) << i; {
		case mask&bit == 0:
		case value&bit != 0:
			b.WriteString("+" + n)
		default:
			b.WriteString("-" + n)
		}
	}
	return b.String()
}
