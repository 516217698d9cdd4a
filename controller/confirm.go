package controller

import (
	"context"
	"errors"
)

// confirm returns when the datapath follows the flows in force: no packet that is
// sent from then on is handled by a megaflow that was made by other flows. It
// takes some milliseconds, 10 at the most if the revalidators have little to do.
//
// ovs-vswitchd makes megaflows in threads of its own, and this is how a change of
// flows reaches them:
//
//  1. The main loop makes the change, and answers.
//  2. In its next turn the loop waits until no thread is in the middle of a
//     translation, so that each megaflow which was made by the flows before is
//     in the datapath, and counts the revalidation up. All megaflows
//     older than the count are translated anew in the next round of the
//     revalidators, which begins at once.
//  3. The round ends.
//
// So the turn is waited for first. Only the end of a round can be waited for, and
// the first round that ends may have begun before the turn; the second did not.
// Without a nudge the second would come by itself, after half a second.
//
// Two cases need a purge of all megaflows, which costs a lookup in
// ovs-vswitchd for the next packet of each. After the turn it is as true as the
// rounds: what is translated from then on is translated by the flows in force.
//   - ovs-vswitchd with datapaths of several types cannot wait for a round.
//   - stale says that a round may leave wrong megaflows behind. The purge comes
//     after the rounds, because a round under way could repeat the mistake.
func (e *enforcer) confirm(ctx context.Context, stale bool) error {
	d := e.cfg.Daemon
	if err := d.Turn(ctx); err != nil {
		return err
	}
	purges := 0
	if stale {
		purges = 1
	}
	for range 2 {
		err := d.AwaitRound(ctx, e.conn.Nudge, e.conn.Barrier)
		if errors.Is(err, errors.ErrUnsupported) {
			purges++
			break
		}
		if err != nil {
			return err
		}
	}
	for i := range purges {
		if i > 0 {
			if err := d.Turn(ctx); err != nil {
				return err
			}
		}
		if err := d.Purge(ctx); err != nil {
			return err
		}
	}
	return nil
}
