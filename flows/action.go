package flows

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// OpenFlow 1.4 port numbers with a meaning of their own.
const (
	PortLocal  uint32 = 0xfffffffe
	portNormal uint32 = 0xfffffffa
)

// portController16 is OFPP_CONTROLLER as the 16-bit in_port that actions can set:
// the port of packets that a controller sends. NORMAL learns no MAC from it.
const portController16 = 0xfffd

// Actions is what a flow does: OpenFlow 1.4 instructions in wire form, at
// most one Apply-Actions and one Goto-Table, in this order. Comparable, and
// equal exactly if the two do the same. The zero Actions drop.
type Actions struct{ wire string }

// Wire returns the wire form.
func (a Actions) Wire() string { return a.wire }

const (
	instructionGoto  = 1
	instructionApply = 4
	actionOutput     = 0
	actionPushVLAN   = 17
	actionPopVLAN    = 18
	actionSetField   = 25
	actionExperiment = 0xffff
	niciraVendor     = 0x00002320
	nxMove           = 6
	nxLoad           = 7
	nxResubmitTable  = 14
	nxOutputReg      = 15
	nxConjunction    = 34
	nxCT             = 35
	nxCTClear        = 43
)

// Drop, in place of the next table, ends the way of a packet through the tables:
// the switch drops the packet unless an action outputs it.
const Drop = -1

// Action is one action in wire form.
type Action []byte

// NewActions makes instructions from actions and, unless next is [Drop], a
// goto_table.
func NewActions(next int, as ...Action) Actions {
	var b []byte
	n := 0
	for _, a := range as {
		n += len(a)
	}
	if n > 0 {
		b = binary.BigEndian.AppendUint16(b, instructionApply)
		b = binary.BigEndian.AppendUint16(b, uint16(8+n))
		b = append(b, 0, 0, 0, 0)
		for _, a := range as {
			b = append(b, a...)
		}
	}
	if next >= 0 {
		b = append(b, 0, instructionGoto, 0, 8, byte(next), 0, 0, 0)
	}
	return Actions{string(b)}
}

// ParseActions reads instructions as the switch sends them. Errors: lengths
// that do not add up.
func ParseActions(wire []byte) (Actions, error) {
	for rest := wire; len(rest) > 0; {
		if len(rest) < 8 {
			return Actions{}, fmt.Errorf("parse actions: %d bytes where an instruction is due", len(rest))
		}
		n := int(binary.BigEndian.Uint16(rest[2:]))
		if n < 8 || n > len(rest) {
			return Actions{}, fmt.Errorf("parse actions: an instruction of %d bytes where %d are left", n, len(rest))
		}
		if binary.BigEndian.Uint16(rest) == instructionApply {
			if err := checkActions(rest[8:n]); err != nil {
				return Actions{}, err
			}
		}
		rest = rest[n:]
	}
	return Actions{string(wire)}, nil
}

func checkActions(b []byte) error {
	for len(b) > 0 {
		if len(b) < 8 {
			return fmt.Errorf("parse actions: %d bytes where an action is due", len(b))
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n%8 != 0 || n > len(b) {
			return fmt.Errorf("parse actions: an action of %d bytes where %d are left", n, len(b))
		}
		b = b[n:]
	}
	return nil
}

func action(kind uint16, body ...byte) Action {
	n := (4 + len(body) + 7) / 8 * 8
	a := make(Action, n)
	binary.BigEndian.PutUint16(a, kind)
	binary.BigEndian.PutUint16(a[2:], uint16(n))
	copy(a[4:], body)
	return a
}

func nicira(subtype uint16, body ...byte) Action {
	b := binary.BigEndian.AppendUint32(nil, niciraVendor)
	b = binary.BigEndian.AppendUint16(b, subtype)
	return action(actionExperiment, append(b, body...)...)
}

// Bits is a range of bits of a field.
type Bits struct {
	Field  Field
	Offset int
	N      int
}

// Whole returns all bits of a field.
func Whole(f Field) Bits {
	if f == FieldVLANVID {
		return Bits{f, 0, 12} // without the flag for the presence of a tag
	}
	return Bits{f, 0, 8 * f.size()}
}

// Low returns the lowest n bits of a field.
func Low(f Field, n int) Bits { return Bits{f, 0, n} }

func (b Bits) ofsNBits() uint16 { return uint16(b.Offset<<6 | b.N - 1) }

func (b Bits) String() string {
	s := fields[b.Field].nxm
	switch {
	case b == Whole(b.Field):
		return s + "[]"
	case b.N == 1:
		return s + "[" + strconv.Itoa(b.Offset) + "]"
	}
	return s + "[" + strconv.Itoa(b.Offset) + ".." + strconv.Itoa(b.Offset+b.N-1) + "]"
}

// SetReg sets the whole of a register.
func SetReg(reg Field, v uint32) Action {
	b := binary.BigEndian.AppendUint32(nil, fields[reg].header)
	return action(actionSetField, binary.BigEndian.AppendUint32(b, v)...)
}

// Load sets some bits of a field.
func Load(dst Bits, v uint64) Action {
	b := binary.BigEndian.AppendUint16(nil, dst.ofsNBits())
	b = binary.BigEndian.AppendUint32(b, fields[dst.Field].header)
	return nicira(nxLoad, binary.BigEndian.AppendUint64(b, v)...)
}

// nxmInPort is NXM_OF_IN_PORT, which only actions use.
var nxmInPort = header(classNXM0, 0, 2)

// LoadInPort sets in_port to the controller's, so that the actions behind it take
// the packet for one that the controller sent.
func LoadInPort() Action {
	b := []byte{0, 15}
	b = binary.BigEndian.AppendUint32(b, nxmInPort)
	return nicira(nxLoad, binary.BigEndian.AppendUint64(b, portController16)...)
}

// Move copies bits of a field to another.
func Move(src, dst Bits) Action {
	b := binary.BigEndian.AppendUint16(nil, uint16(src.N))
	b = binary.BigEndian.AppendUint16(b, uint16(src.Offset))
	b = binary.BigEndian.AppendUint16(b, uint16(dst.Offset))
	b = binary.BigEndian.AppendUint32(b, fields[src.Field].header)
	return nicira(nxMove, binary.BigEndian.AppendUint32(b, fields[dst.Field].header)...)
}

// Output sends the packet to a port.
func Output(port uint32) Action {
	return action(actionOutput, append(binary.BigEndian.AppendUint32(nil, port), 0, 0)...)
}

// Normal hands the packet to the switch's own forwarding.
func Normal() Action { return Output(portNormal) }

// OutputReg sends the packet to the port whose number is in a register.
func OutputReg(reg Field) Action {
	b := binary.BigEndian.AppendUint16(nil, Whole(reg).ofsNBits())
	b = binary.BigEndian.AppendUint32(b, fields[reg].header)
	return nicira(nxOutputReg, append(b, 0xff, 0xff, 0, 0, 0, 0, 0, 0)...)
}

// PushVLAN adds an empty 802.1Q tag.
func PushVLAN() Action { return action(actionPushVLAN, 0x81, 0) }

// PopVLAN removes the outer tag; the flow must match Tagged or VLAN.
func PopVLAN() Action { return action(actionPopVLAN) }

// Resubmit looks the packet up in another table, then goes on with the next action.
func Resubmit(table uint8) Action { return nicira(nxResubmitTable, 0xff, 0xf8, table, 0, 0, 0) }

// CTClear forgets the connection tracking state of the packet.
func CTClear() Action { return nicira(nxCTClear) }

// Track sends the packet through connection tracking in the zone that zone
// holds, and on to a table.
func Track(zone Bits, table uint8) Action { return ct(0, zone, table) }

// Commit commits the connection in the zone that zone holds; the actions exec
// change the connection's entry.
func Commit(zone Bits, exec ...Action) Action { return ct(1, zone, 0xff, exec...) }

// CommitTrack is Commit, after which the packet is tracked anew and goes on in a
// table.
func CommitTrack(zone Bits, table uint8, exec ...Action) Action { return ct(1, zone, table, exec...) }

func ct(flags uint16, zone Bits, table uint8, exec ...Action) Action {
	b := binary.BigEndian.AppendUint16(nil, flags)
	b = binary.BigEndian.AppendUint32(b, fields[zone.Field].header)
	b = binary.BigEndian.AppendUint16(b, zone.ofsNBits())
	b = append(b, table, 0, 0, 0, 0, 0)
	for _, a := range exec {
		b = append(b, a...)
	}
	return nicira(nxCT, b...)
}

// Conjunction is one clause of a conjunctive match: clause k of n, counted
// from 1 (ovs-actions(7)).
type Conjunction struct {
	ID   uint32
	K, N uint8
}

// Action returns the action that adds the clause to a flow.
func (c Conjunction) Action() Action {
	return nicira(nxConjunction, append([]byte{c.K - 1, c.N}, binary.BigEndian.AppendUint32(nil, c.ID)...)...)
}

func splitActions(b []byte) (as []Action) {
	for len(b) >= 8 {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 8 || n > len(b) {
			break
		}
		as, b = append(as, b[:n]), b[n:]
	}
	return as
}

// Reg returns the value that the actions set a register to; ok is false if they
// do not set it as a whole.
func (a Actions) Reg(reg Field) (v uint32, ok bool) {
	for rest := []byte(a.wire); len(rest) >= 8; rest = rest[binary.BigEndian.Uint16(rest[2:]):] {
		if binary.BigEndian.Uint16(rest) != instructionApply {
			continue
		}
		for _, x := range splitActions(rest[8:binary.BigEndian.Uint16(rest[2:])]) {
			if binary.BigEndian.Uint16(x) == actionSetField && len(x) == 16 && binary.BigEndian.Uint32(x[4:]) == fields[reg].header {
				v, ok = binary.BigEndian.Uint32(x[8:]), true
			}
		}
	}
	return v, ok
}

// String returns the text of ovs-ofctl -O OpenFlow14, behind "actions=".
func (a Actions) String() string {
	var out []string
	for rest := []byte(a.wire); len(rest) >= 8; {
		n := int(binary.BigEndian.Uint16(rest[2:]))
		switch binary.BigEndian.Uint16(rest) {
		case instructionApply:
			for _, x := range splitActions(rest[8:n]) {
				out = append(out, x.String())
			}
		case instructionGoto:
			out = append(out, "goto_table:"+strconv.Itoa(int(rest[4])))
		default:
			out = append(out, fmt.Sprintf("instruction=0x%x", rest[:n]))
		}
		rest = rest[n:]
	}
	if len(out) == 0 {
		return "drop"
	}
	return strings.Join(out, ",")
}

// String returns the text of ovs-ofctl -O OpenFlow14; an action the pipeline does
// not use is printed as its bytes.
func (a Action) String() string {
	if s, ok := a.text(); ok {
		return s
	}
	return fmt.Sprintf("action=0x%x", []byte(a))
}

func (a Action) text() (string, bool) {
	switch kind := binary.BigEndian.Uint16(a); {
	case kind == actionOutput && len(a) == 16:
		p := binary.BigEndian.Uint32(a[4:])
		if s := formatOFPort(p); p > 0xffffff00 {
			return s, true
		}
		return "output:" + formatOFPort(p), true
	case kind == actionPushVLAN:
		return fmt.Sprintf("push_vlan:0x%04x", binary.BigEndian.Uint16(a[4:])), true
	case kind == actionPopVLAN:
		return "pop_vlan", true
	case kind == actionSetField && len(a) == 16:
		f, ok := byHeader[binary.BigEndian.Uint32(a[4:])]
		return "set_field:" + hex(uint64(binary.BigEndian.Uint32(a[8:]))) + "->" + fields[f].name, ok
	case kind == actionExperiment && len(a) >= 16 && binary.BigEndian.Uint32(a[4:]) == niciraVendor:
		return a.niciraText()
	}
	return "", false
}

func bitsAt(h uint32, offset, n int) (Bits, bool) {
	f, ok := byHeader[h]
	return Bits{f, offset, n}, ok && fields[f].nxm != ""
}

func (a Action) niciraText() (string, bool) {
	subtype, u16, u32 := binary.BigEndian.Uint16(a[8:]), binary.BigEndian.Uint16, binary.BigEndian.Uint32
	switch {
	case subtype == nxCTClear:
		return "ct_clear", true
	case subtype == nxResubmitTable:
		return "resubmit(," + strconv.Itoa(int(a[12])) + ")", true
	case subtype == nxConjunction:
		return fmt.Sprintf("conjunction(%d,%d/%d)", u32(a[12:]), a[10]+1, a[11]), true
	case subtype == nxMove && len(a) == 24:
		src, ok1 := bitsAt(u32(a[16:]), int(u16(a[12:])), int(u16(a[10:])))
		dst, ok2 := bitsAt(u32(a[20:]), int(u16(a[14:])), int(u16(a[10:])))
		return "move:" + src.String() + "->" + dst.String(), ok1 && ok2
	case subtype == nxLoad && len(a) == 24:
		o, h, v := u16(a[10:]), u32(a[12:]), hex(be(a[16:24]))
		if h == nxmInPort {
			return "load:" + v + "->NXM_OF_IN_PORT[]", o == 15
		}
		dst, ok := bitsAt(h, int(o>>6), int(o&0x3f)+1)
		return "load:" + v + "->" + dst.String(), ok
	case subtype == nxOutputReg && len(a) == 24:
		o := u16(a[10:])
		src, ok := bitsAt(u32(a[12:]), int(o>>6), int(o&0x3f)+1)
		return "output:" + src.String(), ok
	case subtype == nxCT && len(a) >= 24:
		o := u16(a[16:])
		zone, ok := bitsAt(u32(a[12:]), int(o>>6), int(o&0x3f)+1)
		var in []string
		if u16(a[10:])&1 != 0 {
			in = append(in, "commit")
		}
		if a[18] != 0xff {
			in = append(in, "table="+strconv.Itoa(int(a[18])))
		}
		in = append(in, "zone="+zone.String())
		var exec []string
		for _, x := range splitActions(a[24:]) {
			exec = append(exec, x.String())
		}
		if exec != nil {
			in = append(in, "exec("+strings.Join(exec, ",")+")")
		}
		return "ct(" + strings.Join(in, ",") + ")", ok
	}
	return "", false
}
