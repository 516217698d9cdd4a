package controller

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/policy"
)

// statusPatience is how long a request for the status waits for the loop, which
// is busy while the switch is.
const statusPatience = 250 * time.Millisecond

// manyUnits is the number of accepted units from which on a short status leaves
// them out.
const manyUnits = 100

// Status tells how things are. While the loop waits for the switch, the answer
// is what the loop said last, and for how long it has been waiting. An error
// means that the loop neither answers nor waits.
//
// Unless all is true, a status of many units leaves out the accepted ones.
func (c *Controller) Status(ctx context.Context, all bool) (control.Status, error) {
	most := manyUnits
	if all {
		most = math.MaxInt
	}
	units, seq := unitStatus(c.cfg.Source, most)
	s, err := c.loopStatus(ctx, seq)
	if err != nil {
		return control.Status{}, err
	}
	s.Counts, s.Files, s.Unsaved = units.Counts, units.Files, units.Unsaved
	s.Warnings = append(slices.Clone(s.Warnings), units.Warnings...)
	return s, nil
}

// ask is a request for the status. The loop answers as soon as it has worked on
// the update seq of the source.
type ask struct {
	ctx    context.Context
	seq    uint64
	answer chan control.Status // of capacity one
}

// loopStatus is the status but for the units of the source, which is that of an
// update: the loop answers when it has worked on the update, too, because nothing
// of the units may look as if it were in force before it is. After some time
// that does not count any more.
func (c *Controller) loopStatus(ctx context.Context, seq uint64) (control.Status, error) {
	ctx, cancel := context.WithCancel(ctx) // the loop drops what nobody waits for
	defer cancel()
	a := ask{ctx, seq, make(chan control.Status, 1)}
	patience := time.NewTimer(statusPatience)
	defer patience.Stop()
	for calls := c.calls; ; {
		add := a
		select {
		case calls <- func() { c.asks = append(c.asks, add) }:
			calls = nil
		case s := <-a.answer:
			return s, nil
		case <-patience.C:
			if busy := c.enforcer.activity.text(); busy != "" {
				return c.busyStatus(busy), nil
			}
			a.seq, calls = 0, c.calls
			patience.Reset(statusPatience)
		case <-ctx.Done():
			return control.Status{}, ctx.Err()
		case <-c.ended:
			return control.Status{}, control.ErrStopping
		}
	}
}

// busyStatus is the status while the loop does not answer.
func (c *Controller) busyStatus(busy string) control.Status {
	s := control.Status{Bridge: c.cfg.Bridge, Ports: []control.PortStatus{}, Warnings: []string{}, Notes: []string{}}
	if last := c.lastStatus.Load(); last != nil {
		s = *last
	}
	s.State, s.Reason = "out of date", busy
	return s
}

// answer answers the requests for the status that can be answered.
func (c *Controller) answer() {
	var rest []ask
	var s *control.Status
	for _, a := range c.asks {
		switch {
		case a.ctx.Err() != nil:
		case a.seq > 0 && (c.source == nil || c.source.seq < a.seq):
			rest = append(rest, a)
		default:
			if s == nil {
				now := c.status()
				c.lastStatus.Store(&now)
				s = &now
			}
			select {
			case a.answer <- *s:
			default: // asked twice
			}
		}
	}
	c.asks = rest
}

// unitStatus is the part of the status that the source knows. Of more than most
// accepted units it lists only those that are not. seq is that of the update that
// tells the same, 0 before the first.
func unitStatus(source policy.Source, most int) (out control.Status, seq uint64) {
	s, ok := source.Status(most)
	out = control.Status{Files: []control.FileStatus{}, Unsaved: s.Unsaved, Warnings: s.Warnings}
	if !ok {
		return out, 0
	}
	out.Counts = control.FileCounts{Accepted: s.Accepted, Kept: s.Kept, Rejected: s.Rejected}
	for _, u := range s.Units {
		fs := control.FileStatus{Name: u.Name, State: u.State.String()}
		for _, p := range u.Errors {
			fs.Errors = append(fs.Errors, p.Error())
		}
		out.Files = append(out.Files, fs)
	}
	return out, s.Seq
}

// status is the status as the loop knows it.
func (c *Controller) status() control.Status {
	s := control.Status{
		Bridge: c.cfg.Bridge, Rounds: c.history.applied, Failures: c.history.failed, Reason: c.lastErr,
		Ports: []control.PortStatus{}, Warnings: []string{}, Notes: []string{}, Last: c.history.lastChange(),
	}
	switch held := c.held(); {
	case c.phase == starting:
		s.State = "starting"
		var missing []string
		if c.source == nil {
			missing = append(missing, "the "+c.cfg.Source.String())
		}
		if c.ports == nil {
			missing = append(missing, "OVSDB")
		}
		s.Reason = "waiting for " + strings.Join(missing, " and ")
	case c.phase == settled && held != nil:
		s.State, s.Reason, s.Held = "held", "the newest policy waits for ovs-sg release: "+held.Reason, held
	case c.enforcer.watch.fought():
		s.State, s.Reason = "drifted", errFought.Error()
	case c.phase == settled && c.enforcer.watch.found == nil:
		s.State = "enforcing"
	case c.enforcer.watch.found != nil:
		s.State = "drifted"
		if s.Reason == "" {
			s.Reason = "the switch was changed by somebody else: " + strings.Join(c.enforcer.watch.found.What, "; ")
		}
	default:
		s.State = "out of date"
	}
	if err := databaseError(c.cfg.Database.Status()); err != "" {
		s.Warnings = append(s.Warnings, "OVSDB: "+err+"; what was in force stays in force")
	}
	if c.source != nil && c.source.err != "" {
		s.Warnings = append(s.Warnings, c.cfg.Source.String()+": "+c.source.err+"; what was in force stays in force")
	}
	if c.enforcer.installed != nil {
		s.Flows = c.enforcer.installed.Len()
	}
	for _, p := range c.desired.resolver.Problems() {
		s.Warnings = append(s.Warnings, p.Error())
	}
	s.Drift = c.enforcer.watch.report()
	if c.ports != nil {
		s.Warnings = append(s.Warnings, c.enforcer.limits.warnings(c.cfg.MaxConnections, c.portName)...)
		for _, name := range c.ports.Absent {
			s.Warnings = append(s.Warnings, "uplink "+name+": no such interface or port on bridge "+c.cfg.Bridge)
		}
		for _, b := range c.ports.Bypasses {
			s.Warnings = append(s.Warnings, "bridge "+c.cfg.Bridge+": "+b)
		}
		if n := c.ports.Bridge.Controllers; n > 0 {
			s.Notes = append(s.Notes, controllersNote)
		}
		s.OVS, s.Datapath = c.enforcer.version(c.ports), c.ports.Bridge.DatapathType
		s.Ports = c.portStatus()
		if c.enforcer.quirks(c.ports).StaleMegaflows {
			s.Notes = append(s.Notes, purgeNote)
		}
		if c.enforcer.fragments != "" {
			s.Notes = append(s.Notes, c.enforcer.fragments)
		}
	}
	return s
}

// databaseError says why what OVSDB told may be out of date; empty if it is
// not.
func databaseError(s vswitch.Status) string {
	switch {
	case s.Connected:
		return ""
	case s.LastError != nil:
		return s.LastError.Error()
	}
	return "not connected yet"
}

// portName returns the name of the port with an ofport.
func (c *Controller) portName(ofport uint16) string {
	for _, p := range c.ports.Ports {
		if p.OFPort == int(ofport) {
			return p.Name
		}
	}
	return strconv.Itoa(int(ofport))
}

const controllersNote = "the bridge has an OpenFlow controller: what it changes in the tables of the agent is undone"

const purgeNote = "the userspace datapath before Open vSwitch 3.1.3 mixes up megaflows after a change of flows: all megaflows are purged after each change"

func (c *Controller) portStatus() []control.PortStatus {
	endpoints := map[string]*policy.Endpoint{}
	local := c.desired.resolver.Local()
	for i := range local.Endpoints {
		endpoints[local.Endpoints[i].VIF] = &local.Endpoints[i]
	}
	out := []control.PortStatus{}
	for _, p := range c.ports.Ports {
		ps := control.PortStatus{Name: p.Name, OFPort: p.OFPort, Kind: p.Kind.String(), VLAN: p.Tag, State: p.State.String(), Reason: p.Reason}
		if e := endpoints[p.Name]; e != nil && p.State == vswitch.Pending {
			describe(&ps, e)
			if e := c.enforcer.compiler.Epochs(e.OFPort); e != (flows.Epochs{}) {
				ps.Epochs = &control.PortEpochs{Egress: e[policy.Egress], Ingress: e[policy.Ingress]}
			}
		}
		out = append(out, ps)
	}
	return out
}

// describe fills in what is known of a VM port.
func describe(ps *control.PortStatus, e *policy.Endpoint) {
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
