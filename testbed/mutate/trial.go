package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A stage is a part of the tests.
type stage struct {
	tests string // the regexp of -test.run
	long  bool   // not -test.short: a minute and more
	limit time.Duration
}

// The stages, in the order in which they are tried: the quick ones first.
var stages = []stage{
	{"^Test(CompileOFPorts|Members|ContentKey|ClassKey|Adopt|Raise|Wrap|Step|FlowCount|ExactInfrastructure|ExactOrder|ExactEpochsOfNobody)$", false, time.Minute},
	{"^TestExact$", false, time.Minute},
	{"^Test(ExactCollisions|ExactLimits|ExactFlood|ExactForgets|StepCrowded|Epochs|History)$", false, 2 * time.Minute},
	{"^Test(Exact|History|Epochs)$", true, 10 * time.Minute},
}

// A trial is a copy of the module with tests to run.
type trial struct {
	dir    string
	stages []stage
	tested []string // import paths of packages that have tests of a stage
	dirs   []string // their directories
}

// newTrial copies the module and makes sure that the tests pass.
func newTrial(packages string, stages []stage) (*trial, error) {
	tmp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return nil, err
	}
	t := &trial{dir: filepath.Join(tmp, "m"), stages: stages}
	if err := os.CopyFS(t.dir, os.DirFS(".")); err != nil {
		t.close()
		return nil, err
	}
	if err := t.prepare(packages); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *trial) close() { os.RemoveAll(filepath.Dir(t.dir)) }

// prepare finds the packages with tests of a stage and runs these.
func (t *trial) prepare(packages string) error {
	var names []string
	for _, s := range t.stages {
		names = append(names, s.tests)
	}
	out, err := run(t.dir, "go", "list", "-f", "{{.ImportPath}} {{.Dir}}", packages)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		tests, err := run(t.dir, "go", "test", "-vet=off", "-list", strings.Join(names, "|"), f[0])
		if err != nil {
			return err
		}
		if strings.HasPrefix(string(tests), "Test") {
			t.tested, t.dirs = append(t.tested, f[0]), append(t.dirs, f[1])
		}
	}
	if by, err := t.test(); by != "" || err != nil {
		return fmt.Errorf("the tests fail without any mutation: %s %w", by, err)
	}
	return nil
}

// try returns which test notices a mutation, or "".
func (t *trial) try(m mutation) (by string, took time.Duration, err error) {
	began := time.Now()
	file := filepath.Join(t.dir, m.file)
	text, err := os.ReadFile(file)
	if err != nil {
		return "", 0, err
	}
	if err := os.WriteFile(file, m.apply(text), 0o644); err != nil {
		return "", 0, err
	}
	by, err = t.test()
	if back := os.WriteFile(file, text, 0o644); err == nil {
		err = back
	}
	return by, time.Since(began), err
}

var failing = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// test runs the stages until a test fails, and returns which.
func (t *trial) test() (by string, err error) {
	for i, path := range t.tested {
		if _, err := run(t.dir, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", t.binary(i), path); err != nil {
			return "", err
		}
	}
	for _, s := range t.stages {
		for i := range t.tested {
			out, err := run(t.dirs[i], t.binary(i), "-test.run", s.tests, "-test.failfast",
				fmt.Sprintf("-test.short=%v", !s.long), "-test.timeout", s.limit.String())
			if err == nil {
				continue
			}
			if m := failing.FindSubmatch(out); m != nil {
				return string(m[1]), nil
			}
			return "a panic or the time limit", nil
		}
	}
	return "", nil
}

func (t *trial) binary(i int) string {
	return filepath.Join(filepath.Dir(t.dir), fmt.Sprintf("%d.test", i))
}
