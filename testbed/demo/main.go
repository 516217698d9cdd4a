// Command demo shows ovs-sg at work on one machine: it starts a private Open
// vSwitch, the virtual machines of docs/example as network namespaces, a host
// outside and the agent, asks with real packets who can reach whom, changes a
// manifest and asks again. It needs root and leaves nothing behind.
package main

import (
	"context"
	"flag"
	"os"
	"runtime"

	"github.com/ovs-sg/ovs-sg/testbed"
)

func init() {
	// The agent must die with this process. The kernel kills it when the thread
	// that started it ends, and the main thread ends with the process.
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
	testbed.Main("demo", func(ctx context.Context) error { return run(ctx, cfg) })
}
