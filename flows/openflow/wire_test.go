package openflow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/contiv/libOpenflow/openflow13"
	"github.com/ovs-sg/ovs-sg/flows"
)

// rawInstruction is a list of instructions in wire form.
type rawInstruction struct{ rawBytes }

func (rawInstruction) AddAction(openflow13.Action, bool) error { return errors.New("raw") }

// slowFlowMod has libOpenflow encode all of a flow-mod, field by field.
func slowFlowMod(t *testing.T, f flows.Flow, cmd Command, xid uint32) []byte {
	t.Helper()
	m := openflow13.NewFlowMod()
	m.TableId, m.Priority = uint8(f.Table), f.Priority
	for rest := []byte(f.Match.OXM()); len(rest) > 0; {
		n := 4 + int(rest[3])
		m.Match.AddField(openflow13.MatchField{
			Class:  binary.BigEndian.Uint16(rest),
			Field:  rest[2] >> 1,
			Length: rest[3],
			// The mask, where there is one, is the second half of the value.
			HasMask: rest[2]&1 != 0,
			Value:   rawBytes(rest[4:n]),
			Mask:    rawBytes(nil),
		})
		rest = rest[n:]
	}
	if m.Cookie = uint64(f.Cookie); cmd == Delete {
		m.Command = openflow13.FC_DELETE_STRICT
		m.Cookie, m.CookieMask = uint64(flows.CookieOwner), uint64(flows.CookieMask)
	} else if f.Actions.Wire() != "" {
		m.AddInstruction(rawInstruction{rawBytes(f.Actions.Wire())})
	}
	b, err := encode(m)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(b[4:], xid)
	return b
}

func TestFlowModsAreThoseOfLibOpenflow(t *testing.T) {
	enc, err := newFlowModEncoder(9)
	if err != nil {
		t.Fatal(err)
	}
	for f := range everything().All() {
		for _, cmd := range []Command{Delete, Add, Modify} {
			got, ok := enc.append(nil, f, cmd, 7)
			want := slowFlowMod(t, f, cmd, 7)
			if !ok || !bytes.Equal(got[bundleAddFixed:], want) {
				t.Errorf("%s %s:\n%x\n%x", cmd, f, got[bundleAddFixed:], want)
			}
			if int(binary.BigEndian.Uint16(got[2:])) != len(got) || !bytes.Equal(got[4:8], want[4:8]) {
				t.Errorf("%s: wrapper %x", f, got[:bundleAddFixed])
			}
		}
	}
}

func TestEncodeGuardsAgainstPanics(t *testing.T) {
	if _, err := encode(&openflow13.MultipartRequest{}); err == nil { // no body
		t.Error("no error")
	}
}

// encodeFlowStats returns an entry of a reply, as the switch sends it.
func encodeFlowStats(f flows.Flow) []byte {
	oxm, actions := f.Match.OXM(), f.Actions.Wire()
	pad := -(4 + len(oxm)) & 7
	n := flowStatsFixed + 4 + len(oxm) + pad + len(actions)
	b := make([]byte, flowStatsFixed)
	binary.BigEndian.PutUint16(b, uint16(n))
	b[2] = uint8(f.Table)
	binary.BigEndian.PutUint16(b[12:], f.Priority)
	binary.BigEndian.PutUint64(b[24:], uint64(f.Cookie))
	b = append(b, 0, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(oxm)))
	b = append(b, oxm...)
	b = append(b, make([]byte, pad)...)
	return append(b, actions...)
}

func TestDecodeFlowStats(t *testing.T) {
	want := everything()
	var part []byte
	for f := range want.All() {
		part = append(part, encodeFlowStats(f)...)
	}
	got := &flows.Set{}
	if err := decodeFlowStats(part, got.Put); err != nil {
		t.Fatal(err)
	}
	if d := flows.Diff(want, got); !d.Empty() {
		t.Errorf("differ:\n%s", d)
	}
}

func TestCTFlushBody(t *testing.T) {
	got := ctFlushBody(7, ctTupleDst, netip.MustParseAddr("10.0.0.2"))
	want := []byte{
		0, 0, 0, 0, 0, 0, 0, 0, // no protocol
		0, 0, 0, 32, 0, 0, 0, 0, // original tuple, nested
		0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2, 0, 0, 0, 0,
		0, 2, 0, 6, 0, 7, 0, 0,
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%x\n%x", got, want)
	}
}

func FuzzDecodeFlowStats(f *testing.F) {
	for fl := range everything().All() {
		f.Add(encodeFlowStats(fl))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		err := decodeFlowStats(b, func(fl flows.Flow) {
			n++
			_ = fl.String()
		})
		if n > len(b)/(flowStatsFixed+8) {
			t.Errorf("%d flows in %d bytes", n, len(b))
		}
		if err != nil && !errors.Is(err, ErrProtocol) {
			t.Error(err)
		}
	})
}

func FuzzDecodeError(f *testing.F) {
	f.Add([]byte{0, 2, 0, 9})
	f.Add([]byte{0xff, 0xff, 0, 2, 0, 0, 0x23, 0x20})
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeError(b); err == nil && e.Error() == "" {
			t.Error("no text")
		}
		for _, version := range []uint8{version10, version14} {
			if (&session{version: version}).switchError(b) == nil {
				t.Error("no error")
			}
		}
	})
}

func FuzzDecodePorts(f *testing.F) {
	port := make([]byte, 72)
	port[5], port[16] = 72, 'p'
	f.Add(port)
	f.Add(append(port, port...))
	f.Fuzz(func(t *testing.T, b []byte) {
		ports, err := decodePorts(nil, b)
		if err != nil && !errors.Is(err, ErrProtocol) || len(ports) > len(b)/40 {
			t.Errorf("%d ports, %v", len(ports), err)
		}
		configs := map[uint32]uint32{}
		if err := decodeConfigs10(configs, b); err == nil && len(configs) > len(b)/48 {
			t.Errorf("%d configs", len(configs))
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(uint8(6), []byte{0, 1, 0, 8, 0, 0, 0, 0x7e})
	f.Fuzz(func(t *testing.T, version uint8, elements []byte) {
		agrees(version, elements, version14)
	})
}
