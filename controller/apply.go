package controller

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/flows/compile"
	"github.com/ovs-sg/ovs-sg/policy"
)

// apply makes the switch enforce the newest snapshots.
func (c *Controller) apply(ctx context.Context) error {
	var foreign *flows.Set
	known := c.conn != nil
	if !known {
		o, err := c.connect(ctx)
		if err != nil {
			return err
		}
		c.conn, c.noFlood, c.installed, foreign = o.conn, nil, o.installed, o.foreign
	}
	// First of all NORMAL must not flood to a port that is not trusted.
	if c.noFlood == nil || !maps.Equal(c.noFlood, c.host.noFlood) {
		if err := c.conn.NoFlood(ctx, c.host.noFlood); err != nil {
			return fmt.Errorf("set NO_FLOOD: %w", err)
		}
		c.noFlood = c.host.noFlood
	}

	started := time.Now()
	delta, err := c.compile(foreign, known)
	if err != nil {
		return err
	}
	compiled := time.Since(started)
	targets := c.flushes.targets()
	if err := c.flush(ctx, targets); err != nil {
		return err
	}
	if !delta.Empty() {
		c.settled = false
		if err := c.conn.Apply(ctx, delta); err != nil {
			return fmt.Errorf("apply %d flow changes: %w", delta.Len(), err)
		}
	}
	confirmed := time.Since(started)
	if err := c.settle(ctx); err != nil {
		return err
	}
	if err := c.flush(ctx, targets); err != nil {
		return err
	}
	clear(c.flushes)
	delta.ApplyTo(c.installed)
	c.report(delta, compiled, confirmed)
	return nil
}

// compile takes in what is new and returns the flows that change with it.
// known says that the compiler knows which flows are installed.
func (c *Controller) compile(foreign *flows.Set, known bool) (flows.Delta, error) {
	first := !c.adopted
	if first {
		c.adopted = true
		if flows.OtherLayout(c.installed) {
			c.flushes.everything()
		} else {
			c.compiler.Adopt(c.installed)
		}
	}
	host := flows.Host{Infra: c.host.infra, Userspace: userspace(c.ports.Bridge.DatapathType)}
	change := c.advance()
	if !first {
		c.flushes.endpoints(change.Endpoints)
	}
	delta, alone, err := c.compiler.Update(change, host)
	if c.compiler.Wrapped() {
		c.flushes.everything()
	}
	if err != nil {
		return flows.Delta{}, err
	}
	if known && alone {
		return delta, nil
	}
	desired, err := c.compiler.Flows()
	if err != nil {
		return flows.Delta{}, err
	}
	if !c.tookOver {
		if desired, err = c.takeOver(desired); err != nil {
			return flows.Delta{}, err
		}
		c.tookOver = true
	}
	if err := inTheWay(foreign, desired); err != nil {
		return flows.Delta{}, err
	}
	return flows.Diff(desired, c.installed), nil
}

// takeOver does, after a restart, what only the flows in force tell of:
// members who have left since, and ports and addresses that are another's.
func (c *Controller) takeOver(desired *flows.Set) (*flows.Set, error) {
	if flows.OtherLayout(c.installed) {
		return desired, nil
	}
	c.flushes.taken(c.installed, desired)
	if c.installed.Len() == 0 {
		// Nothing tells which epochs there were: connections may carry any.
		for _, e := range c.book.Local().Endpoints {
			c.flushes[flushTarget{zone: flows.LocalZone(e.Tag)}] = true
		}
	}
	raise := func(d policy.Direction) {
		c.compiler.RaiseEpochs(d)
		if c.compiler.Wrapped() {
			c.flushes.everything()
		}
	}
	egress, ingress := compile.MembersShrank(desired, c.installed)
	if egress {
		raise(policy.Egress)
	}
	if ingress {
		raise(policy.Ingress)
	}
	if !egress && !ingress {
		return desired, nil
	}
	return c.compiler.Flows()
}

// inTheWay says which flows of others would act on packets before or instead
// of ours. One that has the key of a flow of ours is none of them: it will be
// replaced.
func inTheWay(foreign, desired *flows.Set) error {
	if foreign == nil {
		return nil
	}
	var found []string
	for _, f := range foreign.Sorted() {
		if _, replaced := desired.Get(f.Key); !replaced && int(f.Table) < len(flows.Tables()) {
			found = append(found, f.String())
		}
	}
	if len(found) == 0 {
		return nil
	}
	more := ""
	if n := len(found) - 3; n > 0 {
		found, more = found[:3], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("flows of somebody else are in the way, in tables 0 to %d: %s%s; nothing is enforced until they are removed",
		len(flows.Tables())-1, strings.Join(found, " | "), more)
}

// settle sees to it that the datapath, too, has forgotten what is not in force
// any more: after a change, and after a start, for the agent before may have
// ended in between.
func (c *Controller) settle(ctx context.Context) error {
	infra := map[uint32]bool{}
	for _, p := range c.host.infra {
		infra[p.OFPort] = true
	}
	if c.cfg.Daemon != nil {
		// NORMAL learns from infrastructure ports alone, but it may have
		// learned more while the bridge was not ours or a port was trusted.
		untrusted := c.infra == nil
		for p := range c.infra {
			untrusted = untrusted || !infra[p]
		}
		if untrusted {
			if err := c.cfg.Daemon.FlushFDB(ctx); err != nil {
				return err
			}
		}
		if !c.settled {
			if err := c.cfg.Daemon.Settle(ctx, NeedsPurge(c.ports.Bridge.DatapathType, c.ports.OVSVersion)); err != nil {
				return err
			}
		}
	}
	c.infra, c.settled = infra, true
	return nil
}

// report says what changed.
func (c *Controller) report(d flows.Delta, compiled, confirmed time.Duration) {
	c.applied++
	took := c.change.end()
	what := c.lastWhat
	c.lastWhat = nil
	if d.Empty() && (len(what) == 0 || c.held != nil) {
		return // nothing happened, or nothing yet
	}
	c.change.last = LastChange{
		Time: time.Now(), What: what, Added: len(d.Add), Modified: len(d.Modify), Deleted: len(d.Delete),
		Took: took, Compile: compiled, Switch: confirmed - compiled,
	}
	if d.Empty() {
		c.log.Info("no flow changes", zap.Strings("change", what), zap.Duration("took", took))
		return
	}
	c.log.Info("enforced",
		zap.Strings("change", what),
		zap.Int("added", len(d.Add)), zap.Int("modified", len(d.Modify)), zap.Int("deleted", len(d.Delete)),
		zap.Int("flows", c.installed.Len()),
		zap.Duration("took", took), zap.Duration("compile", compiled), zap.Duration("switch", confirmed-compiled))
}
