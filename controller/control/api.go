package control

import (
	"errors"
	"time"
)

// ErrHeld is the answer to a wait for a change of policy that is held.
var ErrHeld = errors.New("the change of policy is held: it waits for ovs-sg release")

// ErrStopping is the answer to what the end of the agent interrupts.
var ErrStopping = errors.New("the agent is stopping")

// Status is what the agent reports about itself. Its JSON form is the output of
// "ovs-sg status -o json".
type Status struct {
	State    string       `json:"state"` // "enforcing", "starting", "held", "drifted" or "out of date"
	Reason   string       `json:"reason,omitempty"`
	Bridge   string       `json:"bridge"`
	OVS      string       `json:"ovsVersion,omitempty"`
	Datapath string       `json:"datapathType,omitempty"`
	Flows    int          `json:"flows"`    // flows installed in the switch
	Rounds   int          `json:"rounds"`   // changes of flows that the switch confirmed
	Failures int          `json:"failures"` // changes of flows that failed and were tried again
	Counts   FileCounts   `json:"fileCounts"`
	Unsaved  int          `json:"unsavedFiles,omitempty"` // accepted files that the state directory does not hold, because it could not be written
	Files    []FileStatus `json:"files"`
	Ports    []PortStatus `json:"ports"`
	Warnings []string     `json:"warnings"`
	Notes    []string     `json:"notes"`
	Held     *Held        `json:"held,omitempty"`
	Last     *LastChange  `json:"lastChange,omitempty"`
	Drift    *DriftStatus `json:"drift,omitempty"`
}

// DriftStatus is about differences that others have made in the switch.
type DriftStatus struct {
	Count int    `json:"count"` // differences that were put right
	Last  *Drift `json:"last"`
}

// Drift is one time that the switch was found to differ.
type Drift struct {
	Time time.Time     `json:"time"` // when it was found
	What []string      `json:"what"`
	Took time.Duration `json:"tookNanoseconds,omitempty"` // until it was put right; 0 if it is not
}

// FileStatus is the state of one file of the policy directory.
type FileStatus struct {
	Name   string   `json:"name"`
	State  string   `json:"state"` // "accepted", "kept" (an older version is in force) or "rejected"
	Errors []string `json:"errors,omitempty"`
}

// PortStatus is the state of one port of the bridge.
type PortStatus struct {
	Name   string   `json:"name"`
	OFPort int      `json:"ofport"`
	Kind   string   `json:"kind"`  // "vm", "infrastructure" or "unidentified"
	State  string   `json:"state"` // "enforced", "blocked", "trusted", "error" or "pending"
	VM     string   `json:"vm,omitempty"`
	VLAN   uint16   `json:"vlan,omitempty"`
	MAC    string   `json:"mac,omitempty"`
	Addrs  []string `json:"addresses,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// Epochs are the epochs of the port's rules, which the port's connections
	// carry.
	Epochs *PortEpochs `json:"epochs,omitempty"`
	Reason string      `json:"reason,omitempty"`
}

// PortEpochs are the epochs of a port's rules by direction.
type PortEpochs struct {
	Egress  uint32 `json:"egress"`
	Ingress uint32 `json:"ingress"`
}

// FileCounts is the number of files in each state.
type FileCounts struct {
	Accepted int `json:"accepted"`
	Kept     int `json:"kept"`
	Rejected int `json:"rejected"`
}

// LastChange is the last change of flows.
type LastChange struct {
	Time     time.Time     `json:"time"`
	What     []string      `json:"what"`
	Added    int           `json:"added"`
	Modified int           `json:"modified"`
	Deleted  int           `json:"deleted"`
	Took     time.Duration `json:"tookNanoseconds"` // from the first event to the confirmation
	Compile  time.Duration `json:"compileNanoseconds"`
	Switch   time.Duration `json:"switchNanoseconds"`
}

// Held is a change of policy that waits for an operator to confirm it.
type Held struct {
	Reason  string `json:"reason"`
	Rules   int    `json:"rules"`   // rules of the VMs of this host, counted once for each VM
	Removed int    `json:"removed"` // the part of Rules that the change removes
	VMs     int    `json:"vms"`     // ports that have rules
	Cut     int    `json:"cut"`     // the part of VMs that the change leaves without rules
	// Displaced is the part of VMs that lose an address, or have another MAC
	// address or VPC after the change.
	Displaced int `json:"displaced"`
}

// Audit is how the switch differs from what the agent has installed, in words.
type Audit struct {
	Found []string `json:"found"` // the differences
	Left  []string `json:"left"`  // those that are still there after a repair
}
