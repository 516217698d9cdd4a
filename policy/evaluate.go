package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Party is one end of a connection.
type Party struct {
	OFPort uint16 // of the local VM port; 0 if the party is not a local VM
	Addr   netip.Addr
}

// Connection is what Evaluate judges: a connection as conntrack tracks it.
type Connection struct {
	Originator, Responder Party
	Protocol              uint8  // IP protocol number
	Port                  uint16 // destination port; looked at where the protocol has ports
}

// String returns the connection as "TCP 10.0.0.1 -> 10.0.0.2 port 80".
func (c Connection) String() string {
	return fmt.Sprintf("%s %s -> %s", protocolName(c.Protocol), c.Originator.Addr, c.Responder.Addr) + c.port()
}

// port returns " port 80"; "" if the protocol has no ports.
func (c Connection) port() string {
	if p, _ := protocolOf(c.Protocol); p.HasPorts() {
		return fmt.Sprintf(" port %d", c.Port)
	}
	return ""
}

func protocolName(n uint8) string {
	p, ok := protocolOf(n)
	switch v4, _ := p.Numbers(); {
	case !ok:
		return fmt.Sprintf("IP protocol %d", n)
	case n != v4:
		return p.String() + "v6"
	}
	return p.String()
}

// Verdict is the judgement of a connection.
type Verdict struct {
	Allowed bool // Egress and Ingress both allow it, as far as they apply
	Egress  Side // of the originator
	Ingress Side // of the responder
}

// Side is the judgement of the rules of one end.
type Side struct {
	Applies bool     // this end is a local VM port
	Allowed bool     // true where it does not apply
	Rules   []string // "ns/group/rule" of every rule that allows it, sorted
	Missing string   // if it is not allowed: a sentence that says what is missing
}

// Evaluate judges c by the policy as the manifests say it. It is the reference
// for all other code that judges: it is written from the meaning in the package
// comment, in the plainest way, shares nothing with package resolve, and is slow.
//
// A local originator may only use an address of its own; the link-local address
// of its MAC is its own if it has any IPv6 address. The destination address is
// not compared with those of a local responder: what reaches a VM's port is
// judged by the VM's ingress rules.
func Evaluate(p *Policy, vifs []VIF, c Connection) Verdict {
	c.Originator.Addr = c.Originator.Addr.Unmap()
	c.Responder.Addr = c.Responder.Addr.Unmap()
	egress := side(p, vifs, Egress, c.Originator, c.Responder.Addr, c)
	ingress := side(p, vifs, Ingress, c.Responder, c.Originator.Addr, c)
	return Verdict{Allowed: egress.Allowed && ingress.Allowed, Egress: egress, Ingress: ingress}
}

// side judges c for the end self.
func side(p *Policy, vifs []VIF, dir Direction, self Party, remote netip.Addr, c Connection) Side {
	if self.OFPort == 0 {
		return Side{Allowed: true}
	}
	vif, ok := vifAt(vifs, self.OFPort)
	if !ok {
		return Side{Applies: true, Missing: fmt.Sprintf("there is no VM port with OpenFlow port %d", self.OFPort)}
	}
	at, ok := ownerOf(p, vifs, vif)
	if !ok {
		return Side{Applies: true, Missing: fmt.Sprintf("no manifest describes %s: nothing is allowed", vif.Name)}
	}
	if dir == Egress && !mayUse(portAddrs(p, vifs, vif, at), at, vif, self.Addr) {
		return Side{Applies: true, Missing: fmt.Sprintf("%s is not an address of VM %s", self.Addr, at.vm.Key)}
	}
	vpc := vpcOf(p, at)
	var allowing []string
	for _, group := range groupsOf(p, at.vm) {
		g, written := findGroup(p, group)
		if !written && group.Name == p.opts.DefaultGroup {
			if name := builtInAllows(p, at, dir, remote); name != "" {
				allowing = append(allowing, group.String()+"/"+name)
			}
			continue
		}
		for _, r := range g.Rules {
			if r.Direction == dir && protocolFits(r, c) && remoteFits(p, r.Remote, vpc, remote) {
				allowing = append(allowing, group.String()+"/"+r.Name)
			}
		}
	}
	if len(allowing) == 0 {
		return Side{Applies: true, Missing: missing(p, at, dir, remote, c)}
	}
	slices.Sort(allowing)
	return Side{Applies: true, Allowed: true, Rules: slices.Compact(allowing)}
}

// missing returns a sentence that says which rule no group of the VM has.
func missing(p *Policy, at attachment, dir Direction, remote netip.Addr, c Connection) string {
	var have, gone []string
	for _, k := range groupsOf(p, at.vm) {
		if _, ok := findGroup(p, k); ok || k.Name == p.opts.DefaultGroup {
			have = append(have, k.Name)
		} else {
			gone = append(gone, k.Name)
		}
	}
	what := protocolName(c.Protocol) + c.port()
	s := fmt.Sprintf("no %s rule in the groups of VM %s (%s) allows %s from %s",
		strings.ToLower(dir.String()), at.vm.Key, strings.Join(have, ", "), what, remote)
	if dir == Egress {
		s = strings.Replace(s, " from "+remote.String(), " to "+remote.String(), 1)
	}
	if len(have) == 0 {
		s = fmt.Sprintf("VM %s is in no group that exists", at.vm.Key)
	}
	if len(gone) > 0 {
		s += "; nobody defines " + strings.Join(gone, ", ")
	}
	return s
}

// protocolFits reports whether r is about the protocol and port of c.
func protocolFits(r Rule, c Connection) bool {
	if r.Protocol == All {
		return true
	}
	number, ipv6 := r.Protocol.Numbers()
	if c.Originator.Addr.Is6() {
		number = ipv6
	}
	return c.Protocol == number && (!r.Protocol.HasPorts() || r.Ports.First <= c.Port && c.Port <= r.Ports.Last)
}

// remoteFits reports whether the remote r, in a rule of a VM in vpc, stands for
// addr.
func remoteFits(p *Policy, r Remote, vpc string, addr netip.Addr) bool {
	switch r.Kind {
	case RemoteAnywhere:
		return true
	case RemoteCIDR:
		return r.Prefix.Contains(addr)
	case RemoteSubnet:
		for _, s := range p.objects.Subnets {
			if s.Key == r.Ref && inSubnet(s, addr) {
				return true
			}
		}
		return false
	case RemoteGroup:
		if _, ok := findGroup(p, r.Ref); !ok && r.Ref.Name != p.opts.DefaultGroup {
			return false
		}
		if vpc == "" {
			return false
		}
		for at := range attachments(p) {
			if !slices.Contains(at.n.Addrs, addr) || !slices.Contains(groupsOf(p, at.vm), r.Ref) {
				continue
			}
			if vpcOf(p, at) == vpc && slices.Contains(addrsOf(p, at), addr) {
				return true
			}
		}
		return false
	}
	return false
}

// builtInAllows returns the name of the rule of the built-in default group
// that allows the connection, or "".
func builtInAllows(p *Policy, at attachment, dir Direction, remote netip.Addr) string {
	if p.opts.DefaultContent == Nothing {
		return ""
	}
	if dir == Egress {
		return "all-egress"
	}
	for _, s := range p.objects.Subnets {
		if !inSubnet(s, remote) {
			continue
		}
		if p.opts.DefaultContent == OwnSubnet && slices.Contains(subnetsOf(p, at), s.Key) {
			return "own-subnet"
		}
		if p.opts.DefaultContent == WholeVPC && s.VPC.String() == vpcOf(p, at) {
			return "whole-vpc"
		}
	}
	return ""
}
