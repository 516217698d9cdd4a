package testbed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Timeouts of a probe that sets none. A probe that should succeed returns as soon
// as it has, so it may wait long; a probe that should fail always costs its
// timeout.
const (
	AllowedTimeout = 3 * time.Second
	DeniedTimeout  = 250 * time.Millisecond
)

// Probe is one attempt to get an answer through the switch.
type Probe struct {
	Proto   string // "tcp", "udp", "ping" or "frame"
	From    *Host
	Src     netip.Addr     // source address; default: the kernel's choice
	SrcPort uint16         // source port; default: any
	To      netip.AddrPort // the port is not used by ping
	Size    int            // bytes of payload of udp and ping; default 32
	Want    bool           // the expected outcome; it also chooses the default timeout
	Timeout time.Duration

	// For "frame" only: From sends Frame, Capturer sees one that Match accepts.
	Frame    []byte
	Capturer *Host
	Match    func(frame []byte) bool
}

func (p Probe) String() string {
	want := "denied"
	if p.Want {
		want = "allowed"
	}
	to := p.To.String()
	switch p.Proto {
	case "ping":
		to = p.To.Addr().String()
	case "frame":
		to = p.Capturer.Name
	}
	return fmt.Sprintf("%s %s to %s, expected %s", p.Proto, p.From.Name, to, want)
}

// Result is the outcome of a probe.
type Result struct {
	Probe     Probe
	Reachable bool
	Answer    string // the name that the server gave: tcp, udp
	Err       error  // the probe itself failed; Reachable means nothing then
	Took      time.Duration
}

// OK reports whether the probe worked and ended as expected.
func (r Result) OK() bool { return r.Err == nil && r.Reachable == r.Probe.Want }

func (r Result) String() string {
	got := "no answer"
	if r.Reachable {
		got = "answer " + r.Answer
	}
	if r.Err != nil {
		got = r.Err.Error()
	}
	return fmt.Sprintf("%s: %s in %v", r.Probe, got, r.Took.Round(time.Millisecond))
}

// Run does one probe.
func (p Probe) Run(ctx context.Context) Result {
	if p.Timeout == 0 {
		if p.Timeout = DeniedTimeout; p.Want {
			p.Timeout = AllowedTimeout
		}
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	r := Result{Probe: p}
	switch p.Proto {
	case "tcp":
		r.Answer, r.Err = p.tcp(ctx)
	case "udp":
		r.Answer, r.Err = p.udp(ctx)
	case "ping":
		r.Err = p.ping(ctx)
	case "frame":
		r.Err = p.frame(ctx)
	default:
		r.Err = fmt.Errorf("unknown protocol %q", p.Proto)
	}
	if r.Err == nil {
		r.Reachable = true
	} else if unanswered(r.Err) {
		r.Err = nil
	}
	r.Took = time.Since(start)
	return r
}

// Matrix runs probes side by side, at most parallel at a time (0: 100), and
// returns their results in the order of the probes.
func Matrix(ctx context.Context, probes []Probe, parallel int) []Result {
	if parallel <= 0 {
		parallel = 100
	}
	results := make([]Result, len(probes))
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i, p := range probes {
		slots <- struct{}{}
		wg.Go(func() {
			results[i] = p.Run(ctx)
			<-slots
		})
	}
	wg.Wait()
	return results
}

// Surprises returns the results that are not as expected.
func Surprises(results []Result) []Result {
	var bad []Result
	for _, r := range results {
		if !r.OK() {
			bad = append(bad, r)
		}
	}
	return bad
}

// TCP connects and reads the server's answer.
func TCP(from *Host, to netip.AddrPort, timeout time.Duration) (reachable bool, err error) {
	r := Probe{Proto: "tcp", From: from, To: to, Timeout: timeout}.Run(context.Background())
	return r.Reachable, r.Err
}

// UDP sends size bytes and awaits their echo, with a few retransmissions.
func UDP(from *Host, to netip.AddrPort, size int, timeout time.Duration) (reachable bool, err error) {
	r := Probe{Proto: "udp", From: from, To: to, Size: size, Timeout: timeout}.Run(context.Background())
	return r.Reachable, r.Err
}

// Ping sends ICMP or ICMPv6 echo requests and awaits a reply.
func Ping(from *Host, to netip.Addr, timeout time.Duration) (reachable bool, err error) {
	r := Probe{Proto: "ping", From: from, To: netip.AddrPortFrom(to, 0), Timeout: timeout}.Run(context.Background())
	return r.Reachable, r.Err
}

func (p Probe) source() netip.AddrPort {
	src := p.Src
	if !src.IsValid() {
		if src = netip.IPv4Unspecified(); p.To.Addr().Is6() {
			src = netip.IPv6Unspecified()
		}
	}
	return netip.AddrPortFrom(src, p.SrcPort)
}

// tcp tries again after 100 ms, 200 ms, 400 ms...: the kernel would take a
// second to repeat a SYN that was lost while the switch changed.
func (p Probe) tcp(ctx context.Context) (string, error) {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		short, cancel := context.WithTimeout(ctx, wait)
		answer, err := p.tcpOnce(short)
		cancel()
		if err == nil || !unanswered(err) {
			return answer, err
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
}

// unanswered reports whether the error means that no answer came.
func unanswered(err error) bool {
	for _, e := range []error{context.DeadlineExceeded, os.ErrDeadlineExceeded, unix.ETIMEDOUT, unix.EHOSTUNREACH} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (p Probe) tcpOnce(ctx context.Context) (string, error) {
	c, err := p.From.DialTCP(ctx, p.source(), p.To)
	if err != nil {
		return "", err
	}
	// Closed with a reset: no TIME_WAIT keeps a chosen source port.
	defer func() { _ = c.SetLinger(0); _ = p.From.drop(c) }()
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

func (p Probe) udp(ctx context.Context) (string, error) {
	c, err := p.From.ListenUDP(p.source())
	if err != nil {
		return "", err
	}
	defer func() { _ = p.From.drop(c) }()
	payload := p.payload()
	var answer string
	err = exchange(ctx, c, func() error {
		_, err := c.WriteToUDPAddrPort(payload, p.To)
		return err
	}, func(buf []byte) (bool, error) {
		n, _, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return false, err
		}
		name, echo, ok := bytes.Cut(buf[:n], []byte("\n"))
		answer = string(name)
		return ok && bytes.Equal(echo, payload), nil
	})
	return answer, err
}

// payload returns a payload that no other probe sends.
func (p Probe) payload() []byte {
	payload := bytes.Repeat([]byte("ovs-sg "), p.Size/7+6)
	if copy(payload, nonce()); p.Size > 0 {
		return payload[:max(p.Size, 16)]
	}
	return payload[:32]
}

// exchange sends until receive says that the answer has come, or the context's
// deadline passes.
func exchange(ctx context.Context, c net.PacketConn, send func() error, receive func([]byte) (bool, error)) error {
	deadline, _ := ctx.Deadline()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 65536)
	// Again after 30 ms, 90 ms, 210 ms...
	for wait := 30 * time.Millisecond; ; wait *= 2 {
		if err := send(); err != nil && !lost(err) {
			return err
		}
		until := time.Now().Add(wait)
		if until.After(deadline) {
			until = deadline
		}
		_ = c.SetReadDeadline(until)
		for {
			ok, err := receive(buf)
			if ok {
				return nil
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil && !lost(err) {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !time.Now().Before(deadline) {
			return os.ErrDeadlineExceeded
		}
	}
}

// lost reports whether a send error means no more than a lost packet: no host
// answers ARP, an ICMP error came back, or the queue is full.
func lost(err error) bool {
	for _, e := range []error{unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.ENOBUFS, unix.EPERM, unix.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
