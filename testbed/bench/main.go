// Command bench measures ovs-sg on this machine beside what the machine itself
// can do: every figure has the limit next to it, measured in the same run. It
// starts private switches and agents, drives the agent by its command line
// alone, needs root and leaves nothing behind.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

func init() {
	// The agents must die with this process. The kernel kills them when the
	// thread that started them ends, and the main thread ends with the process.
	runtime.LockOSThread()
}

// config holds the flags.
type config struct {
	program, doc string
	sizes        []int
	only         []string
	changes      int
	budget       time.Duration
	churn        time.Duration
	churnSize    int
	churnRate    int
	churnLocal   int
	repeat       int
	packets      int
	conns        int
}

// section is one kind of measurement.
type section struct {
	name  string
	about string
	run   func(*bench) error
}

var sections = []section{
	{"count", "Flows", (*bench).count},
	{"cold", "Cold start and memory", (*bench).cold},
	{"change", "A change", (*bench).change},
	{"churn", "Churn", (*bench).churn},
	{"path", "Data path: an open connection", (*bench).path},
	{"conns", "Data path: new connections", (*bench).conns},
}

// bench is a run.
type bench struct {
	config
	ctx    context.Context
	dir    string
	report report
}

func main() {
	cfg := config{}
	sizes := flag.String("sizes", "100,1000,10000,100000", "`members` of the group, one run each")
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	only := flag.String("only", strings.Join(names, ","), "what to measure")
	flag.StringVar(&cfg.program, "ovs-sg", "bin/ovs-sg", "the program `path`")
	flag.StringVar(&cfg.doc, "doc", "", "the `file` whose marked block is replaced")
	flag.IntVar(&cfg.changes, "changes", 200, "timed changes of each kind")
	flag.DurationVar(&cfg.budget, "budget", 12*time.Second, "stop a kind of change after this, unless it has five")
	flag.DurationVar(&cfg.churn, "churn", time.Minute, "how long files churn")
	flag.IntVar(&cfg.churnSize, "churn-size", 10_000, "members while files churn")
	flag.IntVar(&cfg.churnRate, "churn-rate", 1000, "changes of files a second")
	flag.IntVar(&cfg.churnLocal, "churn-local", 100, "local VMs while files churn")
	flag.IntVar(&cfg.repeat, "repeat", 5, "cold starts of each kind; three at 10,000 members and more")
	flag.IntVar(&cfg.packets, "packets", 300_000, "packets of an open connection")
	flag.IntVar(&cfg.conns, "conns", 40_000, "new connections to one port, 50,000 at most")
	traced := flag.Int("step", 0, "for its own use: count the instructions of the thread with this `id`")
	flag.Parse()
	if *traced != 0 {
		if err := traceBatch(*traced); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	err := cfg.parse(*sizes, *only, names)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench:", err)
		flag.Usage()
		os.Exit(2)
	}
	testbed.Main("bench", func(ctx context.Context) error { return run(ctx, cfg) })
}

func (c *config) parse(sizes, only string, names []string) error {
	for _, s := range strings.Split(sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 1_000_000 {
			return fmt.Errorf("--sizes: %q is no number of members", s)
		}
		c.sizes = append(c.sizes, n)
	}
	slices.Sort(c.sizes)
	for _, s := range strings.Split(only, ",") {
		if !slices.Contains(names, s) {
			return fmt.Errorf("--only: %q is none of %s", s, strings.Join(names, ", "))
		}
		c.only = append(c.only, s)
	}
	return nil
}

func run(ctx context.Context, cfg config) (err error) {
	b := &bench{config: cfg, ctx: ctx}
	if b.program, err = filepath.Abs(cfg.program); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "sgbench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	start := time.Now()
	if b.report.about, err = b.about(); err != nil {
		return err
	}
	fmt.Println(b.report.about)
	for _, s := range sections {
		if !slices.Contains(cfg.only, s.name) {
			continue
		}
		b.report.section(s.name, s.about)
		began := time.Now()
		if err := s.run(b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Println(b.report.lastSection())
		b.progress("%s took %s", s.name, time.Since(began).Round(time.Second))
	}
	fmt.Printf("All of it took %s.\n", time.Since(start).Round(time.Second))
	if cfg.doc == "" {
		return nil
	}
	return b.report.writeTo(cfg.doc)
}

// progress prints a line on standard error; standard output has the results.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
