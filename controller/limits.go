package controller

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/policy"
)

// limits are the limits on connections, of the zones of VM ports.
type limits struct {
	set     map[uint16]bool // the zones that have one; nil: unknown
	reached []uint16        // the zones that are full
	err     string          // why limits cannot be set or read; empty if they can
}

// limitConnections gives the zone of each VM port the configured limit, and takes it from
// zones that are no port's any more. A datapath that has no limits keeps no flow
// from being enforced.
func (e *enforcer) limitConnections(ctx context.Context, datapathType string, local *policy.Model) {
	if e.cfg.MaxConnections == 0 || e.cfg.Daemon == nil {
		return
	}
	change, now := map[uint16]uint32{}, map[uint16]bool{}
	for i := range local.Endpoints {
		zone := local.Endpoints[i].OFPort
		if now[zone] = true; !e.limits.set[zone] {
			change[zone] = e.cfg.MaxConnections
		}
	}
	for zone := range e.limits.set {
		if !now[zone] {
			change[zone] = 0
		}
	}
	if len(change) == 0 {
		return
	}
	if e.limitsFailed(e.cfg.Daemon.LimitConnections(ctx, datapathType, change)) {
		e.limits.set = nil
		return
	}
	e.limits.set = now
}

// readLimits notes which zones are full.
func (e *enforcer) readLimits(ctx context.Context, datapathType string) {
	if len(e.limits.set) == 0 {
		e.limits.reached = nil
		return
	}
	full, err := e.cfg.Daemon.FullZones(ctx, datapathType)
	if e.limitsFailed(err) {
		return
	}
	e.limits.reached = slices.DeleteFunc(full, func(zone uint16) bool { return !e.limits.set[zone] })
}

// limitsFailed keeps an error for the status, and logs each once.
func (e *enforcer) limitsFailed(err error) bool {
	was := e.limits.err
	if e.limits.err = ""; err == nil {
		return false
	}
	if e.limits.err = err.Error(); e.limits.err != was {
		e.log.Warn("limit of connections", zap.Error(err))
	}
	return true
}

// warnings says what is to be said of the limits; name gives the names of ports.
func (l *limits) warnings(most uint32, name func(ofport uint16) string) (out []string) {
	if l.err != "" {
		out = append(out, "--max-connections-per-vm: "+l.err+"; the number of connections is not limited")
	}
	for _, zone := range l.reached {
		out = append(out, fmt.Sprintf("port %s: it has the %d connections with the outside that --max-connections-per-vm allows, and gets no new ones", name(zone), most))
	}
	return out
}
