package controller

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
)

// What the source holds changes nothing in force, under this agent and the next,
// which goes on enforcing the policy of before for new ports. The release is of
// the source, and of what the guard holds because of it.
func TestSourceHolds(t *testing.T) {
	for _, share := range []float64{0, 0.5} {
		src := newDirectory(t, share > 0)
		r := newRigWith(t, newFakeSwitch(), src, guarded(share))
		r.set(state{twoVMs(nil, ssh, fromB, egress), twoPorts[:2]})
		held := func(what, reason string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := r.c.Wait(ctx); !errors.Is(err, control.ErrHeld) {
				t.Fatalf("max-revoke %g, %s: wait: %v", share, what, err)
			}
			if st := r.status(); st.State != "held" || st.Held == nil || !strings.Contains(st.Reason, reason) {
				t.Errorf("max-revoke %g, %s: %q %q %+v", share, what, st.State, st.Reason, st.Held)
			}
		}
		const empty = "policy directory: "
		before := r.rules()
		if err := errors.Join(os.Rename(src.dir, src.dir+".away"), os.Mkdir(src.dir, 0o700)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(src.dir + ".away") })
		held("another directory", empty)
		if r.rules() != before {
			t.Errorf("max-revoke %g: the flows changed", share)
		}
		r.db.send(secure, twoPorts)
		held("a port comes", empty)
		full := r.rules()
		if full == before {
			t.Errorf("max-revoke %g: the port that came has no flows", share)
		}

		r.stop()
		r.start()
		r.db.send(secure, twoPorts[:2])
		held("restarted", empty)
		if r.rules() != before {
			t.Errorf("max-revoke %g: the port that went has flows", share)
		}
		r.db.send(secure, twoPorts)
		held("restarted, and a port comes", empty)
		if r.rules() != full {
			t.Errorf("max-revoke %g: the flows differ after a restart", share)
		}
		if st := r.status(); st.Counts.Kept == 0 || st.Counts.Accepted > 0 {
			t.Errorf("max-revoke %g: files %+v", share, st.Counts)
		}

		release := func() {
			t.Helper()
			if err := r.c.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		release()
		if share > 0 {
			held("released", "none of the 2 VMs")
			release()
		}
		r.wait()
		if st := r.status(); st.State != "enforcing" || r.rules() == full {
			t.Errorf("max-revoke %g: after the release: %q", share, st.State)
		}
		if err := r.c.Release(t.Context()); err == nil {
			t.Error("released though nothing was held")
		}
	}
}
