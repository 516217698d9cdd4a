// Command demo shows ovs-sg at work on one machine: it starts a private Open
// vSwitch, the virtual machines of docs/example as network namespaces, a host
// outside and the agent, asks with real packets who can reach whom, changes a
// manifest and asks again. It needs root and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func init() {
	// The agent is to die with this process, and the kernel takes the thread
	// that started it for the process. The main thread lives as long.
	runtime.LockOSThread()
}

func main() {
	var cfg config
	flag.StringVar(&cfg.program, "ovs-sg", "bin/ovs-sg", "the program `path`")
	flag.StringVar(&cfg.example, "example", "docs/example", "the `directory` of manifests")
	flag.StringVar(&cfg.datapath, "datapath", "netdev", "netdev (userspace) or system (the kernel's)")
	flag.BoolVar(&cfg.keep, "keep", false, "leave it running until Ctrl-C")
	flag.Parse()
	if flag.NArg() > 0 || cfg.datapath != "netdev" && cfg.datapath != "system" {
		flag.Usage()
		os.Exit(2)
	}
	// Debian keeps the daemons where only root's PATH leads.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, cfg)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
