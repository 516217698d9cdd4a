package flows

import (
	"encoding/binary"
	"net/netip"
)

// AddrTemplate makes matches that differ in one address only, without encoding
// the rest of the match each time.
type AddrTemplate struct{ before, behind string }

// NewAddrTemplate takes the rest of the match from a match that has an exact
// address in the field, else it panics.
func NewAddrTemplate(like Match, f Field) AddrTemplate {
	at := 0
	for binary.BigEndian.Uint32([]byte(like.oxm[at:at+4])) != fields[f].header {
		at += 4 + int(like.oxm[at+3])
	}
	return AddrTemplate{like.oxm[:at+4], like.oxm[at+4+f.size():]}
}

// Match returns the match with another address of the same family.
func (t AddrTemplate) Match(a netip.Addr) Match {
	b := make([]byte, 0, 64)
	b = append(append(append(b, t.before...), a.AsSlice()...), t.behind...)
	return Match{string(b)}
}
