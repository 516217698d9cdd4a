package policy

import (
	"fmt"
	"strconv"
)

// DefaultGroupName is the default group's name where Options gives none.
const DefaultGroupName = "default-sto-1"

// DefaultVPC is the name of the VPC of a subnet without vpcRef, in its namespace.
const DefaultVPC = "default"

// Options are the settings of a policy. The zero value is usable.
type Options struct {
	DefaultGroup   string // name of the default group; DefaultGroupName if empty
	DefaultContent DefaultContent
}

// WithDefaults returns o with the fields filled in that are not set.
func (o Options) WithDefaults() Options {
	if o.DefaultGroup == "" {
		o.DefaultGroup = DefaultGroupName
	}
	return o
}

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

// ParseDefaultContent reads what String returns.
func ParseDefaultContent(s string) (DefaultContent, error) {
	for c := OwnSubnet; c <= Nothing; c++ {
		if s == c.String() {
			return c, nil
		}
	}
	return 0, fmt.Errorf("default group content %q must be own-subnet, whole-vpc, egress-only or nothing", s)
}
