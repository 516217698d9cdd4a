package unixctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Describe returns the version of Open vSwitch, such as 3.1.0, and what the
// datapath of a bridge can do, as dpif/show-dp-features and dpif/set-dp-features
// say it; empty if there is no such bridge.
func (v *Vswitchd) Describe(ctx context.Context, bridge string) (version, features string, err error) {
	if version, err = v.Call(ctx, "version"); err != nil {
		return "", "", err
	}
	// The first line is: ovs-vswitchd (Open vSwitch) 3.1.0
	first, _, _ := strings.Cut(version, "\n")
	version = first[strings.LastIndexByte(first, ' ')+1:]
	// The first tells what the datapath was able to do when it was opened, the
	// second, which sets nothing without more arguments, also what is used of it.
	for _, command := range []string{"dpif/show-dp-features", "dpif/set-dp-features"} {
		text, err := v.Call(ctx, command, bridge)
		if _, refused := errors.AsType[*Error](err); err != nil && !refused {
			return "", "", err
		}
		features += text
	}
	return version, features, nil
}

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

// wakeInterval is how often the main loop is woken while it waits for a round.
const wakeInterval = 2 * time.Millisecond

// AwaitRound returns when a round of the revalidators has ended that was under way
// at the call or began after it. The revalidators may rest for half a second:
// nudge is called while ovs-vswitchd is already waiting, and wakes them. The main
// loop, which answers, may miss the end of a round and go to sleep as well (it looks
// at the number of rounds twice in a turn, and only waits for those after the second
// look): wake is called again and again, and gives the loop something to do.
//
// Where ovs-vswitchd has datapaths of several types it cannot wait, and the error
// wraps [errors.ErrUnsupported].
func (v *Vswitchd) AwaitRound(ctx context.Context, nudge, wake func(context.Context) error) error {
	answered := make(chan struct{})
	var waking sync.WaitGroup
	_, err := v.do(ctx, call{method: "revalidator/wait", sent: func() error {
		if err := nudge(ctx); err != nil {
			return err
		}
		waking.Go(func() {
			tick := time.NewTicker(wakeInterval)
			defer tick.Stop()
			for {
				select {
				case <-answered:
					return
				case <-tick.C:
				}
				if wake(ctx) != nil {
					return
				}
			}
		})
		return nil
	}})
	close(answered)
	waking.Wait()
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
