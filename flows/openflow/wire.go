package openflow

import (
	"encoding/binary"
	"fmt"

	"github.com/contiv/libOpenflow/common"
	"github.com/contiv/libOpenflow/openflow13"
	"github.com/contiv/libOpenflow/util"
)

const (
	version10 = 1
	version14 = 5
	headerLen = 8
)

// Message types. Those of OpenFlow 1.0 that have another number end in 10.
const (
	typeHello          = openflow13.Type_Hello
	typeError          = openflow13.Type_Error
	typeEchoRequest    = openflow13.Type_EchoRequest
	typeEchoReply      = openflow13.Type_EchoReply
	typeGetConfig      = openflow13.Type_GetConfigRequest
	typeGetConfigReply = openflow13.Type_GetConfigReply
	typePacketIn       = openflow13.Type_PacketIn
	typeFlowRemoved    = openflow13.Type_FlowRemoved
	typePortStatus     = openflow13.Type_PortStatus
	typeMultipartReply = openflow13.Type_MultiPartReply
	typeBarrierRequest = openflow13.Type_BarrierRequest
	typeSetAsync       = openflow13.Type_SetAsync
	typeBundleControl  = 33
	typeBundleAdd      = 34

	typePortMod10        = 15
	typeStatsRequest10   = 16
	typeStatsReply10     = 17
	typeBarrierRequest10 = 18
)

// rawBytes is a part of a message that libOpenflow has no type for.
type rawBytes []byte

func (r rawBytes) Len() uint16                    { return uint16(len(r)) }
func (r rawBytes) MarshalBinary() ([]byte, error) { return r, nil }
func (r rawBytes) UnmarshalBinary([]byte) error   { return fmt.Errorf("decode: %w", ErrProtocol) }

// encode returns a message of libOpenflow in wire form, as a 1.4 message without
// xid. A panic of libOpenflow is an error.
func encode(m util.Message) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, fmt.Errorf("encode %T: %v", m, p)
		}
	}()
	if b, err = m.MarshalBinary(); err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	if len(b) < headerLen || len(b) != int(binary.BigEndian.Uint16(b[2:])) {
		return nil, fmt.Errorf("encode %T: wrong length %d", m, len(b))
	}
	b[0] = version14
	return b, nil
}

// rawMessage returns a message without xid.
func rawMessage(version, kind uint8, body []byte) []byte {
	b := make([]byte, headerLen, headerLen+len(body))
	b[0], b[1] = version, kind
	binary.BigEndian.PutUint16(b[2:], uint16(headerLen+len(body)))
	return append(b, body...)
}

func encodeHello(version uint8) ([]byte, error) {
	h, err := common.NewHello(int(version))
	if err != nil {
		return nil, err
	}
	h.Elements = nil
	if version > version10 { // 1.0 knows no elements
		bitmap := common.NewHelloElemVersionBitmap()
		bitmap.Bitmaps[0] = 1 << version
		h.Elements = []common.HelloElem{bitmap}
	}
	b, err := encode(h)
	if err == nil {
		b[0] = version
	}
	return b, err
}

// agrees reports whether a HELLO of the peer leads to the version, if that is the
// only version that this side offers.
func agrees(peer uint8, elements []byte, version uint8) bool {
	for len(elements) >= 4 {
		kind, n := binary.BigEndian.Uint16(elements), int(binary.BigEndian.Uint16(elements[2:]))
		if n < 4 || n > len(elements) {
			break
		}
		if kind == 1 && n >= 8 { // version bitmap
			return binary.BigEndian.Uint32(elements[4:])&(1<<version) != 0
		}
		elements = elements[min((n+7)/8*8, len(elements)):]
	}
	return peer >= version
}

// multipartRequest asks for statistics or descriptions.
func multipartRequest(kind uint16, body util.Message) ([]byte, error) {
	h := openflow13.NewOfp13Header()
	h.Type = openflow13.Type_MultiPartRequest
	return encode(&openflow13.MultipartRequest{Header: h, Type: kind, Body: body})
}

// flowStatsRequest asks for the flows of all tables whose cookie is cookie
// where mask is 1.
func flowStatsRequest(cookie, mask uint64) ([]byte, error) {
	body := openflow13.NewFlowStatsRequest()
	body.TableId = openflow13.OFPTT_ALL
	body.Cookie, body.CookieMask = cookie, mask
	return multipartRequest(openflow13.MultipartType_Flow, body)
}

// niciraMessage returns a message of Open vSwitch's own.
func niciraMessage(subtype uint32, body []byte) ([]byte, error) {
	m := openflow13.NewNXTVendorHeader(subtype)
	m.VendorData = rawBytes(body)
	return encode(m)
}

// setConfig keeps the switch's flags and sets miss_send_len.
func setConfig(flags, missSendLen uint16) ([]byte, error) {
	m := openflow13.NewSetConfig()
	m.Flags, m.MissSendLen = flags, missSendLen
	return encode(m)
}

// asyncConfig wants port status messages and nothing else. In OpenFlow 1.4 it
// is a list of properties, for the role of a slave and of an equal or master.
func asyncConfig() []byte {
	const allPortReasons = 7 // add, delete, modify
	var b []byte
	for kind := range uint16(6) { // packet-in, port status, flow-removed
		b = binary.BigEndian.AppendUint16(b, kind)
		b = binary.BigEndian.AppendUint16(b, 8)
		mask := uint32(0)
		if kind/2 == 1 {
			mask = allPortReasons
		}
		b = binary.BigEndian.AppendUint32(b, mask)
	}
	return rawMessage(version14, typeSetAsync, b)
}
