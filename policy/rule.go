package policy

import (
	"cmp"
	"net/netip"
	"strconv"
)

// Key names an object: its namespace (resource group) and its name in it.
type Key struct{ Namespace, Name string }

// String returns "namespace/name".
func (k Key) String() string { return k.Namespace + "/" + k.Name }

// AppendTo appends what String returns to b and returns the result.
func (k Key) AppendTo(b []byte) []byte {
	return append(append(append(b, k.Namespace...), '/'), k.Name...)
}

// IsZero reports whether k names nothing.
func (k Key) IsZero() bool { return k == Key{} }

// Compare orders keys by namespace, then by name.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Namespace, o.Namespace), cmp.Compare(k.Name, o.Name))
}

// Direction says which way a rule looks, relative to the VM.
type Direction uint8

// The directions. The zero value is Ingress.
const (
	// Ingress is traffic towards the VM.
	Ingress Direction = iota
	// Egress is traffic from the VM.
	Egress
)

// String returns the word the manifests use.
func (d Direction) String() string {
	switch d {
	case Ingress:
		return "Ingress"
	case Egress:
		return "Egress"
	}
	return "Direction(" + strconv.Itoa(int(d)) + ")"
}

// PortRange is a range of destination ports, both ends included.
// A rule without ports has {0, 65535}; explicit ports are within 1..65535.
type PortRange struct{ First, Last uint16 }

// AllPorts is the range of a rule that names no port. It is never changed.
var AllPorts = PortRange{First: 0, Last: 65535}

// IsAll reports whether r is every port: the range of a rule that names no port.
func (r PortRange) IsAll() bool { return r == AllPorts }

// Contains reports whether port is in r.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// String returns "80", "1000-1100", or "all".
func (r PortRange) String() string {
	switch {
	case r.IsAll():
		return "all"
	case r.First == r.Last:
		return strconv.Itoa(int(r.First))
	}
	return strconv.Itoa(int(r.First)) + "-" + strconv.Itoa(int(r.Last))
}

// RemoteKind says what a Remote is.
type RemoteKind uint8

// The kinds of remote.
const (
	// RemoteAnywhere is every address; what a rule without remote means.
	RemoteAnywhere RemoteKind = iota
	// RemoteCIDR is the addresses of Remote.Prefix.
	RemoteCIDR
	// RemoteGroup is the members of the group Remote.Ref.
	RemoteGroup
	// RemoteSubnet is the CIDR blocks of the subnet Remote.Ref.
	RemoteSubnet
)

// String returns a word for the kind.
func (k RemoteKind) String() string {
	switch k {
	case RemoteAnywhere:
		return "anywhere"
	case RemoteCIDR:
		return "CIDR"
	case RemoteGroup:
		return "security group"
	case RemoteSubnet:
		return "subnet"
	}
	return "RemoteKind(" + strconv.Itoa(int(k)) + ")"
}

// Remote is the other end that a rule allows. It is comparable.
type Remote struct {
	Kind   RemoteKind
	Prefix netip.Prefix // with RemoteCIDR; masked
	Ref    Key          // with RemoteGroup and RemoteSubnet
}

// String returns "anywhere", the prefix, "group ns/name" or "subnet ns/name".
func (r Remote) String() string {
	switch r.Kind {
	case RemoteCIDR:
		return r.Prefix.String()
	case RemoteGroup:
		return "group " + r.Ref.String()
	case RemoteSubnet:
		return "subnet " + r.Ref.String()
	}
	return r.Kind.String()
}

// Rule allows connections. Group.Rules are in the order of the manifest.
type Rule struct {
	Name      string // as written, or "#index" (from 0) if the manifest gives none
	Direction Direction
	Protocol  Protocol
	Ports     PortRange
	Remote    Remote
	Pos       Position // of the rule in its file
	RefAt     Spot     // of the name in Remote.Ref, in the group's file
}
