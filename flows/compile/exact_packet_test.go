package compile_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/resolve"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// tuple is the addresses and ports of a connection's first packet.
type tuple struct {
	src, dst     netip.Addr
	proto        uint8
	sport, dport uint16 // or ICMP type and code; 0 where the protocol has none
}

// packet is one question to the flows: a frame, and its connection tracking
// state.
type packet struct {
	inPort       uint16
	vlan         uint16 // of the tag; 0: none
	eth, to      policy.MAC
	src, dst     netip.Addr
	proto        uint8
	sport, dport uint16
	later        bool   // a fragment without ports
	state        string // "new", "est", "est|rpl", "rel", "rel|rpl", "inv"
	label        flows.Label
	conn         tuple
	// carried: the label was written under an earlier policy. Only the present
	// policy may then decide.
	carried bool
}

func (k packet) replies() bool { return strings.Contains(k.state, "rpl") }
func (k packet) related() bool { return strings.Contains(k.state, "rel") }

func hasPorts(proto uint8) bool {
	return proto == flows.ProtoTCP || proto == flows.ProtoUDP || proto == flows.ProtoSCTP
}

// String returns the packet in the syntax of ofproto/trace. The tuple goes with
// it from the start: see ctSurvives.
func (k packet) String() string {
	var b strings.Builder
	in := strconv.Itoa(int(k.inPort))
	if k.inPort == localPort {
		in = "LOCAL"
	}
	fmt.Fprintf(&b, "in_port=%s,dl_src=%s,dl_dst=%s", in, k.eth, k.to)
	if k.vlan != 0 {
		fmt.Fprintf(&b, ",dl_vlan=%d", k.vlan)
	}
	v4 := k.src.Is4()
	pick := func(a, b string) string {
		if v4 {
			return a
		}
		return b
	}
	word, ports := map[uint8]string{flows.ProtoTCP: "tcp", flows.ProtoUDP: "udp", flows.ProtoSCTP: "sctp"}[k.proto], hasPorts(k.proto)
	switch {
	case k.later || !ports:
		fmt.Fprintf(&b, ",%s,nw_proto=%d", pick("ip", "ipv6"), k.proto)
	default:
		fmt.Fprintf(&b, ",%s%s", word, pick("", "6"))
	}
	fmt.Fprintf(&b, ",%s=%s,%s=%s", pick("nw_src", "ipv6_src"), k.src, pick("nw_dst", "ipv6_dst"), k.dst)
	switch {
	case k.later:
		b.WriteString(",nw_frag=later")
	case ports:
		fmt.Fprintf(&b, ",%s_src=%d,%s_dst=%d", word, k.sport, word, k.dport)
	case v4 && k.proto == flows.ProtoICMP:
		fmt.Fprintf(&b, ",icmp_type=%d,icmp_code=%d", k.sport, k.dport)
	case !v4 && k.proto == flows.ProtoICMPv6:
		fmt.Fprintf(&b, ",icmpv6_type=%d,icmpv6_code=%d", k.sport, k.dport)
	}
	fmt.Fprintf(&b, ",ct_state=trk|new,ct_label=%s,%s=%s,%s=%s,ct_nw_proto=%d,ct_tp_src=%d,ct_tp_dst=%d", k.label,
		pick("ct_nw_src", "ct_ipv6_src"), k.conn.src, pick("ct_nw_dst", "ct_ipv6_dst"), k.conn.dst, k.conn.proto, k.conn.sport, k.conn.dport)
	return b.String()
}

// ctNext returns the states of the passes after the first; too many do no harm.
func (k packet) ctNext() []string {
	return slices.Repeat([]string{"trk," + strings.ReplaceAll(k.state, "|", ",")}, 8)
}

// output is a copy of the packet at an OpenFlow port.
type output struct{ ofport, vlan uint16 }

// answer is the fate of a packet.
type answer struct {
	outputs []output // sorted
	// commits are the connection tracking entries that the packet writes, as
	// "zone label".
	commits []string
	zone    int    // in which the packet was tracked first; -1: the packet was not tracked
	why     string // for people
}

func (a answer) equal(b answer) bool {
	return slices.Equal(a.outputs, b.outputs) && slices.Equal(a.commits, b.commits) && (a.zone == b.zone || a.zone < 0 || b.zone < 0)
}

func (a answer) String() string {
	return fmt.Sprintf("to %v, commits %v, zone %d", a.outputs, a.commits, a.zone)
}

func (a answer) sorted() answer {
	slices.SortFunc(a.outputs, func(x, y output) int { return int(x.ofport)<<12 + int(x.vlan) - int(y.ofport)<<12 - int(y.vlan) })
	slices.Sort(a.commits)
	return a
}

// loaded is a world that was read and resolved.
type loaded struct {
	w      *world
	policy *policy.Policy
	model  *policy.Model
	// classes are those of the ports; highestEpoch is Input.HighestEpoch.
	classes      map[uint16]compile.Class
	highestEpoch uint32
}

func (w *world) resolve() (*loaded, error) {
	p, err := w.load()
	if err != nil {
		return nil, err
	}
	model, _ := resolve.Once(p, w.vifs)
	l := &loaded{w: w, policy: p, model: model, classes: map[uint16]compile.Class{}}
	for port, e := range w.epochs {
		if e != 1 { // a class for each epoch, another epoch for each direction
			l.classes[port] = compile.Class{Index: e, Epochs: flows.Epochs{policy.Egress: e, policy.Ingress: e ^ 0x50}}
		}
	}
	return l, nil
}

// epoch returns the epoch of a port's class, 0 if there is no such port.
func (l *loaded) epoch(ofport uint16, d policy.Direction) uint32 {
	if ofport == 0 {
		return 0
	}
	if c, ok := l.classes[ofport]; ok {
		return c.Epochs[d]
	}
	return 1
}

func (l *loaded) endpoint(ofport uint16) *policy.Endpoint {
	for i := range l.model.Endpoints {
		if e := &l.model.Endpoints[i]; e.OFPort == ofport {
			return e
		}
	}
	return nil
}

// at finds the VM with a MAC in a network.
func (l *loaded) at(network uint16, m policy.MAC) (ofport uint16) {
	for _, e := range l.model.Endpoints {
		if e.Tag == network && e.MAC == m {
			return e.OFPort
		}
	}
	return 0
}

func (l *loaded) evaluate(orig, resp uint16, c tuple) policy.Verdict {
	return policy.Evaluate(l.policy, l.w.vifs, policy.Connection{
		Originator: policy.Party{OFPort: orig, Addr: c.src}, Responder: policy.Party{OFPort: resp, Addr: c.dst},
		Protocol: c.proto, Port: c.dport,
	})
}

// networkAt returns the network of a frame at an infrastructure port.
func networkAt(k packet) (network uint16, ok bool) {
	switch k.inPort {
	case trunkPort, localPort:
		return k.vlan, true
	case limitedPort:
		return 10, k.vlan == 10
	case accessPort:
		return 20, k.vlan == 0
	case nativePort:
		return 30, k.vlan == 0 || k.vlan == 30
	}
	return 0, false
}

func others(outputs []output, not uint16) []output {
	return slices.DeleteFunc(outputs, func(o output) bool { return o.ofport == not })
}

// judgement is the meaning of the policy for one packet between two ports; 0
// is outside.
type judgement struct {
	allowed bool
	commit  string
	zone    int
	verdict policy.Verdict
}

func (l *loaded) judge(k packet, network, from, to uint16) judgement {
	orig, resp := from, to
	if k.replies() {
		orig, resp = to, from
	}
	j := judgement{verdict: l.evaluate(orig, resp, k.conn), zone: int(from + to)}
	if from != 0 && to != 0 {
		j.zone = 0x8000 | int(network)
	}
	egress, ingress := j.verdict.Egress.Allowed, j.verdict.Ingress.Allowed
	stale, label := false, flows.Label{}
	if orig != 0 {
		label.Orig, label.OrigEpoch = uint32(orig), l.epoch(orig, policy.Egress)
		fresh := k.label.Orig == label.Orig && k.label.OrigEpoch == label.OrigEpoch
		stale = !fresh
		egress = egress || !k.carried && fresh
	}
	if resp != 0 {
		label.Resp, label.RespEpoch = uint32(resp), l.epoch(resp, policy.Ingress)
		fresh := k.label.Resp == label.Resp && k.label.RespEpoch == label.RespEpoch
		stale = stale || !fresh
		ingress = ingress || !k.carried && fresh
	}
	// Only the ends of a connection speak about it.
	stranger := k.related() && (orig != 0 && k.label.Orig != uint32(orig) || resp != 0 && k.label.Resp != uint32(resp))
	j.allowed = egress && ingress && k.state != "inv" && !stranger
	piece := l.w.userspace && k.later
	if piece {
		j.fragment(k, from)
	}
	if j.allowed && (stale || piece) && !k.related() {
		j.commit = fmt.Sprintf("%d %s", j.zone, label)
	}
	return j
}

// fragment judges a later fragment on the userspace datapath. It has the fate of the
// first: the commit holds it until the first comes.
func (j *judgement) fragment(k packet, from uint16) {
	if k.to[0]&1 == 0 && k.state != "inv" {
		j.allowed = true
	}
	port, client := k.conn.dport, uint16(68)
	if k.replies() {
		port = k.conn.sport
	}
	if k.src.Is6() {
		client = 546
	}
	guarded := from != 0 && k.conn.proto == flows.ProtoUDP && port == client
	j.allowed = j.allowed && !k.related() && !guarded
}

func (j judgement) why() string {
	return fmt.Sprintf("egress: %+v\ningress: %+v", j.verdict.Egress, j.verdict.Ingress)
}

// want returns the fate of a packet by the reference.
func (l *loaded) want(k packet) answer {
	nothing := func(why string) answer { return answer{zone: -1, why: why} }
	from, network := uint16(0), uint16(0)
	if e := l.endpoint(k.inPort); e != nil {
		from, network = e.OFPort, e.Tag
		switch {
		case k.vlan != 0 || e.MAC.IsZero() || e.MAC != k.eth:
			return nothing("not the MAC of the VM")
		case !slices.Contains(e.Addrs, k.src):
			return nothing("not an address of the VM")
		}
	} else {
		var ok bool
		if network, ok = networkAt(k); !ok {
			return nothing("nobody's port or VLAN")
		}
	}
	if k.to[0]&1 != 0 {
		return l.wantMany(k, from, network)
	}
	to := l.at(network, k.to)
	if from == 0 && to == 0 {
		return answer{outputs: others(where(network), k.inPort), zone: -1, why: "between infrastructure ports"}.sorted()
	}
	j := l.judge(k, network, from, to)
	a := answer{zone: j.zone, why: j.why()}
	if !j.allowed {
		return a
	}
	if j.commit != "" {
		a.commits = []string{j.commit}
	}
	if a.outputs = []output{{to, 0}}; to == 0 {
		a.outputs = where(network)
	}
	return a.sorted()
}

// wantMany is like want, for a frame to a multicast address.
func (l *loaded) wantMany(k packet, from, network uint16) answer {
	a := answer{zone: -1}
	ports := func(yield func(uint16)) {
		for _, e := range l.model.Endpoints {
			if e.Tag == network && e.OFPort != from {
				yield(e.OFPort)
			}
		}
	}
	if from == 0 {
		a.outputs = others(where(network), k.inPort)
		group := k.dst.IsMulticast() || k.dst == netip.AddrFrom4([4]byte{255, 255, 255, 255})
		if group && (k.replies() || k.related()) {
			return a.sorted()
		}
		copied := false
		ports(func(p uint16) {
			k := k
			if !group && copied {
				// Each copy is tracked by itself, but the emulation forgets the
				// tuple at the first: zeros are judged instead.
				zero := netip.IPv6Unspecified()
				if k.src.Is4() {
					zero = netip.IPv4Unspecified()
				}
				k.conn, k.label = tuple{src: zero, dst: zero}, flows.Label{}
			}
			copied = true
			j := l.judge(k, network, 0, p)
			a.why += fmt.Sprintf("%d: %s\n", p, j.why())
			if j.allowed {
				a.outputs = append(a.outputs, output{p, 0})
				if j.commit != "" && !group {
					a.commits = append(a.commits, j.commit)
				}
			}
		})
		return a.sorted()
	}
	j := l.judge(k, network, from, 0)
	a.zone, a.why = j.zone, j.why()+"\n"
	if !j.allowed {
		return a
	}
	a.outputs = where(network)
	if j.commit != "" {
		a.commits = []string{j.commit}
	}
	if !k.replies() && !k.related() {
		ports(func(p uint16) {
			v := l.evaluate(from, p, k.conn)
			a.why += fmt.Sprintf("%d: %+v\n", p, v.Ingress)
			if v.Ingress.Allowed {
				a.outputs = append(a.outputs, output{p, 0})
			}
		})
	}
	return a.sorted()
}

// answerOf reads the answer from a trace.
func answerOf(k packet, r testbed.Trace) (answer, error) {
	a := answer{zone: -1}
	n := 0
	vlans := []uint16{k.vlan} // the VLAN with which each pass begins
	var walk func(actions string, vlan uint16) error
	walk = func(actions string, vlan uint16) error {
		for _, act := range splitTopLevel(actions) {
			name, args, _ := strings.Cut(strings.TrimSuffix(act, ")"), "(")
			switch name {
			case "push_vlan":
				if vlan != 0 {
					return fmt.Errorf("a second tag in %s", actions)
				}
				if _, err := fmt.Sscanf(args, "vid=%d", &vlan); err != nil {
					return fmt.Errorf("%s: %w", act, err)
				}
			case "pop_vlan":
				if vlan == 0 {
					return fmt.Errorf("no tag to take off in %s", actions)
				}
				vlan = 0
			case "recirc":
				vlans = append(vlans, vlan)
			case "clone":
				if err := walk(args, vlan); err != nil {
					return err
				}
			case "ct":
				var zone int
				i := strings.Index(args, "zone=")
				if i < 0 {
					return fmt.Errorf("no zone in %s", act)
				}
				_, _ = fmt.Sscanf(args[i:], "zone=%d", &zone)
				if !strings.HasPrefix(args, "commit") {
					if a.zone < 0 {
						a.zone = zone
					}
					continue
				}
				_, label, ok := strings.Cut(args, "label=")
				if !ok || strings.Contains(label, "/") {
					return fmt.Errorf("no whole label in %s", act)
				}
				label, _, _ = strings.Cut(label, ",")
				a.commits = append(a.commits, fmt.Sprintf("%d %s", zone, label))
			case "drop", "ct_clear":
			default:
				if _, err := strconv.Atoi(name); err != nil {
					return fmt.Errorf("unknown action %s", act)
				}
				a.outputs = append(a.outputs, output{uint16(r.Outputs[n]), vlan})
				n++
			}
		}
		return nil
	}
	for _, pass := range r.Passes {
		if len(vlans) == 0 {
			return a, fmt.Errorf("a pass without recirculation")
		}
		vlan := vlans[0]
		vlans = vlans[1:]
		if err := walk(pass.Actions, vlan); err != nil {
			return a, err
		}
	}
	return a.sorted(), nil
}

func splitTopLevel(s string) (parts []string) {
	depth, start := 0, 0
	for i := range len(s) + 1 {
		switch {
		case i == len(s) || s[i] == ',' && depth == 0:
			parts, start = append(parts, s[start:i]), i+1
		case s[i] == '(':
			depth++
		case s[i] == ')':
			depth--
		}
	}
	return parts
}
