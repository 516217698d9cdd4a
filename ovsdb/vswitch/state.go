package vswitch

import "fmt"

// State says what can be done with a port, as far as Open vSwitch decides it.
// Policy is not known here.
type State uint8

const (
	// Blocked is an Unidentified interface, which gets and sends nothing.
	Blocked State = iota
	// Failed is a VM's or an infrastructure port that cannot be used.
	Failed
	// Trusted is an infrastructure port in use.
	Trusted
	// Pending is a VM's port that policy can be enforced on.
	Pending
)

// String is "blocked", "error", "trusted" or "pending".
func (s State) String() string {
	return [...]string{Blocked: "blocked", Failed: "error", Trusted: "trusted", Pending: "pending"}[s]
}

// judge decides what can be done with a port of known Kind, and why. The
// reason of the Kind remains when nothing else is to be said. maxOFPort is the
// highest OpenFlow port on which policy can be enforced, 0 if there is no
// limit.
func judge(p Port, maxOFPort int) (State, string) {
	if why := unusable(p, maxOFPort); why != "" {
		if p.Kind == Unidentified {
			return Blocked, why
		}
		return Failed, why
	}
	switch p.Kind {
	case Infrastructure:
		return Trusted, p.Reason
	case VM:
		return Pending, p.Reason
	}
	return Blocked, p.Reason
}

// unusable says why no flows can be made for the port, "" if they can.
func unusable(p Port, maxOFPort int) string {
	mode := p.EffectiveVLANMode()
	switch {
	case p.OFPort < 0 && p.Error != "":
		return p.Error
	case p.OFPort < 0:
		return "ofport is -1: Open vSwitch could not open the interface"
	case p.OFPort == 0:
		return "no ofport yet"
	case p.Kind == VM && maxOFPort > 0 && p.OFPort > maxOFPort:
		return fmt.Sprintf("ofport %d is above %d, the highest with a connection tracking zone: set ofport_request", p.OFPort, maxOFPort)
	case p.Kind == VM && mode != "access" && (p.Tagged || len(p.Trunks) > 0):
		return "a VM port must be a VLAN access port or have no VLAN at all, not " + mode
	case p.Kind == Infrastructure && mode == "dot1q-tunnel":
		return "vlan_mode dot1q-tunnel is not supported"
	}
	return ""
}
