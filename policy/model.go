package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
)

// VIF is a VM port of the local switch, as OVSDB describes it.
type VIF struct {
	Name   string // of the Interface
	OFPort uint16 // OpenFlow port number, not zero
	Tag    uint16 // VLAN of the access port; 0 if untagged
	// IfaceID and VMID are external_ids:iface-id and external_ids:vm-id; empty
	// if absent.
	IfaceID, VMID string
	MAC           MAC // external_ids:attached-mac; zero if absent
}

// Model is what one host has to enforce. It is sorted throughout: the same
// policy and the same VIFs, in any order, give the same Model.
type Model struct {
	Endpoints []Endpoint  // one for every VIF, sorted by OFPort
	Groups    []RuleGroup // every rule group some endpoint uses, sorted by ID
	// Members is every address of every VM interface of the policy, local or
	// remote, that is in a VPC, sorted by VPC, then by Addr. No two have both
	// equal.
	Members  []Member
	Problems []Problem // what was found while resolving, sorted; all warnings
}

// Endpoint is a VM port of this host and what the policy says about it.
type Endpoint struct {
	VIF    string
	OFPort uint16
	Tag    uint16
	MAC    MAC          // the address that the VM must use; zero if it may use none
	Addrs  []netip.Addr // the addresses that the VM may use, sorted
	VM     Key          // zero if not Known
	Known  bool         // some manifest describes this interface
	VPC    string       // "ns/name"; "" = in no VPC
	// Subnets are the subnets the interface is in, sorted.
	Subnets []Key
	// Groups are IDs of RuleGroups, sorted, unique. Empty: nothing is allowed.
	Groups []string
}

// Equal reports whether e and o are the same in every field.
func (e *Endpoint) Equal(o *Endpoint) bool {
	return e.VIF == o.VIF && e.OFPort == o.OFPort && e.Tag == o.Tag && e.MAC == o.MAC && slices.Equal(e.Addrs, o.Addrs) &&
		e.VM == o.VM && e.Known == o.Known && e.VPC == o.VPC && slices.Equal(e.Subnets, o.Subnets) && slices.Equal(e.Groups, o.Groups)
}

// RuleGroup is a security group as an endpoint uses it.
type RuleGroup struct {
	// ID is "ns/name"; for the built-in default group, whose content depends
	// on the interface, "ns/name[ns/subnet,...]" or "ns/name[vpc ns/vpc]".
	ID    string
	Rules []ResolvedRule // in the order of the manifest
}

// Equal reports whether g and o have the same ID and the same rules in the same
// order.
func (g *RuleGroup) Equal(o *RuleGroup) bool {
	return g.ID == o.ID && slices.EqualFunc(g.Rules, o.Rules, ResolvedRule.Equal)
}

// ResolvedRule is a rule with its remote looked up.
type ResolvedRule struct {
	Group     string // "ns/name"
	Name      string // of the rule, or "#index" (from 0)
	Direction Direction
	Protocol  Protocol
	Ports     PortRange
	Remote    ResolvedRemote
}

// Equal reports whether r and o are the same in every field.
func (r ResolvedRule) Equal(o ResolvedRule) bool {
	return r.Group == o.Group && r.Name == o.Name && r.Direction == o.Direction && r.Protocol == o.Protocol &&
		r.Ports == o.Ports && r.Remote.Equal(o.Remote)
}

// ResolvedKind says what a ResolvedRemote is.
type ResolvedKind uint8

// The kinds of resolved remote.
const (
	// ResolvedAnywhere is every address of both families.
	ResolvedAnywhere ResolvedKind = iota
	// ResolvedPrefixes is the addresses in ResolvedRemote.Prefixes.
	ResolvedPrefixes
	// ResolvedMembers is the Members, in the VPC of the endpoint whose rule it
	// is, whose Groups contain ResolvedRemote.Group. There may be none.
	ResolvedMembers
)

// String returns a word for the kind.
func (k ResolvedKind) String() string {
	switch k {
	case ResolvedAnywhere:
		return "anywhere"
	case ResolvedPrefixes:
		return "prefixes"
	case ResolvedMembers:
		return "members"
	}
	return "ResolvedKind(" + strconv.Itoa(int(k)) + ")"
}

// ResolvedRemote is the other end that a rule allows.
type ResolvedRemote struct {
	Kind     ResolvedKind
	Prefixes []netip.Prefix // with ResolvedPrefixes: sorted, unique, masked, at least one
	Group    string         // with ResolvedMembers: "ns/name"
}

// Equal reports whether r and o are the same in every field.
func (r ResolvedRemote) Equal(o ResolvedRemote) bool {
	return r.Kind == o.Kind && slices.Equal(r.Prefixes, o.Prefixes) && r.Group == o.Group
}

// Member is one address of one VM interface.
type Member struct {
	VPC       string // "ns/name", never empty
	Addr      netip.Addr
	Groups    []string // "ns/name" of the existing groups the VM is in, sorted
	VM        Key
	Interface string // its ID
}

// Equal reports whether m and o are the same in every field.
func (m *Member) Equal(o *Member) bool {
	return m.VPC == o.VPC && m.Addr == o.Addr && slices.Equal(m.Groups, o.Groups) && m.VM == o.VM && m.Interface == o.Interface
}

// Compare orders members by VPC, then by address, as Model.Members is sorted.
func (m *Member) Compare(o *Member) int {
	return cmp.Or(cmp.Compare(m.VPC, o.VPC), m.Addr.Compare(o.Addr))
}
