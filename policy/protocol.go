package policy

import (
	"strconv"
	"strings"
)

// Protocol is the protocol of a rule.
type Protocol uint8

// The protocols. The zero value is All, which is also what a rule without
// protocol means.
const (
	// All is every IP protocol.
	All Protocol = iota
	// TCP is IP protocol 6.
	TCP
	// UDP is IP protocol 17.
	UDP
	// ICMP is IP protocol 1 over IPv4 and 58 over IPv6.
	ICMP
)

// protocols describes every Protocol. A protocol is added to the language by a
// constant above and a row here.
var protocols = [...]struct {
	name       string // as the manifests write it
	ipv4, ipv6 uint8  // IP protocol numbers; 0 for All
	hasPorts   bool
}{
	All:  {name: "All"},
	TCP:  {"TCP", 6, 6, true},
	UDP:  {"UDP", 17, 17, true},
	ICMP: {"ICMP", 1, 58, false},
}

// ParseProtocol returns the protocol that the manifests call name.
func ParseProtocol(name string) (p Protocol, ok bool) {
	for p, row := range protocols {
		if row.name == name {
			return Protocol(p), true
		}
	}
	return All, false
}

// ProtocolNames returns the names of all protocols, joined as "TCP, UDP or All".
func ProtocolNames() string {
	return protocolNames(func(Protocol) bool { return true })
}

// PortedProtocolNames returns the names of the protocols that have ports,
// joined as "TCP or UDP".
func PortedProtocolNames() string { return protocolNames(Protocol.HasPorts) }

func protocolNames(want func(Protocol) bool) string {
	var names []string
	for i := range protocols {
		p := Protocol((i + 1) % len(protocols)) // All is the last
		if want(p) {
			names = append(names, p.String())
		}
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// String returns the word the manifests use.
func (p Protocol) String() string {
	if int(p) < len(protocols) {
		return protocols[p].name
	}
	return "Protocol(" + strconv.Itoa(int(p)) + ")"
}

// Numbers returns the IP protocol numbers of p over IPv4 and over IPv6. They
// are 0, 0 for All, which has no number of its own, and for a value that is no
// protocol.
func (p Protocol) Numbers() (ipv4, ipv6 uint8) {
	if int(p) >= len(protocols) {
		return 0, 0
	}
	return protocols[p].ipv4, protocols[p].ipv6
}

// HasPorts reports whether connections of p have a destination port, so that a
// rule may name ports.
func (p Protocol) HasPorts() bool { return int(p) < len(protocols) && protocols[p].hasPorts }

// protocolOf returns the protocol that has the IP protocol number over either
// family; ok is false if no rule can name it.
func protocolOf(number uint8) (p Protocol, ok bool) {
	for p, row := range protocols {
		if number != 0 && (row.ipv4 == number || row.ipv6 == number) {
			return Protocol(p), true
		}
	}
	return All, false
}
