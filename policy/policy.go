package policy

import "strconv"

// DefaultGroupName is the default group's name where Options gives none.
const DefaultGroupName = "default-sto-1"

// DefaultContent is what the built-in default group allows.
type DefaultContent uint8

// The built-in contents.
const (
	// OwnSubnet is all egress, and all ingress from the interface's subnets.
	OwnSubnet DefaultContent = iota
	// WholeVPC is all egress, and all ingress from every subnet of the VPC.
	WholeVPC
	// EgressOnly is all egress.
	EgressOnly
	// Nothing allows nothing.
	Nothing
)

// String returns the word for c that settings use.
func (c DefaultContent) String() string {
	switch c {
	case OwnSubnet:
		return "own-subnet"
	case WholeVPC:
		return "whole-vpc"
	case EgressOnly:
		return "egress-only"
	case Nothing:
		return "nothing"
	}
	return "DefaultContent(" + strconv.Itoa(int(c)) + ")"
}

// Options are the settings of a policy. The zero value is usable.
type Options struct {
	DefaultGroup   string // name of the default group; DefaultGroupName if empty
	DefaultContent DefaultContent
}

// Policy is everything the manifests define, indexed. It does not change.
type Policy struct {
	opts     Options
	problems []Problem
}
