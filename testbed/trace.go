package testbed

import (
	"context"

	"github.com/ovs-sg/ovs-sg/ovsdb/unixctl"
)

// Trace is the parsed output of ofproto/trace.
type Trace = unixctl.Trace

// Tracer is a unixctl.Tracer whose calls have the time limit of the commands.
type Tracer struct{ t *unixctl.Tracer }

// Tracer connects to the running ovs-vswitchd.
func (o *OVS) Tracer() (*Tracer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	t, err := unixctl.NewTracer(ctx, o.Ctl())
	if err != nil {
		return nil, err
	}
	return &Tracer{t}, nil
}

// Close ends the connection.
func (t *Tracer) Close() error { return t.t.Close() }

// ReadPorts learns the port numbers again. It is needed when ports were removed
// after the Tracer was made.
func (t *Tracer) ReadPorts() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return t.t.ReadPorts(ctx)
}

// Trace follows a packet through a bridge, as the method of unixctl.Tracer.
func (t *Tracer) Trace(bridge, flow string, ctNext ...string) (Trace, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return t.t.Trace(ctx, bridge, flow, ctNext...)
}
