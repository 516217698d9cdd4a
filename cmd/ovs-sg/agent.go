package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/ovs-sg/ovs-sg/controller"
	"github.com/ovs-sg/ovs-sg/controller/control"
	"github.com/ovs-sg/ovs-sg/flows"
	"github.com/ovs-sg/ovs-sg/ovsdb/unixctl"
	"github.com/ovs-sg/ovs-sg/ovsdb/vswitch"
	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/dirsource"
)

type agentCmd struct {
	OVSDB     string   `name:"ovsdb" help:"Socket of ovsdb-server." default:"unix:/var/run/openvswitch/db.sock"`
	Bridge    string   `help:"The bridge." required:"" placeholder:"BR"`
	OpenFlow  string   `name:"openflow" help:"The bridge's OpenFlow socket (default: BR.mgmt beside the database socket)." placeholder:"unix:PATH"`
	Unixctl   string   `help:"ovs-vswitchd's control socket (default: by ovs-vswitchd.pid beside the database socket)." placeholder:"PATH"`
	PolicyDir string   `help:"Directory of manifests." required:"" placeholder:"DIR"`
	Uplink    []string `help:"Interface to trust, besides those that are infrastructure by their type; may be repeated." placeholder:"IFACE"`
	Control   string   `help:"Control socket." default:"${control}"`
	StateDir  string   `help:"Directory for the accepted versions of manifests; empty: none are kept across restarts." default:"/var/lib/ovs-sg"`

	DefaultGroup        string `help:"Name of the group of VMs that list none." default:"default-sto-1"`
	DefaultGroupContent string `help:"What that group allows where no manifest defines it: own-subnet, whole-vpc, egress-only or nothing." enum:"own-subnet,whole-vpc,egress-only,nothing" default:"own-subnet"`

	MaxConnectionsPerVM uint32 `name:"max-connections-per-vm" help:"How many connections with the outside a VM port may have at a time; 0: any number." default:"0" placeholder:"N"`

	DHCPServer []netip.Addr `name:"dhcp-server" help:"A DHCP or DHCPv6 server that VMs may ask by its address without a rule, as for a renewal; may be repeated." placeholder:"ADDR"`

	MaxRevoke    uint8  `help:"Hold a change of policy that removes more than this share, in percent, of the rules in force on this host, or all rules of every VM, until ovs-sg release; 0: never." default:"0"`
	ControlGroup string `help:"Group that may use the control socket, besides its owner." placeholder:"GROUP"`

	MetricsAddr string        `help:"Serve Prometheus metrics on this TCP address." placeholder:"ADDR"`
	DebugAddr   string        `help:"Serve profiles (net/http/pprof) on this TCP address, for those who look into the agent." placeholder:"ADDR"`
	LogFormat   string        `help:"console or json." enum:"console,json" default:"console"`
	LogLevel    string        `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	Resync      time.Duration `help:"How often the policy directory is read without any event." default:"30s"`
}

// Validate refuses what the flags' types let through.
func (a *agentCmd) Validate() error {
	if a.MaxRevoke > 100 {
		return fmt.Errorf("--max-revoke: %d is no percentage", a.MaxRevoke)
	}
	return nil
}

// Run implements the agent command.
func (a *agentCmd) Run() error {
	log, err := a.logger()
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGHUP) // a lost terminal, or a reload: files are read as they change
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err = a.run(ctx, log)
	if ctx.Err() != nil {
		log.Info("stopped; the flows stay in force")
		return nil
	}
	return err
}

func (a *agentCmd) run(ctx context.Context, log *zap.Logger) error {
	content, err := policy.ParseDefaultContent(a.DefaultGroupContent)
	if err != nil {
		return err
	}
	rundir := filepath.Dir(strings.TrimPrefix(a.OVSDB, "unix:"))
	mgmt := a.OpenFlow
	if mgmt == "" {
		mgmt = "unix:" + filepath.Join(rundir, a.Bridge+".mgmt")
	}
	db, err := vswitch.New(vswitch.Config{Endpoint: a.OVSDB, Bridge: a.Bridge, Uplinks: a.Uplink,
		MaxOFPort: flows.MaxOFPort, Exclusive: true, Tables: controller.FlowTables(), Logger: log.Named("ovsdb")})
	if err != nil {
		return err
	}
	if a.StateDir != "" {
		lock, err := lockState(a.StateDir)
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	source, err := dirsource.New(dirsource.Config{
		Dir: a.PolicyDir, StateDir: a.StateDir, Guarded: a.MaxRevoke > 0, Watch: dirsource.Options{Resync: a.Resync}, Logger: log,
	})
	if err != nil {
		return err
	}
	listener, err := control.Listen(a.Control, a.ControlGroup)
	if err != nil {
		return err
	}
	defer listener.Close()

	g, ctx := errgroup.WithContext(ctx)
	c := controller.New(controller.Config{
		Bridge: a.Bridge, Source: source, Database: db,
		Dial:      dialer(mgmt),
		Daemon:    vswitchd{unixctl.NewVswitchd(rundir, a.Unixctl), a.Bridge},
		Policy:    policy.Options{DefaultGroup: a.DefaultGroup, DefaultContent: content},
		MaxRevoke: float64(a.MaxRevoke) / 100, DHCPServers: a.DHCPServer, MaxConnections: a.MaxConnectionsPerVM,
		Salt:   uint16(1 + flows.Hash("bridge "+a.Bridge)%1023),
		Logger: log,
	})
	// The source ends after the controller, which tells it what is enforced.
	sourceCtx, stopSource := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSource()
	g.Go(func() error { return source.Run(sourceCtx) })
	g.Go(func() error { return db.Run(ctx) })
	g.Go(func() error { defer stopSource(); return c.Run(ctx) })
	g.Go(func() error { return saveMemory(ctx, c.Settled()) })
	g.Go(func() error { return control.Serve(ctx, listener, c) })
	if a.MetricsAddr != "" {
		g.Go(func() error { return serveMetrics(ctx, a.MetricsAddr, c) })
	}
	if a.DebugAddr != "" {
		g.Go(func() error { return serveProfiles(ctx, a.DebugAddr) })
	}
	log.Info("agent started", zap.String("bridge", a.Bridge), zap.String("policy", a.PolicyDir), zap.String("version", version))
	g.Go(func() error { return notifySystemd(ctx, c, readyAnyway) })
	return g.Wait()
}

// readyAnyway is how long the first policy may take to be in force before the
// agent says that it is ready all the same: a start that never ends would have the
// service manager kill it, and those wait that are to be started after it.
const readyAnyway = 15 * time.Second

// notifySystemd tells a service manager, if there is one, that the agent is
// ready and, as long as the loop answers, alive (sd_notify(3)). Ready is the agent
// when the first policy is in force, or after a while.
func notifySystemd(ctx context.Context, c *controller.Controller, patience time.Duration) error {
	ready := daemon.SdNotifyReady
	var settled <-chan struct{} // the news are worth a word
	select {
	case <-c.Settled():
	case <-time.After(patience):
		ready = daemon.SdNotifyReady + "\nSTATUS=nothing is enforced yet: see ovs-sg status"
		settled = c.Settled()
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, err := daemon.SdNotify(false, ready); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	var tick <-chan time.Time
	if interval > 0 {
		ticker := time.NewTicker(interval / 3)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-settled:
			_, _ = daemon.SdNotify(false, "STATUS=the first policy is in force")
			settled = nil
		case <-tick:
			answer, cancel := context.WithTimeout(ctx, interval/3)
			_, err := c.Status(answer, false)
			cancel()
			if err == nil {
				_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
			}
		}
	}
}

func serveMetrics(ctx context.Context, addr string, c *controller.Controller) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", control.Answered(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	return serveHTTP(ctx, "metrics", addr, mux)
}

func serveProfiles(ctx context.Context, addr string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return serveHTTP(ctx, "profiles", addr, mux)
}

func serveHTTP(ctx context.Context, what, addr string, h http.Handler) error {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		err = control.ServeHTTP(ctx, l, h)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%s: %w", what, err)
}
