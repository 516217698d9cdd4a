package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
	"github.com/ovs-sg/ovs-sg/testbed"
)

// host is a machine of the demonstration with the addresses at which others
// reach it, IPv4 first.
type host struct {
	*testbed.Host
	at []netip.Addr
}

// outsideAddrs are addresses of the host outside that stand for the rest of the
// world. The host outside is also the router of the VMs' subnet, with the first
// address of the subnet.
var outsideAddrs = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::1/128")}

// inventory is the files of the example, and the VMs and subnets that they
// define.
type inventory struct {
	files    []manifest.File
	vms      []policy.VirtualMachine
	prefixes []netip.Prefix // of the subnets
}

func readExample(dir string) (inventory, error) {
	var inv inventory
	names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s: no manifests", dir)
	}
	if err != nil {
		return inv, err
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return inv, err
		}
		f := manifest.File{Name: filepath.Base(name), Data: data}
		objects, problems := manifest.Decode(f)
		for _, p := range problems {
			err = errors.Join(err, p)
		}
		if err != nil {
			return inv, err
		}
		inv.files = append(inv.files, f)
		inv.vms = append(inv.vms, objects.VirtualMachines...)
		for _, s := range objects.Subnets {
			inv.prefixes = append(inv.prefixes, s.Prefixes...)
		}
	}
	return inv, nil
}

// plug makes the VMs and the outside, and starts their servers.
func (d *demo) plug(ctx context.Context, inv inventory) error {
	var gateways []netip.Addr
	router := slices.Clone(outsideAddrs)
	for _, p := range inv.prefixes {
		gateway := p.Addr().Next()
		router = append(router, netip.PrefixFrom(gateway, p.Bits()))
		gateways = append(gateways, gateway)
	}
	add := func(h *testbed.Host, at []netip.Addr) error {
		d.hosts = append(d.hosts, &host{h, at})
		return errors.Join(h.ServeTCP(tcpPorts...), h.ServeUDP(udpPorts...))
	}
	for _, vm := range inv.vms {
		if err := ctx.Err(); err != nil {
			return err
		}
		nic := vm.Interfaces[0]
		var addrs []netip.Prefix
		for _, a := range nic.Addrs {
			for _, p := range inv.prefixes {
				if p.Contains(a) {
					addrs = append(addrs, netip.PrefixFrom(a, p.Bits()))
				}
			}
		}
		h, err := d.ovs.AddVM(testbed.VMConfig{Name: nic.ID, MAC: nic.MAC.String(), Addrs: addrs, Gateways: gateways})
		if err == nil {
			err = add(h, nic.Addrs)
		}
		if err != nil {
			return err
		}
	}
	h, err := d.ovs.AddUplink(testbed.UplinkConfig{Name: "outside", Addrs: router})
	if err != nil {
		return err
	}
	return add(h, []netip.Addr{outsideAddrs[0].Addr(), outsideAddrs[1].Addr()})
}
