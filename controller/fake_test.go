package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/resolve"
)

// fakeSwitch is a switch in memory. It outlives connections to it.
type fakeSwitch struct {
	mu      sync.Mutex
	flows   *flows.Set
	foreign *flows.Set
	ports   chan struct{}
	changed chan struct{} // rings after changes by others
	silent  bool          // it is too old to tell of changes by others
	bundles []flows.Delta
	flushed []string
	noFlood map[uint32]bool
	calls   []string
	conn    *fakeConn
	version string
	// noFlushAddr: it is too old for that.
	noFlushAddr bool
	// fail, if set, decides about each Apply: what it returns, and whether
	// the change is made all the same.
	fail func(flows.Delta) (error, bool)
}

type fakeConn struct {
	*fakeSwitch
	done chan struct{}
	once sync.Once
}

func newFakeSwitch() *fakeSwitch {
	return &fakeSwitch{flows: &flows.Set{}, foreign: &flows.Set{}, ports: make(chan struct{}), changed: make(chan struct{}, 1)}
}

func (s *fakeSwitch) dial(context.Context, string) (Switch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = &fakeConn{fakeSwitch: s, done: make(chan struct{})}
	return s.conn, nil
}

// hangUp ends the connection from the switch's side.
func (s *fakeSwitch) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn.once.Do(func() { close(s.conn.done) })
}

func (s *fakeSwitch) note(format string, args ...any) {
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

func (c *fakeConn) DumpAll(context.Context) (ours, foreign *flows.Set, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("dump")
	return c.flows.Clone(), c.foreign.Clone(), nil
}

func (c *fakeConn) Watched() bool { return !c.silent }

func (c *fakeConn) Foreign() <-chan struct{} { return c.changed }

func (c *fakeConn) Counts(context.Context) ([]int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := make([]int, len(flows.Tables()))
	for _, s := range []*flows.Set{c.flows, c.foreign} {
		for f := range s.All() {
			if int(f.Table) < len(counts) {
				counts[f.Table]++
			}
		}
	}
	return counts, nil
}

func (c *fakeConn) PortStatus() <-chan struct{} { return c.ports }

func (c *fakeConn) Apply(_ context.Context, d flows.Delta) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("apply")
	var err error
	made := true
	if c.fail != nil {
		err, made = c.fail(d)
	}
	if made {
		d.ApplyTo(c.flows)
		for _, fs := range [][]flows.Flow{d.Delete, d.Modify} {
			for _, f := range fs {
				c.foreign.Delete(f.Key)
			}
		}
		c.bundles = append(c.bundles, d)
	}
	return err
}

func (c *fakeConn) Barrier(context.Context) error { return nil }

func (c *fakeConn) Version() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

func (c *fakeConn) Nudge(context.Context) error { return nil }

func (c *fakeConn) NoFlood(_ context.Context, ports map[uint32]bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("no-flood")
	c.noFlood = maps.Clone(ports)
	return nil
}

func (c *fakeConn) CheckNoFlood(_ context.Context, want map[uint32]bool) (differ []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for port, on := range want {
		if c.noFlood[port] != on {
			differ = append(differ, fmt.Sprintf("port %d", port))
		}
	}
	return differ, nil
}

func (c *fakeConn) FlushZone(_ context.Context, zone uint16) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("flush %d", zone)
	c.flushed = append(c.flushed, fmt.Sprint(zone))
	return nil
}

func (c *fakeConn) FlushAddr(_ context.Context, zone uint16, addr netip.Addr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noFlushAddr {
		return errors.ErrUnsupported
	}
	c.note("flush %d %s", zone, addr)
	c.flushed = append(c.flushed, fmt.Sprint(zone, " ", addr))
	return nil
}

func (c *fakeConn) Done() <-chan struct{} { return c.done }

func (c *fakeConn) Close() error {
	c.once.Do(func() { close(c.done) })
	return nil
}

// fakeDatabase is the bridge in a database in memory.
type fakeDatabase struct {
	snapshots chan vswitch.Snapshot
	seq       atomic.Uint64
	prepared  atomic.Int32 // how often Prepare was called
	refuses   atomic.Bool  // Prepare fails
	version   string       // of Open vSwitch, in the next snapshot
}

func (d *fakeDatabase) Snapshots() <-chan vswitch.Snapshot { return d.snapshots }

func (d *fakeDatabase) Sync(context.Context) (uint64, error) { return d.seq.Load(), nil }

func (d *fakeDatabase) Prepare(context.Context) (vswitch.Prepared, error) {
	d.prepared.Add(1)
	if d.refuses.Load() {
		return vswitch.Prepared{}, errors.New("not now")
	}
	return vswitch.Prepared{}, nil
}

func (d *fakeDatabase) Status() vswitch.Status { return vswitch.Status{Connected: true} }

func (d *fakeDatabase) send(bridge vswitch.Bridge, ports []vswitch.Port) {
	d.snapshots <- vswitch.Snapshot{Seq: d.seq.Add(1), OVSVersion: d.version, Bridge: bridge, Ports: ports}
}

// rig is a controller with a fake switch and inputs of the test's making.
type rig struct {
	t      *testing.T
	sw     *fakeSwitch
	src    source
	db     *fakeDatabase
	c      *Controller
	config func(*Config) // changes the configuration, if set
	cancel context.CancelFunc
	ended  chan struct{}
}

func newRig(t *testing.T, sw *fakeSwitch) *rig { return newRigWith(t, sw, newMemorySource(false), nil) }

func newRigWith(t *testing.T, sw *fakeSwitch, src source, config func(*Config)) *rig {
	r := &rig{t: t, sw: sw, src: src, config: config}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

// start starts a controller that knows nothing.
func (r *rig) start() {
	r.src.start(r.t)
	r.db = &fakeDatabase{snapshots: make(chan vswitch.Snapshot)}
	cfg := Config{Bridge: "br0", Source: r.src, Database: r.db, Dial: r.sw.dial, Logger: zaptest.NewLogger(r.t, zaptest.Level(zap.WarnLevel))}
	if r.config != nil {
		r.config(&cfg)
	}
	r.c = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.ended = cancel, make(chan struct{})
	go func() {
		defer close(r.ended)
		if err := r.c.Run(ctx); !errors.Is(err, context.Canceled) {
			r.t.Errorf("run: %v", err)
		}
	}()
}

// stop stops the controller, and then the source, once.
func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	<-r.ended
	r.src.stop()
	r.cancel = nil
}

// state is one state of the world.
type state struct {
	policy string
	ports  []vswitch.Port
}

func vmPort(name string, ofport int, id string) vswitch.Port {
	return vswitch.Port{Name: name, PortName: name, OFPort: ofport, IfaceID: id, Kind: vswitch.VM, State: vswitch.Pending,
		AttachedMAC: fmt.Sprintf("02:00:00:00:00:%02x", len(id)+int(id[0]))}
}

var uplinkPort = vswitch.Port{Name: "eth0", PortName: "eth0", OFPort: 1, Kind: vswitch.Infrastructure, State: vswitch.Trusted}

var secure = vswitch.Bridge{Name: "br0", Exists: true}

// put changes the policy, which is one unit in most tests.
func (r *rig) put(policyText string) {
	r.src.put("policy.yaml", policyText)
	r.src.look()
}

// set brings the controller to a state and waits until it is in force.
func (r *rig) set(s state) {
	r.t.Helper()
	r.put(s.policy)
	r.db.send(secure, s.ports)
	r.wait()
}

func (r *rig) wait() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.c.Wait(ctx); err != nil {
		r.t.Fatalf("wait: %v", err)
	}
}

// installed returns the switch's flows as text.
func (r *rig) installed() string {
	r.sw.mu.Lock()
	defer r.sw.mu.Unlock()
	return r.sw.flows.String()
}

// epochs returns the epochs of the VM ports by ofport.
func (r *rig) epochs() map[uint16]control.PortEpochs {
	r.t.Helper()
	out := map[uint16]control.PortEpochs{}
	for _, p := range r.status().Ports {
		if p.Epochs != nil {
			out[uint16(p.OFPort)] = *p.Epochs
		}
	}
	return out
}

// forget empties what the switch has noted.
func (r *rig) forget() {
	r.sw.mu.Lock()
	defer r.sw.mu.Unlock()
	r.sw.bundles, r.sw.flushed, r.sw.calls = nil, nil, nil
}

func (r *rig) noted() (bundles []flows.Delta, flushed, calls []string) {
	r.sw.mu.Lock()
	defer r.sw.mu.Unlock()
	return slices.Clone(r.sw.bundles), slices.Clone(r.sw.flushed), slices.Clone(r.sw.calls)
}

// model resolves objects from nothing.
func model(objects policy.Objects, vifs []policy.VIF) *policy.Model {
	p, _ := policy.New([]policy.Objects{objects}, policy.Options{})
	m, _ := resolve.Once(p, vifs)
	return m
}
