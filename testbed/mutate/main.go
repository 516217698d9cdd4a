// Command mutate asks how much the tests of exactness would notice. It makes
// one small mistake at a time in a copy of the module, in the compiler of
// flows, and runs the tests that compare verdicts, without those that compare
// text. A mistake that no test notices is a survivor.
//
//	go run ./testbed/mutate [-only REGEXP] [-quick] [-list]
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// mutation replaces a text that occurs exactly once in a file.
type mutation struct {
	name, file, old, new string
	// why says, of a mutation that no verdict can show, what does show it.
	why string
}

// stage is a part of the tests.
type stage struct {
	pkg   string
	names string
	full  bool // takes a minute
}

// The stages, in the order in which they are tried.
var stages = []stage{
	{flows, "^TestExact$", false},
	{flows, "^(TestHistory|TestEpochs|TestAdopt|TestRaise|TestWrap|TestStep|TestFlowCount)$", false},
	{flows, "^(TestExactInfrastructure|TestExactForgets|TestExactOrder|TestCompileOFPorts|TestExactEpochsOfNobody)$", false},
	{flows, "^(TestExactCollisions|TestExactLimits|TestExactFlood|TestStepCrowded)$", false},
	{flows, "^(TestExact|TestHistory|TestEpochs)$", true},
	{policy, "^TestThen$", false},
}

// The packages in which mistakes are made, each noticed by its own tests.
const (
	flows  = "flows"
	policy = "policy"
)

func main() {
	only := flag.String("only", "", "the mutations whose names match")
	list := flag.Bool("list", false, "list the mutations, having made sure that they compile")
	quick := flag.Bool("quick", false, "without the tests that take a minute")
	dir := flag.String("C", ".", "root of the module")
	flag.Parse()
	if err := run(*dir, *only, *list, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(dir, only string, list, quick bool) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.CopyFS(filepath.Join(tmp, "m"), os.DirFS(dir)); err != nil {
		return err
	}
	dir = filepath.Join(tmp, "m")
	var wrong []error
	for _, m := range mutations {
		if _, err := m.apply(dir); err != nil {
			wrong = append(wrong, err)
		}
	}
	if wrong != nil {
		return errors.Join(wrong...)
	}
	if quick {
		stages = slices.DeleteFunc(stages, func(s stage) bool { return s.full })
	}
	chosen := slices.DeleteFunc(slices.Clone(mutations), func(m mutation) bool { return !match.MatchString(m.name) })
	if list {
		for _, m := range chosen {
			if err := m.with(dir, func() error {
				if out, err := command(dir, 5*time.Minute, "go", "build", "./"+m.pkg()); err != nil {
					return fmt.Errorf("mutation %q does not compile:\n%s", m.name, out)
				}
				return nil
			}); err != nil {
				return err
			}
			fmt.Println(m.name)
		}
		return nil
	}
	for _, pkg := range []string{flows, policy} {
		if err := build(dir, pkg); err != nil {
			return err
		}
	}
	for _, stage := range stages {
		if out, ok := test(dir, stage); !ok {
			return fmt.Errorf("the tests fail without any mutation:\n%s", out)
		}
	}
	killed, survivors, expected := 0, 0, 0
	for _, m := range chosen {
		start := time.Now()
		by, err := m.try(dir)
		if err != nil {
			return err
		}
		took := time.Since(start).Round(100 * time.Millisecond)
		switch {
		case by != "":
			killed++
			fmt.Printf("killed    %-50s %5s by %s\n", m.name, took, by)
		case m.why != "":
			expected++
			fmt.Printf("equal     %-50s %5s %s\n", m.name, took, m.why)
		default:
			survivors++
			fmt.Printf("SURVIVED  %-50s %5s\n", m.name, took)
		}
	}
	fmt.Printf("%d killed, %d of the same verdicts, %d survived\n", killed, expected, survivors)
	if survivors > 0 {
		return fmt.Errorf("%d mutations survived", survivors)
	}
	return nil
}

func (m mutation) pkg() string { return path.Dir(m.file) }

func (m mutation) apply(dir string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, m.file))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("mutation %q: the text is in %s %d times, not once", m.name, m.file, n)
	}
	return bytes.Replace(text, []byte(m.old), []byte(m.new), 1), nil
}

// with calls f while the mutation is there.
func (m mutation) with(dir string, f func() error) (err error) {
	text, err := m.apply(dir)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, m.file)
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	err = f()
	if back := os.WriteFile(path, old, 0o644); err == nil {
		err = back
	}
	return err
}

// try returns the test that notices the mutation, or "".
func (m mutation) try(dir string) (by string, err error) {
	err = m.with(dir, func() error {
		if err := build(dir, m.pkg()); err != nil {
			return fmt.Errorf("mutation %q: %w", m.name, err)
		}
		for _, stage := range m.stages() {
			if stage.pkg != m.pkg() || stage.full && m.why != "" {
				continue
			}
			out, ok := test(dir, stage)
			if ok {
				continue
			}
			by = strings.Trim(stage.names, "^$") // it panicked or ran into the time limit
			if name := failing.FindSubmatch(out); name != nil {
				by = string(name[1])
			}
			break
		}
		return nil
	})
	return by, err
}

var failing = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// stages are in which order the tests are tried: those of histories come first
// where Compile is not concerned.
func (m mutation) stages() []stage {
	ordered := slices.Clone(stages)
	switch m.file {
	case classes, inst, compiler, inc, rul, num:
		ordered[0], ordered[1] = ordered[1], ordered[0]
	}
	return ordered
}

// build makes the tests of a package.
func build(dir, pkg string) error {
	if out, err := command(dir, 5*time.Minute, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", filepath.Join(pkg, binary), "./"+pkg); err != nil {
		return fmt.Errorf("does not compile:\n%s", out)
	}
	return nil
}

const binary = "mutated.test"

func test(dir string, s stage) (out []byte, ok bool) {
	limit := time.Minute
	if s.full {
		limit = 10 * time.Minute
	}
	out, err := command(filepath.Join(dir, s.pkg), limit, "./"+binary, fmt.Sprintf("-test.short=%v", !s.full), "-test.failfast", "-test.run", s.names)
	return out, err == nil
}

func command(dir string, limit time.Duration, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second // for daemons that outlive a test
	return cmd.CombinedOutput()
}
