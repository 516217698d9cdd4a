package main

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/ovs-sg/ovs-sg/policy"
)

// errSilent is the error of a command that has already printed what is wrong.
var errSilent = errors.New("failed")

// config is a configuration file: the values of flags by name.
type config map[string]any

// loadConfig reads a YAML file whose keys are the names of flags.
func loadConfig(r io.Reader) (kong.Resolver, error) {
	c := config{}
	if err := yaml.NewDecoder(r).Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("configuration file: %s", policy.Printable(err.Error()))
	}
	return c, nil
}

// Validate refuses keys that are no flag of any command.
func (c config) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, flags := range append(app.AllFlags(false), slices.Collect(commandFlags(app))...) {
		for _, f := range flags {
			known[f.Name] = true
		}
	}
	for key := range c {
		if !known[key] {
			return fmt.Errorf("configuration file: %s is no flag", policy.Printable(key))
		}
	}
	return nil
}

func commandFlags(app *kong.Application) func(func([]*kong.Flag) bool) {
	return func(yield func([]*kong.Flag) bool) {
		for _, n := range app.Children {
			if !yield(n.Flags) {
				return
			}
		}
	}
}

// Resolve returns the value of a flag that the command line leaves open.
func (c config) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	v, ok := c[flag.Name]
	if !ok {
		return nil, nil
	}
	if flag.Target.Type() == reflect.TypeFor[time.Duration]() {
		if _, text := v.(string); !text { // a number would count nanoseconds
			return nil, fmt.Errorf("configuration file: %s: %v has no unit: write 30s, 5m or 1h", flag.Name, v)
		}
	}
	return v, nil
}
