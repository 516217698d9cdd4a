package unixctl

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Trace is what ofproto/trace says about a packet.
type Trace struct {
	// Text is the output as it is.
	Text string
	// Passes are the first way through the pipeline and one for each
	// recirculation.
	Passes []TracePass
	// Outputs are the OpenFlow ports to which the passes send copies, in the
	// order of the actions.
	Outputs []int
}

// TracePass is one way of the packet through the pipeline.
type TracePass struct {
	// Flow is the packet as it entered, FinalFlow as it left, and Megaflow the
	// part that the decision depends on.
	Flow, FinalFlow, Megaflow string
	// Actions are those of the datapath, with its port numbers.
	Actions string
}

// Reaches tells whether a copy of the packet goes to an OpenFlow port.
func (r Trace) Reaches(ofport int) bool { return slices.Contains(r.Outputs, ofport) }

// DatapathActions are those of the last pass.
func (r Trace) DatapathActions() string { return r.Passes[len(r.Passes)-1].Actions }

// FinalFlow is that of the last pass.
func (r Trace) FinalFlow() string { return r.Passes[len(r.Passes)-1].FinalFlow }

// Tracer asks ovs-vswitchd what would become of a packet. Its methods must not
// be called at the same time; whoever traces much uses several Tracers.
type Tracer struct {
	ctl     *Client
	ofports map[string]int // by datapath port
}

// NewTracer connects to the control socket with that path and learns the port
// numbers.
func NewTracer(ctx context.Context, path string) (*Tracer, error) {
	ctl, err := Dial(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("connect tracer: %w", err)
	}
	t := &Tracer{ctl: ctl}
	if err := t.ReadPorts(ctx); err != nil {
		_ = ctl.Close()
		return nil, err
	}
	return t, nil
}

// Close ends the connection.
func (t *Tracer) Close() error { return t.ctl.Close() }

// ReadPorts learns the port numbers again. Trace does so when a number is unknown;
// after ports were removed, whose numbers others may have now, the caller must.
func (t *Tracer) ReadPorts(ctx context.Context) error {
	text, err := t.ctl.Call(ctx, "dpif/show")
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
// where ctNext ends, it is trk,new.
func (t *Tracer) Trace(ctx context.Context, bridge, flow string, ctNext ...string) (Trace, error) {
	args := []string{bridge, flow}
	for _, state := range ctNext {
		args = append(args, "--ct-next", state)
	}
	text, err := t.ctl.Call(ctx, "ofproto/trace", args...)
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
				if err := t.ReadPorts(ctx); err != nil {
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

// parseTrace finds the passes in the output of ofproto/trace.
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
