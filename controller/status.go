package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/ovsdb"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/dirsource"
)

// Status is what the agent knows of itself. Its JSON form is the output of
// "ovs-sg status -o json".
type Status struct {
	State    string       `json:"state"` // "enforcing", "starting", "held" or "out of date"
	Reason   string       `json:"reason,omitempty"`
	Bridge   string       `json:"bridge"`
	OVS      string       `json:"ovsVersion,omitempty"`
	Datapath string       `json:"datapathType,omitempty"`
	Flows    int          `json:"flows"`
	Rounds   int          `json:"rounds"`
	Failures int          `json:"failures"`
	Counts   FileCounts   `json:"fileCounts"`
	Files    []FileStatus `json:"files"`
	Ports    []PortStatus `json:"ports"`
	Warnings []string     `json:"warnings"`
	Notes    []string     `json:"notes"`
	Held     *Held        `json:"held,omitempty"`
	Last     *LastChange  `json:"lastChange,omitempty"`
}

// FileStatus is one file of the policy directory.
type FileStatus struct {
	Name   string   `json:"name"`
	State  string   `json:"state"` // "accepted", "kept" (an older version is in force) or "rejected"
	Errors []string `json:"errors,omitempty"`
}

// PortStatus is one port of the bridge.
type PortStatus struct {
	Name   string   `json:"name"`
	OFPort int      `json:"ofport"`
	Kind   string   `json:"kind"` // "vm", "infrastructure" or "unidentified"
	State  string   `json:"state"`
	VM     string   `json:"vm,omitempty"`
	VLAN   uint16   `json:"vlan,omitempty"`
	MAC    string   `json:"mac,omitempty"`
	Addrs  []string `json:"addresses,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// Epochs are those of the port's rules, which its connections carry.
	Epochs *PortEpochs `json:"epochs,omitempty"`
	Reason string      `json:"reason,omitempty"`
}

// PortEpochs are the epochs of a port's rules by direction.
type PortEpochs struct {
	Egress  uint32 `json:"egress"`
	Ingress uint32 `json:"ingress"`
}

// FileCounts is how many files there are in each state.
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

// Change times the change that is being made.
type Change struct {
	since time.Time
	last  LastChange
}

func (c *Change) begin(t time.Time) {
	if t.IsZero() {
		t = time.Now()
	}
	if c.since.IsZero() || t.Before(c.since) {
		c.since = t
	}
}

func (c *Change) end() time.Duration {
	took := time.Since(c.since)
	if c.since.IsZero() {
		took = 0
	}
	c.since = time.Time{}
	return took
}

// maxWhat is how many files and ports a change names.
const maxWhat = 50

func (c *Controller) what(format string, args ...any) {
	switch len(c.lastWhat) {
	case maxWhat:
		c.lastWhat = append(c.lastWhat, "...")
	case maxWhat + 1:
	default:
		c.lastWhat = append(c.lastWhat, fmt.Sprintf(format, args...))
	}
}

// noteFiles remembers which files changed, for the log. A file that is refused
// again for the same reasons is not logged again.
func (c *Controller) noteFiles(change dirsource.Change) {
	for _, v := range change.Revisions {
		switch {
		case v.Before == nil:
			c.what("+%s", v.Name)
		case v.After == nil:
			c.what("-%s", v.Name)
		default:
			c.what("~%s", v.Name)
		}
	}
	for _, f := range change.Status {
		for _, p := range f.Errors {
			c.log.Error("manifest refused: " + p.Error())
		}
	}
}

// notePorts remembers which VM ports changed, for the log.
func (c *Controller) notePorts(before host) {
	old := map[string]policy.VIF{}
	for _, v := range before.vifs {
		old[v.Name] = v
	}
	for _, v := range c.host.vifs {
		was, ok := old[v.Name]
		switch {
		case !ok:
			c.what("plug %s", v.Name)
		case was != v:
			c.what("change %s", v.Name)
		}
		delete(old, v.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		c.what("unplug %s", name)
	}
}

// statusPatience is how long the loop, which is busy while the switch is, is
// waited for.
const statusPatience = 250 * time.Millisecond

// ask asks for a status.
type ask struct {
	all    bool
	answer chan Status
}

// Status asks the loop how things are. While the loop waits for the switch,
// the answer is what it said last, and for how long it has been waiting. An
// error means that the loop neither answers nor waits.
//
// Unless all is true, a status of many files leaves out the accepted ones.
func (c *Controller) Status(ctx context.Context, all bool) (Status, error) {
	answer := make(chan Status, 1)
	patience := time.NewTimer(statusPatience)
	defer patience.Stop()
	for {
		select {
		case c.statuses <- ask{all, answer}:
			return <-answer, nil
		case <-patience.C:
			since := c.busySince.Load()
			if since == 0 {
				patience.Reset(statusPatience) // busy with its own
				continue
			}
			s := Status{Bridge: c.cfg.Bridge}
			if last := c.lastStatus.Load(); last != nil {
				s = *last
			}
			s.State = "out of date"
			s.Reason = "waiting for the switch for " + time.Since(time.Unix(0, since)).Round(time.Millisecond).String()
			return s, nil
		case <-ctx.Done():
			return Status{}, ctx.Err()
		}
	}
}

// fileStatus lists the files: all, or, where there are many, those that are not
// accepted.
func (c *Controller) fileStatus(all bool) (n FileCounts, list []FileStatus) {
	if c.reading {
		return FileCounts{}, []FileStatus{}
	}
	refused := c.ledger.Refused()
	n.Accepted = c.ledger.Len() - len(refused)
	for _, f := range refused {
		if f.State == policy.Kept {
			n.Kept++
		} else {
			n.Rejected++
		}
	}
	from := refused
	if all || n.Accepted <= manyFiles {
		from = c.ledger.Status()
	}
	list = []FileStatus{}
	for _, f := range from {
		fs := FileStatus{Name: f.Name, State: f.State.String()}
		for _, p := range f.Errors {
			fs.Errors = append(fs.Errors, p.Error())
		}
		list = append(list, fs)
	}
	return n, list
}

// manyFiles is from when on a short status leaves out accepted files.
const manyFiles = 100

func (c *Controller) status(all bool) Status {
	s := Status{
		Bridge: c.cfg.Bridge, Rounds: c.applied, Failures: c.failed, Reason: c.lastErr,
		Files: []FileStatus{}, Ports: []PortStatus{}, Warnings: []string{}, Notes: []string{},
	}
	switch {
	case c.files == nil || c.ports == nil:
		s.State = "starting"
		var missing []string
		if c.files == nil {
			missing = append(missing, "the policy directory")
		}
		if c.ports == nil {
			missing = append(missing, "OVSDB")
		}
		s.Reason = "waiting for " + strings.Join(missing, " and ")
	case c.conn != nil && !c.dirty && c.lastErr == "" && c.held != nil:
		held := *c.held
		s.State, s.Reason, s.Held = "held", "the newest policy waits for ovs-sg release: "+held.Reason, &held
	case c.conn != nil && !c.dirty && c.lastErr == "":
		s.State = "enforcing"
	default:
		s.State = "out of date"
	}
	if c.cfg.PortsError != nil {
		if err := c.cfg.PortsError(); err != "" {
			s.Warnings = append(s.Warnings, "OVSDB: "+err+"; what was in force stays in force")
		}
	}
	if c.files != nil && c.files.Err != "" {
		s.Warnings = append(s.Warnings, "policy directory: "+c.files.Err+"; what was in force stays in force")
	}
	s.Counts, s.Files = c.fileStatus(all)
	if c.installed != nil {
		s.Flows = c.installed.Len()
	}
	for _, p := range c.book.Problems() {
		s.Warnings = append(s.Warnings, p.Error())
	}
	if c.ports != nil {
		s.OVS, s.Datapath = c.ports.OVSVersion, c.ports.Bridge.DatapathType
		s.Ports = c.portStatus()
		if NeedsPurge(s.Datapath, s.OVS) {
			s.Notes = append(s.Notes, purgeNote)
		}
	}
	if !c.change.last.Time.IsZero() {
		last := c.change.last
		s.Last = &last
	}
	return s
}

const purgeNote = "the userspace datapath before Open vSwitch 3.1.3 mixes up megaflows after a change of flows: all megaflows are purged after each change"

func (c *Controller) portStatus() []PortStatus {
	endpoints := map[string]*policy.Endpoint{}
	local := c.book.Local()
	for i := range local.Endpoints {
		endpoints[local.Endpoints[i].VIF] = &local.Endpoints[i]
	}
	out := []PortStatus{}
	for _, p := range c.ports.Ports {
		ps := PortStatus{Name: p.Name, OFPort: p.OFPort, Kind: p.Kind.String(), VLAN: p.Tag, Reason: p.Reason}
		why, left := c.host.unusable[p.Name]
		e := endpoints[p.Name]
		switch {
		case left && p.Kind == ovsdb.Unidentified:
			ps.State, ps.Reason = "blocked", why
		case left:
			ps.State, ps.Reason = "error", why
		case p.Kind == ovsdb.Infrastructure:
			ps.State = "trusted"
		case e == nil:
			ps.State = "pending"
		default:
			describe(&ps, e)
			if e := c.compiler.Epochs(e.OFPort); e != (flows.Epochs{}) {
				ps.Epochs = &PortEpochs{Egress: e[policy.Egress], Ingress: e[policy.Ingress]}
			}
		}
		out = append(out, ps)
	}
	return out
}

// describe fills in what is known of a VM port.
func describe(ps *PortStatus, e *policy.Endpoint) {
	ps.State, ps.Reason, ps.Groups = "enforced", "", e.Groups
	if !e.MAC.IsZero() {
		ps.MAC = e.MAC.String()
	}
	for _, a := range e.Addrs {
		ps.Addrs = append(ps.Addrs, a.String())
	}
	if !e.VM.IsZero() {
		ps.VM = e.VM.String()
	}
	switch {
	case !e.Known:
		ps.State, ps.Reason = "blocked", "no VirtualMachine manifest describes this interface: only DHCP passes"
	case e.MAC.IsZero():
		ps.State, ps.Reason = "blocked", "no MAC address: neither macAddress nor external_ids:attached-mac, or another port has it"
	case len(e.Addrs) == 0:
		ps.Reason = "no IP address: only what needs none passes, such as DHCP"
	case len(e.Groups) == 0:
		ps.Reason = "none of its " + strconv.Quote("securityGroups") + " exists: nothing is allowed"
	}
}
