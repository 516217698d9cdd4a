package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// churn has remote members join and leave at a steady rate, while a connection
// between two local VMs, which it does not concern, is open.
func (b *bench) churn() error {
	n := b.churnSize
	b.progress("%s members, %d of them local; %d changes a second for %s", thousands(n), b.churnLocal, b.churnRate, b.config.churn)
	l, err := b.newLab(false)
	if err != nil {
		return err
	}
	defer l.close()
	// Two VMs of a group that the churn does not concern.
	if err := l.put("apart.yaml", strings.ReplaceAll(groupFile(), "name: all", "name: apart")); err != nil {
		return err
	}
	var apart [2]*testbed.Host
	for i := range apart {
		k := n + 5000 + i
		if apart[i], err = l.host(k); err != nil {
			return err
		}
		if err := l.put(memberFile(k), strings.ReplaceAll(member(k, 10), "name: all", "name: apart")); err != nil {
			return err
		}
	}
	// The locals are 1 and up: 10.0.0.0 is no host's address.
	for i := 1; i <= b.churnLocal; i++ {
		if _, err := l.host(i); err != nil {
			return err
		}
	}
	if err := l.put("group.yaml", groupFile()); err != nil {
		return err
	}
	if err := l.members(1, n+1); err != nil {
		return err
	}
	turns := 1000 // members that come and go
	for i := n + 1; i <= n+turns; i++ {
		if err := os.WriteFile(l.beside(memberFile(i)), []byte(member(i, 10)), 0o644); err != nil {
			return err
		}
	}
	a, before, err := l.enforce()
	if err != nil {
		return err
	}
	defer a.stop()
	stream, err := testbed.TCPStream(b.ctx, apart[0], apart[1], netip.AddrPortFrom(apart[1].Addr4(), 80))
	if err != nil {
		return err
	}
	defer stream.Close()
	commits, err := l.commits()
	if err != nil {
		return err
	}
	cpu, err := cpuTime(a.PID())
	if err != nil {
		return err
	}
	// Only the remote table of ingress has the addresses of members.
	m, err := l.watch(b.ctx, fmt.Sprintf("!initial,table=%d", flows.TableIngressRemote))
	if err != nil {
		return err
	}
	defer m.close()
	stop := watchMemory(a.PID())
	m.longest()
	began, got := time.Now(), stream.Received()
	made, err := l.joinAndLeave(n, turns)
	if err != nil {
		return err
	}
	took := time.Since(began)
	rate := float64(made) / took.Seconds()
	gap, ended := m.longest(), time.Now()
	after, err := a.wait(b.ctx)
	if err != nil {
		return err
	}
	backlog, peak := time.Since(ended), stop()
	cpuAfter, err := cpuTime(a.PID())
	if err != nil {
		return err
	}
	commitsAfter, err := l.commits()
	if err != nil {
		return err
	}
	old, raised, others := map[string]epochs{}, map[epochs]bool{}, 0
	for _, p := range before.Ports {
		old[p.Name] = p.Epochs
	}
	for _, p := range after.Ports {
		switch {
		case p.Epochs == old[p.Name]:
		case p.Name == apart[0].Name || p.Name == apart[1].Name || p.Epochs.Egress != old[p.Name].Egress:
			others++
		default:
			raised[p.Epochs] = true
		}
	}
	b.report.add(
		row{what: "changes of files a second", ours: thousands(int(rate)), limit: thousands(b.churnRate),
			ratio: rate / float64(b.churnRate)},
		row{what: "longest time in which no change took effect", ours: ms(gap), limit: "1.00 s", ratio: gap.Seconds(), goal: 1},
		row{what: "backlog at the end: `status --wait`", ours: ms(backlog), limit: "1.00 s", ratio: backlog.Seconds(), goal: 1},
		row{what: "processor of the agent, of one core", ours: fmt.Sprintf("%.0f %%", 100*(cpuAfter-cpu).Seconds()/time.Since(began).Seconds())},
		row{what: "memory of the agent at most", ours: mb(peak)},
		row{what: "changes of flows (rounds)", ours: thousands(after.Rounds - before.Rounds)},
		row{what: "classes of VMs that let the members in, whose ingress epoch was raised", ours: thousands(len(raised)), limit: "1"},
		row{what: "VMs with other epochs raised", ours: thousands(others), limit: "0"},
		row{what: "judgements of an open connection not concerned", ours: thousands(commitsAfter - commits), limit: "0"},
		row{what: "what it received, of what was sent", ours: thousands(int(stream.Received() - got)),
			limit: thousands(int(took / (2 * time.Millisecond)))})
	b.report.note("%s members, %d of them local, %s long.", thousands(n), b.churnLocal, took.Round(time.Second))
	return nil
}

// host returns a VM with real packets, a member of the group.
func (l *lab) host(i int) (*testbed.Host, error) {
	addr := netip.PrefixFrom(netip.MustParseAddr(vmAddr(10, i)), 8)
	return l.ovs.AddVM(testbed.VMConfig{Name: vmName(i), MAC: vmMAC(i), Addrs: []netip.Prefix{addr}})
}

// joinAndLeave renames one file a time, in or out, at the rate.
func (l *lab) joinAndLeave(n, turns int) (made int, err error) {
	b := l.b
	began := time.Now()
	for time.Since(began) < b.config.churn {
		due := int(time.Since(began).Seconds() * float64(b.churnRate))
		for ; made < due; made++ {
			// The member that joins and the member that leaves are half a circle
			// apart.
			join := n + 1 + made/2%turns
			leave := n + 1 + (made/2+turns/2)%turns
			if made%2 == 0 {
				err = os.Rename(l.beside(memberFile(join)), l.policy(memberFile(join)))
			} else if made/2 >= turns/2 {
				err = os.Rename(l.policy(memberFile(leave)), l.beside(memberFile(leave)))
			}
			if err != nil {
				return made, err
			}
		}
		select {
		case <-b.ctx.Done():
			return made, b.ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return made, nil
}

// commits counts the packets that were judged and committed, those in the
// datapath's cache included.
func (l *lab) commits() (int, error) {
	if err := l.ovs.Purge(); err != nil {
		return 0, err
	}
	out, err := l.ofctl(l.b.ctx, "dump-flows", l.ovs.Bridge(), fmt.Sprintf("table=%d", flows.TableCommit)).Output()
	if err != nil {
		return 0, err
	}
	sum := 0
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "ct(commit") {
			continue
		}
		n := 0
		_, after, _ := strings.Cut(line, "n_packets=")
		if _, err := fmt.Sscan(strings.TrimSpace(strings.SplitN(after, ",", 2)[0]), &n); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// watchMemory looks at the resident memory of a process until stop is called;
// stop returns the highest figure.
func watchMemory(pid int) (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan int)
	go func() {
		most := 0
		_ = testbed.Poll(ctx, 50*time.Millisecond, func() (bool, error) {
			n, err := memory(pid, "VmRSS")
			most = max(most, n)
			return false, err
		})
		result <- most
	}()
	return func() int { cancel(); return <-result }
}
