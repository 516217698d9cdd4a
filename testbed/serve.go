package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// ServeTCP listens on the ports at every address of the host. A server answers
// each connection with one line, the host's name, and then echoes.
func (h *Host) ServeTCP(ports ...uint16) error {
	for _, at := range h.endpoints(ports) {
		l, err := h.listenTCP(at)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if h.keep(c) != nil {
					return
				}
				go func() {
					defer func() { _ = h.drop(c) }()
					if _, err := fmt.Fprintln(c, h.Name); err == nil {
						_, _ = io.Copy(c, c) // ends with the connection
					}
				}()
			}
		}()
	}
	return nil
}

// ServeUDP echoes datagrams to the ports at every address of the host, with the
// host's name and a newline in front.
func (h *Host) ServeUDP(ports ...uint16) error {
	for _, at := range h.endpoints(ports) {
		c, err := h.ListenUDP(at)
		if err != nil {
			return err
		}
		go func() {
			buf := make([]byte, 65536)
			name := copy(buf, h.Name+"\n")
			for {
				n, from, err := c.ReadFromUDPAddrPort(buf[name:])
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					_, _ = c.WriteToUDPAddrPort(buf[:name+n], from) // lost like any datagram
				}
			}
		}()
	}
	return nil
}

func (h *Host) endpoints(ports []uint16) []netip.AddrPort {
	var all []netip.AddrPort
	for _, a := range h.Addrs {
		for _, p := range ports {
			all = append(all, netip.AddrPortFrom(a, p))
		}
	}
	return all
}

func (h *Host) listenTCP(at netip.AddrPort) (*net.TCPListener, error) {
	var l *net.TCPListener
	err := h.Do(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	return l, h.keep(l)
}

// ListenUDP opens a UDP socket in the host; it is closed with the host at the
// latest. Port 0 chooses one.
func (h *Host) ListenUDP(at netip.AddrPort) (*net.UDPConn, error) {
	var c *net.UDPConn
	err := h.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	return c, h.keep(c)
}

// DialTCP opens a TCP connection from the host; it is closed with the host at
// the latest.
func (h *Host) DialTCP(ctx context.Context, from, to netip.AddrPort) (*net.TCPConn, error) {
	var c *net.TCPConn
	err := h.Do(func() (err error) {
		var d net.Dialer
		d.SetMultipathTCP(false)
		c, err = d.DialTCP(ctx, "tcp", from, to)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, h.keep(c)
}
