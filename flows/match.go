package flows

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"github.com/ovs-sg/ovs-sg/policy"
)

// Ethernet types.
const (
	EthTypeIPv4 = 0x0800
	EthTypeARP  = 0x0806
	EthTypeRARP = 0x8035
	EthTypeIPv6 = 0x86dd
)

// IP protocol numbers.
const (
	ProtoICMP   = 1
	ProtoIGMP   = 2
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// vlanPresent is the bit of OXM_OF_VLAN_VID that is set if the frame has a tag.
const vlanPresent = 0x1000

// Match is what a flow matches: a string of OXM TLVs in the order of Field,
// at most one for a field. It is comparable, and equal exactly if the two
// match the same. The zero Match matches everything.
type Match struct{ oxm string }

// OXM returns the wire form, without the header of ofp_match.
func (m Match) OXM() string { return m.oxm }

// Term is one field of a match.
type Term struct {
	field       Field
	value, mask []byte // mask nil: exact
}

// Contradicts reports whether no packet matches both terms, because they ask for
// different values of the same field. Terms with a mask never contradict.
func (t Term) Contradicts(o Term) bool {
	return t.field == o.field && t.mask == nil && o.mask == nil && !bytes.Equal(t.value, o.value)
}

// NewMatch returns the match with all of the terms. A later term for a field
// replaces an earlier one; a term whose mask is all zero is left out.
func NewMatch(terms ...Term) Match {
	ts := make([]Term, 0, len(terms))
	for _, t := range terms {
		i := sort.Search(len(ts), func(i int) bool { return ts[i].field >= t.field })
		switch {
		case i < len(ts) && ts[i].field == t.field:
			ts[i] = t
		default:
			ts = append(ts, Term{})
			copy(ts[i+1:], ts[i:])
			ts[i] = t
		}
	}
	var b []byte
	for _, t := range ts {
		b = t.append(b)
	}
	return Match{string(b)}
}

func (t Term) append(b []byte) []byte {
	h := fields[t.field].header
	switch {
	case t.mask == nil || allBytes(t.mask, 0xff):
		return append(binary.BigEndian.AppendUint32(b, h), t.value...)
	case allBytes(t.mask, 0):
		return b
	}
	size := h & 0xff
	b = binary.BigEndian.AppendUint32(b, h&^0xff|0x100|2*size)
	for i, v := range t.value {
		b = append(b, v&t.mask[i])
	}
	return append(b, t.mask...)
}

func allBytes(b []byte, v byte) bool {
	for _, x := range b {
		if x != v {
			return false
		}
	}
	return true
}

func term16(f Field, v uint16) Term {
	return Term{field: f, value: binary.BigEndian.AppendUint16(nil, v)}
}

func term32(f Field, v uint32) Term {
	return Term{field: f, value: binary.BigEndian.AppendUint32(nil, v)}
}

// RegIs matches the whole of a register.
func RegIs(reg Field, v uint32) Term { return term32(reg, v) }

// RegHas matches the registers in which all bits of v are set.
func RegHas(reg Field, v uint32) Term {
	b := binary.BigEndian.AppendUint32(nil, v)
	return Term{reg, b, b}
}

// RegLacks matches the registers in which no bit of v is set.
func RegLacks(reg Field, v uint32) Term {
	return Term{reg, make([]byte, 4), binary.BigEndian.AppendUint32(nil, v)}
}

// Metadata matches the metadata field, which counts the parts of a long list of
// flooded copies.
func Metadata(v uint64) Term {
	return Term{field: FieldMetadata, value: binary.BigEndian.AppendUint64(nil, v)}
}

// ConjID matches the packets that satisfied a conjunction.
func ConjID(id uint32) Term { return term32(FieldConjID, id) }

// InPort matches the port a packet came in at.
func InPort(p uint32) Term { return term32(FieldInPort, p) }

// EthType matches the Ethernet type.
func EthType(t uint16) Term { return term16(FieldEthType, t) }

// EthSrc matches the source MAC.
func EthSrc(m policy.MAC) Term { return Term{field: FieldEthSrc, value: m[:]} }

// EthDst matches the destination MAC.
func EthDst(m policy.MAC) Term { return Term{field: FieldEthDst, value: m[:]} }

// Multicast matches destination MACs with the group bit, broadcast included.
func Multicast() Term {
	return Term{FieldEthDst, []byte{1, 0, 0, 0, 0, 0}, []byte{1, 0, 0, 0, 0, 0}}
}

// Reserved matches frames to the addresses 01:80:c2:00:00:00 to 0f, which bridges
// do not forward.
func Reserved() Term {
	return Term{FieldEthDst, []byte{1, 0x80, 0xc2, 0, 0, 0}, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xf0}}
}

// Untagged matches frames without a VLAN tag.
func Untagged() Term { return term16(FieldVLANVID, 0) }

// NoVLAN matches frames without a VLAN tag and frames with a priority tag, the VLAN
// of which is 0 (IEEE 802.1Q, 6.9).
func NoVLAN() Term { return Term{FieldVLANVID, []byte{0, 0}, []byte{0x0f, 0xff}} }

// VLAN matches frames tagged with the VLAN vid.
func VLAN(vid uint16) Term { return term16(FieldVLANVID, vlanPresent|vid) }

// Tagged matches frames with a VLAN tag.
func Tagged() Term {
	return Term{FieldVLANVID, []byte{0x10, 0}, []byte{0x10, 0}}
}

// IPProto matches the protocol or next header; the match must have EthType too.
func IPProto(p uint8) Term { return Term{field: FieldIPProto, value: []byte{p}} }

// MAC matches one of the MAC fields of ARP and neighbour discovery.
func MAC(f Field, m policy.MAC) Term { return Term{field: f, value: m[:]} }

// Addr matches one of the address fields, which must be of a's family.
func Addr(f Field, a netip.Addr) Term { return Term{field: f, value: a.AsSlice()} }

// Prefix matches one of the address fields, which must be of p's family. A
// prefix of length 0 matches everything.
func Prefix(f Field, p netip.Prefix) Term {
	v := p.Addr().AsSlice()
	return Term{f, v, prefixMask(p.Bits(), len(v))}
}

// Port matches one of the L4 port fields; mask 0xffff is exact.
func Port(f Field, value, mask uint16) Term {
	return Term{f, binary.BigEndian.AppendUint16(nil, value), binary.BigEndian.AppendUint16(nil, mask)}
}

// Byte matches one of the fields of one byte.
func Byte(f Field, v uint8) Term { return Term{field: f, value: []byte{v}} }

// Fragment matches every fragment of a packet.
func Fragment() Term { return Term{FieldIPFrag, []byte{fragAny}, []byte{fragAny}} }

// Unfragmented matches the packets that are no fragments.
func Unfragmented() Term { return Byte(FieldIPFrag, 0) }

// LaterFragment matches every fragment of a packet but the first.
func LaterFragment() Term { return Byte(FieldIPFrag, fragAny|fragLater) }

// ARPOp matches the operation of ARP and RARP.
func ARPOp(op uint16) Term { return term16(FieldARPOp, op) }

// CT matches connection tracking state: the bits in set must be 1, the bits in
// clear 0.
func CT(set, clear CTState) Term {
	return Term{FieldCTState, binary.BigEndian.AppendUint32(nil, uint32(set)),
		binary.BigEndian.AppendUint32(nil, uint32(set|clear))}
}

// Label is the ct_label of a connection, as RegOrig to RegRespEpoch hold it.
type Label struct{ Orig, Resp, OrigEpoch, RespEpoch uint32 }

// String returns the label as one number.
func (l Label) String() string { return hex128(l.bytes()) }

func (l Label) bytes() []byte {
	b := binary.BigEndian.AppendUint32(nil, l.Orig)
	b = binary.BigEndian.AppendUint32(b, l.Resp)
	b = binary.BigEndian.AppendUint32(b, l.OrigEpoch)
	return binary.BigEndian.AppendUint32(b, l.RespEpoch)
}

// CTLabel matches the parts of ct_label in which mask has ones.
func CTLabel(value, mask Label) Term {
	return Term{FieldCTLabel, value.bytes(), mask.bytes()}
}

// ParseMatch reads OXM TLVs as the switch sends them and puts them in order.
// Fields that the pipeline does not use are kept as they are, behind the others, so
// that a foreign flow can be shown and deleted. Errors: a TLV that is cut off.
func ParseMatch(oxm []byte) (Match, error) {
	type tlv struct {
		rank int
		b    []byte
	}
	var ts []tlv
	sorted := true
	for rest := oxm; len(rest) > 0; {
		if len(rest) < 4 {
			return Match{}, fmt.Errorf("parse match: %d bytes where an OXM header is due", len(rest))
		}
		n := 4 + int(rest[3])
		if len(rest) < n {
			return Match{}, fmt.Errorf("parse match: OXM %#x is cut off", rest[:4])
		}
		t := tlv{int(numFields), rest[:n]}
		if f, _, ok := splitOXM(rest[:n]); ok {
			t.rank = int(f)
		}
		sorted = sorted && (len(ts) == 0 || ts[len(ts)-1].rank <= t.rank)
		ts, rest = append(ts, t), rest[n:]
	}
	if sorted {
		return Match{string(oxm)}, nil
	}
	sort.SliceStable(ts, func(i, j int) bool { return ts[i].rank < ts[j].rank })
	b := make([]byte, 0, len(oxm))
	for _, t := range ts {
		b = append(b, t.b...)
	}
	return Match{string(b)}, nil
}

// splitOXM finds the field of a whole TLV and whether it has a mask.
func splitOXM(b []byte) (f Field, masked, ok bool) {
	h := binary.BigEndian.Uint32(b)
	if masked = h&0x100 != 0; masked {
		h = h&^0x1ff | h&0xff/2
	}
	f, ok = byHeader[h]
	return f, masked, ok && len(b) == 4+f.size()*(1+b2i(masked))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// terms takes a match apart. TLVs of unknown fields are returned whole.
func (m Match) terms() (ts []Term, unknown [][]byte) {
	for rest := []byte(m.oxm); len(rest) > 0; {
		b := rest[:4+int(rest[3])]
		rest = rest[len(b):]
		f, masked, ok := splitOXM(b)
		switch n := f.size(); {
		case !ok:
			unknown = append(unknown, b)
		case masked:
			ts = append(ts, Term{f, b[4 : 4+n], b[4+n:]})
		default:
			ts = append(ts, Term{field: f, value: b[4:]})
		}
	}
	return ts, unknown
}

// Label returns the ct_label that is matched, and its mask; ok is false if the
// match has no ct_label.
func (m Match) Label() (value, mask Label, ok bool) {
	of := func(b []byte) Label {
		return Label{uint32(be(b[:4])), uint32(be(b[4:8])), uint32(be(b[8:12])), uint32(be(b[12:16]))}
	}
	ts, _ := m.terms()
	for _, t := range ts {
		if t.field != FieldCTLabel {
			continue
		}
		if t.mask == nil {
			t.mask = bytes.Repeat([]byte{0xff}, 16)
		}
		return of(t.value), of(t.mask), true
	}
	return Label{}, Label{}, false
}

// Addr returns the address that one of the address fields must have exactly; ok
// is false if the match leaves bits of it open.
func (m Match) Addr(f Field) (a netip.Addr, ok bool) {
	ts, _ := m.terms()
	for _, t := range ts {
		if t.field == f && t.mask == nil {
			return netip.AddrFromSlice(t.value)
		}
	}
	return netip.Addr{}, false
}

// Get returns the value and the mask (all ones if exact) of a field of at
// most 8 bytes.
func (m Match) Get(f Field) (value, mask uint64, ok bool) {
	ts, _ := m.terms()
	for _, t := range ts {
		if t.field != f {
			continue
		}
		if t.mask == nil {
			return be(t.value), 1<<(8*len(t.value)) - 1, true
		}
		return be(t.value), be(t.mask), true
	}
	return 0, 0, false
}

// String returns the text of ovs-ofctl, without the priority: fields separated by
// commas, in the order of match_format in Open vSwitch's lib/match.c.
func (m Match) String() string {
	ts, unknown := m.terms()
	ethType, proto := -1, -1
	for _, t := range ts {
		switch t.field {
		case FieldEthType:
			ethType = int(be(t.value))
		case FieldIPProto:
			proto = int(be(t.value))
		}
	}
	word, covers := protocolWord(ethType, proto)
	sort.SliceStable(ts, func(i, j int) bool { return fields[ts[i].field].rank < fields[ts[j].field].rank })
	var out []string
	for _, t := range ts {
		switch {
		case t.field == FieldEthType:
			out = append(out, word)
		case t.field == FieldIPProto && covers:
		default:
			s := fields[t.field]
			out = append(out, s.format(s.name, t.value, t.mask))
		}
	}
	for _, b := range unknown {
		out = append(out, fmt.Sprintf("oxm=0x%x", b))
	}
	return strings.Join(out, ",")
}

// protocolWord returns the word that Open vSwitch prints for an Ethernet type and
// an IP protocol (-1: none). coversProto says whether the word tells the protocol
// too.
func protocolWord(ethType, proto int) (word string, coversProto bool) {
	switch ethType {
	case EthTypeIPv4:
		if w, ok := map[int]string{ProtoICMP: "icmp", ProtoTCP: "tcp", ProtoUDP: "udp", ProtoSCTP: "sctp"}[proto]; ok {
			return w, true
		}
		return "ip", false
	case EthTypeIPv6:
		if w, ok := map[int]string{ProtoICMPv6: "icmp6", ProtoTCP: "tcp6", ProtoUDP: "udp6", ProtoSCTP: "sctp6"}[proto]; ok {
			return w, true
		}
		return "ipv6", false
	case EthTypeARP:
		return "arp", false
	case EthTypeRARP:
		return "rarp", false
	}
	return fmt.Sprintf("dl_type=0x%04x", ethType), false
}
