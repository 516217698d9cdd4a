package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	{"^Test(CompileOFPorts|Members|ContentKey|ClassKey|Adopt|Raise|Wrap|Step|FlowCount|ExactInfrastructure|ExactOrder|ExactEpochsOfNobody|Owners)$", false, time.Minute},
	{"^TestExact$", false, time.Minute},
	{"^Test(ExactCollisions|ExactLimits|ExactFlood|ExactForgets|StepCrowded|Epochs|History)$", false, 2 * time.Minute},
	{"^Test(Guard|NoGuard|Flush|Restart.*|OtherLayout|AnyPathSameFlows)$", false, 2 * time.Minute},
	{"^Test(Exact|History|Epochs)$", true, 10 * time.Minute},
}

// A trial is a copy of the module with tests to run.
type trial struct {
	dir    string
	stages []stage
	jobs   []job
}

// A job is a stage of the tests of one package.
type job struct {
	stage
	pkg, dir, binary string
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
	out, err := run(t.dir, "go", append([]string{"list", "-f", "{{.ImportPath}} {{.Dir}}"}, strings.Fields(packages)...)...)
	if err != nil {
		return err
	}
	for i, line := range slices.Collect(strings.Lines(string(out))) {
		f := strings.Fields(line)
		tests, err := run(t.dir, "go", "test", "-vet=off", "-list", ".", f[0])
		if err != nil {
			return err
		}
		for _, s := range t.stages {
			if regexp.MustCompile("(?m)" + s.tests).Match(tests) {
				t.jobs = append(t.jobs, job{s, f[0], f[1], fmt.Sprintf("%s.%d.test", t.dir, i)})
			}
		}
	}
	slices.SortStableFunc(t.jobs, func(a, b job) int { return slices.Index(t.stages, a.stage) - slices.Index(t.stages, b.stage) })
	if by, err := t.test(); by != "" || err != nil {
		return fmt.Errorf("without any mutation the tests fail: %s, %v", by, err)
	}
	return nil
}

// try returns the name of the test that notices a mutation, or "".
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

// test runs the stages until a test fails, and returns the name of that test.
func (t *trial) test() (by string, err error) {
	built := map[string]bool{}
	for _, j := range t.jobs {
		if !built[j.pkg] {
			if _, err := run(t.dir, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", j.binary, j.pkg); err != nil {
				return "", err
			}
			built[j.pkg] = true
		}
		out, err := run(j.dir, j.binary, "-test.run", j.tests, "-test.failfast",
			fmt.Sprintf("-test.short=%v", !j.long), "-test.timeout", j.limit.String())
		if err == nil {
			continue
		}
		if m := failing.FindSubmatch(out); m != nil {
			return string(m[1]), nil
		}
		return "a panic or the time limit", nil
	}
	return "", nil
}
