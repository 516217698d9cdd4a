package e2e

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
	"github.com/ovs-sg/ovs-sg/testbed"
)

var (
	chaosFor  = flag.Duration("chaos", 0, "how long TestChaos goes on; by default some seconds")
	chaosWith = flag.Uint64("chaos-seed", 0, "what is drawn from, to repeat a run; by default random")
)

// chaosSeed logs the seed that repeats the run.
func chaosSeed(t testing.TB) uint64 {
	seed := *chaosWith
	if seed == 0 {
		seed = 1 + rand.Uint64N(1<<32)
	}
	t.Logf("-chaos-seed %d", seed)
	return seed
}

// chaos is a host to which anything may happen.
type chaos struct {
	*host
	r      *rand.Rand
	names  []string // of the VMs
	done   map[string]int
	probed [2]int // denied, allowed
}

const (
	chaosVMs    = 4
	chaosGroups = 4
)

// chaosServices are the services that the test probes. Every service has a server.
var chaosServices = []struct {
	proto  string
	number uint8
	port   uint16
}{{"udp", 17, 53}, {"udp", 17, 100}, {"tcp", 6, 22}, {"tcp", 6, 80}, {"ping", 1, 0}}

func newChaos(t *testing.T) *chaos {
	c := &chaos{host: newHost(t, testbed.Options{}), done: map[string]int{}}
	for i := range chaosVMs {
		name := fmt.Sprintf("v%d", i)
		c.names = append(c.names, name)
		c.vm(name, 20+i)
	}
	c.uplink("out", 1)
	for _, vm := range c.vms {
		must(t, vm.ServeUDP(53, 100), vm.ServeTCP(22, 80))
	}
	c.write("subnet.yaml", "apiVersion: networking.evroclabs.net/v1alpha1\nkind: Subnet\nmetadata: {name: a}\n"+
		"spec: {ipv4CidrBlock: 10.0.1.0/24, ipv6CidrBlock: \"fd00:1::/64\"}\n")
	return c
}

// rule draws a rule.
func (c *chaos) rule() string {
	pick := func(from ...string) string { return from[c.r.IntN(len(from))] }
	rule := "direction: " + pick("Ingress", "Egress")
	if proto := pick("", "TCP", "UDP", "UDP", "ICMP", "All"); proto != "" {
		rule += ", protocol: " + proto
		if proto == "TCP" || proto == "UDP" {
			rule += pick("", "", ", port: 53", ", port: 22", ", port: 1-99", ", port: 80-100")
		}
	}
	switch c.r.IntN(5) {
	case 0, 1:
		rule += fmt.Sprintf(", remote: {securityGroupRef: {name: g%d}}", c.r.IntN(chaosGroups+1)) // one is not there
	case 2:
		rule += ", remote: {address: {IPAddressOrCIDR: " + pick("10.0.1.20", "10.0.1.20/31", "10.0.1.0/30", "0.0.0.0/0", `"fd00:1::14/127"`, `"::/0"`) + "}}"
	case 3:
		rule += ", remote: {subnetRef: {name: a}}"
	}
	return "{" + rule + "}"
}

func (c *chaos) drawGroup(i int) {
	var rules []string
	for range 1 + c.r.IntN(5) {
		rules = append(rules, c.rule())
	}
	c.write(fmt.Sprintf("g%d.yaml", i), groupOf(fmt.Sprintf("g%d", i), rules...))
}

func (c *chaos) drawVM(name string) {
	var groups []string
	for i := range chaosGroups + 1 {
		if c.r.IntN(3) == 0 {
			groups = append(groups, fmt.Sprintf("g%d", i))
		}
	}
	c.write(name+".yaml", machine(c.vms[name], groups...))
}

// step makes one random thing happen.
func (c *chaos) step() {
	c.t.Helper()
	which := c.r.IntN(len(c.names))
	vm := c.names[which]
	pause := func(limit time.Duration) { time.Sleep(time.Duration(c.r.Int64N(int64(limit)))) }
	what := "policy"
	switch n := c.r.IntN(40); {
	case n < 10:
		c.drawGroup(c.r.IntN(chaosGroups))
	case n < 14:
		c.drawVM(vm)
	case n < 16:
		c.write("crowd.yaml", strings.ReplaceAll(crowd(c.r.IntN(300)), "clientSG", "g0"))
	case n < 17:
		_ = os.Remove(c.path("policy", vm+".yaml"))
	case n < 18:
		what = "broken file"
		c.write(fmt.Sprintf("g%d.yaml", c.r.IntN(chaosGroups)), "kind: [\n")
	case n < 22:
		what = "plug"
		must(c.t, c.vms[vm].Replug(0))
	case n < 24:
		what = "plug elsewhere"
		must(c.t, c.vms[vm].Replug(100*(1+which)+c.r.IntN(100)))
	case n < 26:
		what = "unplug"
		must(c.t, c.vms[vm].Unplug())
	case n < 33:
		what = "kill agent"
		c.murder()
		if c.r.IntN(2) == 0 {
			c.drawGroup(c.r.IntN(chaosGroups))
		}
		pause(20 * time.Millisecond)
		c.spawn()
	case n < 35:
		what = "kill ovs-vswitchd"
		must(c.t, c.ovs.KillSwitchd())
		c.drawVM(vm)
		pause(50 * time.Millisecond)
		must(c.t, c.ovs.StartSwitchd())
	case n < 36:
		what = "kill ovsdb-server"
		must(c.t, c.ovs.KillOvsdb())
		c.drawGroup(c.r.IntN(chaosGroups))
		pause(50 * time.Millisecond)
		must(c.t, c.ovs.StartOvsdb())
	default:
		what = "hang ovs-vswitchd"
		c.hold(syscall.SIGSTOP)
		c.drawGroup(c.r.IntN(chaosGroups))
		pause(100 * time.Millisecond)
		c.hold(syscall.SIGCONT)
	}
	c.done[what]++
	pause(30 * time.Millisecond)
}

// noise keeps connections alive between all hosts until the test ends.
func (c *chaos) noise() {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	c.t.Cleanup(func() { close(stop); wg.Wait() })
	for _, from := range c.vms {
		var frames [][]byte
		for _, to := range c.vms {
			if to != from {
				for _, dst := range to.Addrs {
					frames = append(frames, from.To(to, dst).UDP(53, 53, []byte("noise")), from.To(to, dst).UDP(2000, 100, []byte("noise")),
						from.To(to, dst).Echo(7, 1, nil))
				}
			}
		}
		wg.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					_ = from.Send(frames...)
				}
			}
		})
	}
}

// written returns the policy in the directory.
func (c *chaos) written(s control.Status) *policy.Policy {
	c.t.Helper()
	var objects []policy.Objects
	for _, f := range s.Files {
		data, err := os.ReadFile(c.path("policy", f.Name))
		must(c.t, err)
		o, problems := manifest.Decode(manifest.File{Name: f.Name, Data: data})
		if len(problems) > 0 || f.State != "accepted" {
			c.t.Fatalf("%s is %s: %v", f.Name, f.State, problems)
		}
		objects = append(objects, o)
	}
	p, problems := policy.New(objects, policy.Options{})
	for _, problem := range problems {
		c.t.Fatal(problem)
	}
	return p
}

// quiet waits until every change is in force, and compares packets with the reference.
func (c *chaos) quiet(probes int) {
	c.t.Helper()
	// The test does not remember the content of a file before the file was broken.
	broken, _ := filepath.Glob(c.path("policy", "g*.yaml"))
	for _, path := range broken {
		if data, _ := os.ReadFile(path); strings.HasPrefix(string(data), "kind: [") {
			var i int
			_, _ = fmt.Sscanf(filepath.Base(path), "g%d.yaml", &i)
			c.drawGroup(i)
		}
	}
	var s control.Status
	err := testbed.Poll(within(c.t, time.Minute), 10*time.Millisecond, func() (bool, error) {
		s = c.inForce()
		for _, p := range s.Ports { // a switch that has just started may not have numbered them yet
			if p.OFPort <= 0 {
				return false, nil
			}
		}
		return s.State == "enforcing", nil
	})
	if err != nil {
		c.t.Fatalf("no peace: %+v", s)
	}
	p := c.written(s)
	var vifs []policy.VIF
	parties := map[string]uint16{"out": 0}
	for _, port := range s.Ports {
		if port.Kind != "vm" {
			continue
		}
		mac, _ := policy.ParseMAC(c.vms[port.Name].MAC.String())
		vifs = append(vifs, policy.VIF{Name: port.Name, OFPort: uint16(port.OFPort), IfaceID: port.Name, MAC: mac})
		parties[port.Name] = uint16(port.OFPort)
	}
	names := slices.Sorted(maps.Keys(parties))
	if len(names) < 2 {
		return
	}
	var all [2][]testbed.Probe
	for range probes {
		from, to := names[c.r.IntN(len(names))], names[c.r.IntN(len(names))]
		service := chaosServices[c.r.IntN(len(chaosServices))]
		if from == to {
			continue
		}
		a, b, number := c.vms[from].Addr4(), c.vms[to].Addr4(), service.number
		if c.r.IntN(2) == 0 {
			a, b = c.vms[from].Addr6(), c.vms[to].Addr6()
			if service.proto == "ping" {
				number = 58
			}
		}
		v := policy.Evaluate(p, vifs, policy.Connection{
			Originator: policy.Party{OFPort: parties[from], Addr: a}, Responder: policy.Party{OFPort: parties[to], Addr: b},
			Protocol: number, Port: service.port,
		})
		i := 0
		if v.Allowed {
			i = 1
		}
		all[i] = append(all[i], testbed.Probe{Proto: service.proto, From: c.vms[from], To: netip.AddrPortFrom(b, service.port), Want: v.Allowed})
	}
	for i := range all {
		c.probed[i] += len(all[i])
		for _, r := range testbed.Surprises(testbed.Matrix(context.Background(), all[i], 16)) {
			c.t.Errorf("after %v: %v", c.done, r)
		}
	}
}

// regroup takes the identity of all ports away at once, and gives it back at
// once. VMs that moved between groups leave several classes with the same groups,
// or a class whose number shows an earlier class; afterwards each class is the
// first of its groups.
func (c *chaos) regroup() {
	c.t.Helper()
	var take, give []string
	for _, p := range c.inForce().Ports {
		if !slices.Contains(c.names, p.Name) {
			continue
		}
		take = append(take, "--", "clear", "Interface", p.Name, "external_ids")
		give = append(give, "--", "set", "Interface", p.Name, "external_ids:iface-id="+p.Name,
			fmt.Sprintf("external_ids:attached-mac=%q", c.vms[p.Name].MAC))
	}
	for _, args := range [][]string{take, give} {
		if _, err := c.ovs.Vsctl(args...); err != nil {
			c.t.Fatal(err)
		}
		c.inForce()
	}
}

// The test kills, stops and starts agent and switch and changes ports and policy,
// all at random. Whenever nothing happens, the flows are those of the policy and
// packets go where the reference says.
func TestChaos(t *testing.T) {
	c := newChaos(t)
	seed := chaosSeed(t)
	c.r = rand.New(rand.NewPCG(seed, 3))
	for i := range chaosGroups {
		c.drawGroup(i)
	}
	for _, name := range c.names {
		c.drawVM(name)
	}
	c.spawn()
	c.quiet(20)
	c.noise()
	// The packets of a VM that uses another VM's address never arrive.
	thief, victim := c.vms["v0"], c.vms["v1"]
	lie := thief.To(victim, victim.Addr4())
	lie.Src = addr("10.0.1.99")
	sent, passed := knock(t, thief, victim, lie.UDP(53, 53, nil))

	end := time.Now().Add(max(*chaosFor, 8*time.Second))
	rounds := 0
	for ; time.Now().Before(end) && !t.Failed(); rounds++ {
		for range 1 + c.r.IntN(8) {
			c.step()
		}
		c.quiet(20)
		if rounds%3 == 0 {
			c.idempotent()
		}
		if passed.Load() > 0 {
			t.Errorf("%d of %d frames with a stolen address passed", passed.Load(), sent.Load())
		}
	}
	if !t.Failed() {
		c.regroup()
		c.sameAsFresh()
	}
	t.Logf("%d quiet points, %d probes allowed, %d denied, %d lies; %v", rounds, c.probed[1], c.probed[0], sent.Load(), c.done)
}
