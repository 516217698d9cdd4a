// Command mutate measures how many mistakes in the packages that make flows the
// tests would notice. It plants one mistake at a time in a copy of the module and
// runs the tests that compare verdicts, without those that compare text: a dump
// of flows shows every change, but not that it is a mistake. A mistake that no
// test notices is a survivor.
//
//	go run ./testbed/mutate [flags] [directory...]
//
// A survivor that no test can notice, because the verdicts stay the same, is
// listed in equivalent.txt with the reason. Any other makes mutate fail.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// dirs are the packages that make flows, where they exist.
var dirs = []string{"flows/pipeline", "flows/compile"}

// config holds the flags.
type config struct {
	only    string
	sample  int
	seed    uint64
	jobs    int
	list    bool
	reasons string
	tests   string
	stages  []stage
}

func main() {
	var c config
	flag.StringVar(&c.only, "only", "", "the mutations whose file:line:column, kind and key match this `regexp`")
	flag.IntVar(&c.sample, "sample", 0, "draw so many; 0: all")
	flag.Uint64Var(&c.seed, "seed", rand.Uint64N(1e6), "what -sample draws with, to repeat a run; by default random")
	flag.IntVar(&c.jobs, "jobs", max(1, runtime.NumCPU()/2), "tried at the same time")
	flag.BoolVar(&c.list, "list", false, "only list them")
	flag.StringVar(&c.reasons, "equivalent", "testbed/mutate/equivalent.txt", "the survivors that no test can notice")
	flag.StringVar(&c.tests, "tests", "./flows/... ./controller", "the `packages` whose tests are run")
	quick := flag.Bool("quick", false, "without the tests that take a minute")
	flag.Parse()
	c.stages = stages
	if *quick {
		c.stages = slices.DeleteFunc(slices.Clone(stages), func(s stage) bool { return s.long })
	}
	// A mutation may allocate memory without end.
	err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: 8 << 30, Max: 8 << 30})
	if err == nil {
		err = c.run(flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func (c config) run(args []string) error {
	reasons, err := equivalents(c.reasons)
	if err != nil {
		return err
	}
	chosen, err := c.choose(args)
	if err != nil {
		return err
	}
	if c.list {
		for _, m := range chosen {
			fmt.Println(m, m.key())
		}
		return nil
	}
	waiting := make(chan mutation)
	var mu sync.Mutex // guards the variables below
	var failures []error
	var survivors []mutation
	counts := map[string]int{}
	found := map[string]bool{}
	var g sync.WaitGroup
	for range c.jobs {
		g.Go(func() {
			t, err := newTrial(c.tests, c.stages)
			if err == nil {
				defer t.close()
			}
			for m := range waiting {
				if err != nil {
					continue
				}
				by, took, failed := t.try(m)
				err = failed
				mu.Lock()
				if by == "" {
					survivors = append(survivors, m)
					fmt.Printf("SURVIVED %6.1fs %s\n\t%s\n", took.Seconds(), m, m.key())
				} else {
					counts["killed"]++
					fmt.Printf("killed   %6.1fs %s by %s\n", took.Seconds(), m, by)
				}
				mu.Unlock()
			}
			if err != nil {
				mu.Lock()
				failures = append(failures, err)
				mu.Unlock()
			}
		})
	}
	for _, m := range chosen {
		if found[m.key()] = true; reasons[m.key()] != "" {
			counts["accepted"]++
			continue
		}
		waiting <- m
	}
	close(waiting)
	g.Wait()
	fmt.Printf("%d killed, %d equivalent, %d survived\n", counts["killed"], counts["accepted"], len(survivors))
	if c.only == "" && c.sample == 0 && len(args) == 0 {
		for key := range reasons {
			if !found[key] {
				failures = append(failures, fmt.Errorf("%s: nothing is %q any more", c.reasons, key))
			}
		}
	}
	if len(survivors) > 0 {
		failures = append(failures, fmt.Errorf("%d mutations survived", len(survivors)))
	}
	return errors.Join(failures...)
}

// choose returns the mutations that the flags ask for and that compile.
func (c config) choose(args []string) (chosen []mutation, err error) {
	only, err := regexp.Compile(c.only)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		args = slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool { _, err := os.Stat(dir); return err != nil })
	}
	if len(args) == 0 {
		args = []string{"flows"}
	}
	sources := map[string]*source{}
	for _, dir := range args {
		dir = strings.TrimPrefix(strings.TrimSuffix(dir, "/"), "./")
		s, all, err := load(".", dir)
		if err != nil {
			return nil, err
		}
		for _, m := range all {
			if sources[m.file] = s; only.MatchString(m.String() + " " + m.key()) {
				chosen = append(chosen, m)
			}
		}
	}
	if c.sample > 0 {
		fmt.Println("seed", c.seed)
		r := rand.New(rand.NewPCG(c.seed, 0))
		r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	}
	n := 0
	for _, m := range chosen {
		if (c.sample == 0 || n < c.sample) && sources[m.file].compiles(m) {
			chosen[n] = m
			n++
		}
	}
	return chosen[:n], nil
}

// run runs a command in a directory, for ten minutes at most.
func run(dir, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second // for daemons that outlive a test
	out, err := cmd.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return out, nil
}
