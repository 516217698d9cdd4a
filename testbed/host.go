package testbed

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// VMConfig describes a virtual machine: a network namespace with one device e0
// whose other end is a port of the bridge. Only Name is required.
type VMConfig struct {
	Name     string // of the host, the port and the interface; at most 15 characters
	MAC      string // default: derived from the number of hosts so far, 02:00:00:00:NN:NN
	Addrs    []netip.Prefix
	Gateways []netip.Addr // default routes: at most one of each family
	MTU      int          // default 1500
	OFPort   int          // requested OpenFlow port; default: the switch chooses
	Tag      int          // Port.tag, an access VLAN; 0: none

	// ExternalIDs of the Interface. iface-id (Name) and attached-mac (MAC)
	// are added unless they are given here; an empty value removes the key.
	ExternalIDs map[string]string
	// NoExternalIDs leaves external_ids empty: the port is unidentified.
	NoExternalIDs bool
}

// UplinkConfig describes a host outside the bridge, behind a trunk port that
// carries external_ids:ovs-sg-role=uplink.
type UplinkConfig struct {
	Name   string
	MAC    string
	Addrs  []netip.Prefix         // untagged, on e0
	VLANs  map[int][]netip.Prefix // VLAN id: addresses on e0.<id>
	OFPort int
	Trunks []int // Port.trunks; empty: all
}

// Host is a virtual machine or an outside host: a network namespace, its link
// to the switch and the servers that run in it.
type Host struct {
	Name  string
	MAC   net.HardwareAddr
	Addrs []netip.Addr // of e0 and its VLAN devices, as given

	ovs *OVS
	ns  *namespace // nil with Options.Dummy

	mu      sync.Mutex
	port    []string // ovs-vsctl settings of the Port
	iface   []string // ovs-vsctl settings of the Interface
	ofport  int
	plugged bool
	closers []io.Closer
	closed  bool
}

// AddVM makes a virtual machine and plugs it in. It returns when the switch
// has given the port its number.
func (o *OVS) AddVM(cfg VMConfig) (*Host, error) {
	h := &Host{Name: cfg.Name}
	if cfg.Tag != 0 {
		h.port = append(h.port, fmt.Sprintf("tag=%d", cfg.Tag))
	}
	if err := o.addHost(h, cfg.MAC); err != nil {
		return nil, fmt.Errorf("add vm %s: %w", cfg.Name, err)
	}
	if !cfg.NoExternalIDs {
		ids := map[string]string{"iface-id": cfg.Name, "attached-mac": h.MAC.String()}
		maps.Copy(ids, cfg.ExternalIDs)
		h.setIDs(ids)
	}
	err := h.build(cfg.Addrs, nil, cfg.Gateways, cfg.MTU)
	if err == nil {
		err = h.Replug(cfg.OFPort)
	}
	if err != nil {
		return nil, fmt.Errorf("add vm %s: %w", cfg.Name, err)
	}
	return h, nil
}

// AddUplink makes a host outside the bridge.
func (o *OVS) AddUplink(cfg UplinkConfig) (*Host, error) {
	h := &Host{Name: cfg.Name}
	if len(cfg.Trunks) > 0 {
		h.port = append(h.port, "trunks="+strings.Trim(strings.ReplaceAll(fmt.Sprint(cfg.Trunks), " ", ","), "[]"))
	}
	if err := o.addHost(h, cfg.MAC); err != nil {
		return nil, fmt.Errorf("add uplink %s: %w", cfg.Name, err)
	}
	h.setIDs(map[string]string{"ovs-sg-role": "uplink"})
	err := h.build(cfg.Addrs, cfg.VLANs, nil, 0)
	if err == nil {
		err = h.Replug(cfg.OFPort)
	}
	if err != nil {
		return nil, fmt.Errorf("add uplink %s: %w", cfg.Name, err)
	}
	return h, nil
}

// addHost registers a host, so that Close ends it whatever happens next.
func (o *OVS) addHost(h *Host, mac string) error {
	if len(h.Name) == 0 || len(h.Name) > 15 || h.Name == o.opt.Bridge {
		return errors.New("name must be 1 to 15 characters and not the bridge's")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return os.ErrClosed
	}
	if mac == "" {
		n := len(o.hosts) + 1
		mac = fmt.Sprintf("02:00:00:00:%02x:%02x", n>>8&0xff, n&0xff)
	}
	var err error
	if h.MAC, err = net.ParseMAC(mac); err != nil {
		return err
	}
	if !o.opt.Dummy {
		if h.ns, err = newNamespace(); err != nil {
			return err
		}
	}
	h.ovs = o
	o.hosts = append(o.hosts, h)
	return nil
}

func (h *Host) setIDs(ids map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(ids)) {
		if value := ids[key]; value != "" {
			h.iface = append(h.iface, fmt.Sprintf("external_ids:%s=%q", key, value))
		}
	}
}

// build makes the devices.
func (h *Host) build(addrs []netip.Prefix, vlans map[int][]netip.Prefix, gateways []netip.Addr, mtu int) error {
	if mtu == 0 {
		mtu = 1500
	}
	var up []string
	add := func(dev string, addrs []netip.Prefix) {
		for _, p := range addrs {
			h.Addrs = append(h.Addrs, p.Addr())
			nodad := ""
			if p.Addr().Is6() {
				nodad = " nodad"
			}
			up = append(up, fmt.Sprintf("addr add %s dev %s%s", p, dev, nodad))
		}
	}
	add("e0", addrs)
	vids := slices.Sorted(maps.Keys(vlans))
	for _, vid := range vids {
		add(fmt.Sprintf("e0.%d", vid), vlans[vid])
	}
	for _, gateway := range gateways {
		up = append(up, fmt.Sprintf("route add default via %s dev e0", gateway))
	}
	if h.ns == nil {
		return nil
	}
	// The switch's end goes up first: then the host's end has a carrier from
	// the beginning and its IPv6 addresses work at once.
	err := h.ns.do(func() error {
		err := errors.Join(
			sysctl("ipv6/conf/default/accept_dad", "0"),
			sysctl("ipv6/conf/default/router_solicitations", "0"))
		if err != nil {
			return err
		}
		return ipBatch(fmt.Sprintf("link add e0 address %s mtu %d type veth peer name %s mtu %d netns %s",
			h.MAC, mtu, h.Name, mtu, h.ovs.ns.path()))
	})
	if err == nil {
		err = h.ovs.ns.do(func() error { return errors.Join(checksumInSoftware(h.Name), linkUp(h.Name)) })
	}
	if err == nil {
		err = h.ns.do(func() error { return errors.Join(checksumInSoftware("e0"), linkUp("e0"), linkUp("lo")) })
	}
	for _, vid := range vids {
		if err == nil {
			err = h.addVLAN(vid)
		}
	}
	if err == nil {
		err = h.ns.do(func() error { return ipBatch(up...) })
	}
	return err
}

// Replug makes the host a port of the bridge, anew when it is one already. An
// ofport of 0 leaves the number to the switch.
func (h *Host) Replug(ofport int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	args := []string{"--if-exists", "del-port", h.ovs.opt.Bridge, h.Name}
	if h.plugged {
		// In one transaction the switch would see a changed request only and
		// might keep the number.
		if _, err := h.ovs.Vsctl(args...); err != nil {
			return err
		}
	}
	args = []string{"add-port", h.ovs.opt.Bridge, h.Name}
	args = append(args, h.port...)
	set := slices.Clone(h.iface)
	if ofport != 0 {
		set = append(set, fmt.Sprintf("ofport_request=%d", ofport))
	}
	if len(set) > 0 {
		args = append(append(args, "--", "set", "Interface", h.Name), set...)
	}
	if _, err := h.ovs.Vsctl(args...); err != nil {
		return err
	}
	h.plugged = true
	got, err := h.ovs.OFPort(h.Name)
	if err != nil {
		return err
	}
	if h.ofport = got; ofport != 0 && got != ofport {
		return fmt.Errorf("%s has OpenFlow port %d, not %d", h.Name, got, ofport)
	}
	return nil
}

// Unplug takes the port off the bridge. The host and its device stay.
func (h *Host) Unplug() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.ovs.Vsctl("--if-exists", "del-port", h.ovs.opt.Bridge, h.Name)
	if err == nil {
		h.plugged, h.ofport = false, 0
	}
	return err
}

// OFPort returns the port's OpenFlow number, 0 when the host is unplugged.
func (h *Host) OFPort() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ofport
}

// Addr4 returns the host's first IPv4 address, the zero Addr when it has none.
func (h *Host) Addr4() netip.Addr { return h.first(netip.Addr.Is4) }

// Addr6 returns the host's first IPv6 address, the zero Addr when it has none.
func (h *Host) Addr6() netip.Addr { return h.first(netip.Addr.Is6) }

func (h *Host) first(is func(netip.Addr) bool) netip.Addr {
	if i := slices.IndexFunc(h.Addrs, is); i >= 0 {
		return h.Addrs[i]
	}
	return netip.Addr{}
}

// Do runs f on a thread inside the host's namespace. A socket belongs to the
// namespace in which it is made and may be used from anywhere; goroutines that
// f starts are outside.
func (h *Host) Do(f func() error) error {
	if h.ns == nil {
		return fmt.Errorf("%s: %w: a dummy switch has no hosts", h.Name, errors.ErrUnsupported)
	}
	return h.ns.do(f)
}

// Exec runs a program inside the host and returns its output.
func (h *Host) Exec(name string, args ...string) (string, error) {
	var text string
	err := h.Do(func() error {
		out, err := exec.Command(name, args...).CombinedOutput()
		if text = strings.TrimSpace(string(out)); err != nil {
			err = fmt.Errorf("%s: %s %s: %w: %s", h.Name, name, strings.Join(args, " "), err, text)
		}
		return err
	})
	return text, err
}

// NetNS returns a path to the host's namespace that nsenter --net and ip link set
// netns accept while this process lives.
func (h *Host) NetNS() string {
	if h.ns == nil {
		return ""
	}
	return h.ns.path()
}

// keep has c closed together with the host.
func (h *Host) keep(c io.Closer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		_ = c.Close()
		return os.ErrClosed
	}
	h.closers = append(h.closers, c)
	return nil
}

// drop closes c before its host ends.
func (h *Host) drop(c io.Closer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.closers, c); i >= 0 {
		h.closers = slices.Delete(h.closers, i, i+1)
	}
	return c.Close()
}

// Remove unplugs the host and ends it with everything that runs in it. Another
// may then take its name.
func (h *Host) Remove() error {
	err := h.Unplug()
	if err == nil && h.ns != nil {
		// The kernel would do it too, but some time later.
		err = h.ovs.ns.do(func() error { return ipBatch("link del " + h.Name) })
	}
	h.close()
	return err
}

func (h *Host) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	for _, c := range h.closers {
		_ = c.Close() // a test may have closed it already
	}
	if h.ns != nil {
		h.ns.close()
	}
}
