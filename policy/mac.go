package policy

import "errors"

// MAC is an Ethernet address. The zero value means none.
type MAC [6]byte

// ParseMAC reads six pairs of hexadecimal digits separated by ":" or "-", one
// separator throughout.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	if len(s) != 17 || (s[2] != ':' && s[2] != '-') {
		return MAC{}, errMAC
	}
	for i := range m {
		hi, ok1 := unhex(s[3*i])
		lo, ok2 := unhex(s[3*i+1])
		if !ok1 || !ok2 || (i < 5 && s[3*i+2] != s[2]) {
			return MAC{}, errMAC
		}
		m[i] = hi<<4 | lo
	}
	return m, nil
}

var errMAC = errors.New("not a MAC address such as 02:00:0a:00:01:0b")

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// String returns the address in lower case with colons.
func (m MAC) String() string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 17)
	for i, v := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[v>>4], digits[v&15])
	}
	return string(b)
}

// IsZero reports whether m is 00:00:00:00:00:00.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsMulticast reports whether m is a multicast or broadcast address.
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }
