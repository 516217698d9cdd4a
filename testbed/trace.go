package testbed

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ovs-sg/ovs-sg/ovsdb/unixctl"
)

// Tracer asks ovs-vswitchd what would become of a packet. It has a connection
// of its own; calls on one Tracer follow each other, so a test that traces much
// uses several.
type Tracer struct {
	ctl     *unixctl.Client
	ofports map[string]int // datapath port: OpenFlow port
}

// Trace is what ofproto/trace says.
type Trace struct {
	Text    string
	Passes  []TracePass // the first one and one for each recirculation
	Outputs []int       // OpenFlow ports to which all passes send copies, in their order
}

// TracePass is one way of the packet through the pipeline.
type TracePass struct {
	Flow, FinalFlow, Megaflow string
	Actions                   string // of the datapath, with its port numbers
}

// Tracer connects to the running ovs-vswitchd.
func (o *OVS) Tracer() (*Tracer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	ctl, err := unixctl.Dial(ctx, o.Ctl())
	if err != nil {
		return nil, fmt.Errorf("connect tracer: %w", err)
	}
	t := &Tracer{ctl: ctl}
	if err := t.ReadPorts(); err != nil {
		_ = ctl.Close()
		return nil, err
	}
	return t, nil
}

func (t *Tracer) call(method string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return t.ctl.Call(ctx, method, args...)
}

// Close ends the connection.
func (t *Tracer) Close() error { return t.ctl.Close() }

// ReadPorts learns the port numbers again. It is needed when ports were removed
// after the Tracer was made.
func (t *Tracer) ReadPorts() error {
	text, err := t.call("dpif/show")
	if err != nil {
		return err
	}
	ofports := map[string]int{}
	for _, m := range dpifPort.FindAllStringSubmatch(text, -1) {
		if ofports[m[2]], err = strconv.Atoi(m[1]); err != nil {
			return fmt.Errorf("read ports: %w", err)
		}
	}
	t.ofports = ofports
	return nil
}

// dpifPort is a port in the output of dpif/show: name ofport/datapath port.
var dpifPort = regexp.MustCompile(`(?m)^\s+\S+ (\d+)/(\d+): \(`)

// Trace follows a packet, given in the syntax of ovs-ofctl, through a bridge.
// ctNext are the ct_state of the recirculations in turn, such as "trk,est";
// trk,new where they end.
func (t *Tracer) Trace(bridge, flow string, ctNext ...string) (Trace, error) {
	args := []string{bridge, flow}
	for _, state := range ctNext {
		args = append(args, "--ct-next", state)
	}
	text, err := t.call("ofproto/trace", args...)
	if err != nil {
		return Trace{}, fmt.Errorf("trace %s: %w", flow, err)
	}
	r := Trace{Text: text, Passes: parseTrace(text)}
	if len(r.Passes) == 0 {
		return r, fmt.Errorf("trace %s: no datapath actions in: %s", flow, text)
	}
	for _, pass := range r.Passes {
		for _, port := range datapathOutputs(pass.Actions) {
			if _, ok := t.ofports[port]; !ok {
				if err := t.ReadPorts(); err != nil {
					return r, err
				}
			}
			ofport, ok := t.ofports[port]
			if !ok {
				return r, fmt.Errorf("trace %s: unknown datapath port %s in: %s", flow, port, pass.Actions)
			}
			r.Outputs = append(r.Outputs, ofport)
		}
	}
	return r, nil
}

// Reaches says whether a copy of the packet goes to an OpenFlow port.
func (r Trace) Reaches(ofport int) bool { return slices.Contains(r.Outputs, ofport) }

// DatapathActions are those of the last pass.
func (r Trace) DatapathActions() string { return r.Passes[len(r.Passes)-1].Actions }

// FinalFlow is that of the last pass.
func (r Trace) FinalFlow() string { return r.Passes[len(r.Passes)-1].FinalFlow }

func parseTrace(text string) []TracePass {
	var passes []TracePass
	var p TracePass
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch key {
		case "Flow":
			p = TracePass{Flow: value}
		case "Final flow":
			if p.FinalFlow = value; value == "unchanged" {
				p.FinalFlow = p.Flow
			}
		case "Megaflow":
			p.Megaflow = value
		case "Datapath actions":
			p.Actions = value
			passes = append(passes, p)
		}
	}
	return passes
}

// datapathOutputs finds the ports in a list of datapath actions, also in those
// inside clone(...) and the like, but not the numbers that are arguments.
func datapathOutputs(actions string) []string {
	var ports []string
	for _, action := range splitActions(actions) {
		name, args, nested := strings.Cut(action, "(")
		switch {
		case !nested:
			if _, err := strconv.Atoi(action); err == nil {
				ports = append(ports, action)
			}
		case name == "clone" || name == "sample" || name == "actions":
			ports = append(ports, datapathOutputs(strings.TrimSuffix(args, ")"))...)
		}
	}
	return ports
}

// splitActions cuts at the commas that are outside parentheses.
func splitActions(s string) []string {
	var parts []string
	depth, start := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				parts = append(parts, s[start:i])
				start = i + 1
			}
		}
	}
	return append(parts, s[start:])
}
