package unixctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// oneTurn is how many commands of a connection a daemon runs in one turn of its
// main loop at the most (run_connection in lib/unixctl.c, since 2.0).
const oneTurn = 10

// Turn returns when the main loop of ovs-vswitchd has begun another turn. From
// then on everything that was done before the call has been told to the threads
// that make and revalidate megaflows: a turn begins with that, and waits until
// those threads have installed what they translated before.
//
// One command more than a turn runs is sent at once. The last is run in another
// turn than the first.
func (v *Vswitchd) Turn(ctx context.Context) error {
	_, err := v.do(ctx, call{method: "version", times: oneTurn + 1})
	return err
}

// AwaitRound returns when a round of the revalidators has ended that was under way
// at the call or began after it. The revalidators may rest for half a second;
// nudge is called while ovs-vswitchd is already waiting, to wake them.
//
// Where ovs-vswitchd has datapaths of several types it cannot wait, and the error
// wraps [errors.ErrUnsupported].
func (v *Vswitchd) AwaitRound(ctx context.Context, nudge func(context.Context) error) error {
	_, err := v.do(ctx, call{method: "revalidator/wait", sent: func() error { return nudge(ctx) }})
	if refused, ok := errors.AsType[*Error](err); ok && strings.Contains(refused.Message, "multiple udpifs") {
		return fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
	}
	return err
}

// Purge throws all megaflows of all datapaths away.
func (v *Vswitchd) Purge(ctx context.Context) error {
	_, err := v.Call(ctx, "revalidator/purge")
	return err
}
