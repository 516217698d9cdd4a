package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/ovs-sg/ovs-sg/policy"
	"github.com/ovs-sg/ovs-sg/policy/dirsource"
	"github.com/ovs-sg/ovs-sg/policy/manifest"
	"github.com/ovs-sg/ovs-sg/policy/resolve"
)

type checkCmd struct {
	Paths        []string `arg:"" name:"path" help:"Manifest files, or directories of *.yaml and *.yml."`
	DefaultGroup string   `help:"Name of the group of VMs that list none." default:"default-sto-1"`
}

// Run implements the check command. It prints errors to standard error, one on
// each line, as "file:line:column: field: reason". It prints warnings in the same
// way, but does not fail because of them.
func (c *checkCmd) Run() error {
	var objects []policy.Objects
	bad := false
	report := func(ps []policy.Problem) {
		for _, p := range ps {
			text := p.Error()
			if p.Warning {
				text += " (warning)"
			}
			fmt.Fprintln(os.Stderr, text)
			bad = bad || !p.Warning
		}
	}
	var files []string
	for _, path := range c.Paths {
		more, err := manifests(path)
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	slices.Sort(files) // the first by name counts as the one that is in force
	for _, name := range files {
		data, err := readManifest(name)
		if err != nil {
			return err
		}
		o, problems := manifest.Decode(manifest.File{Name: name, Data: data})
		report(problems)
		objects = append(objects, o)
	}
	objects, problems := policy.Conflicts(objects)
	report(problems)
	p, problems := policy.New(objects, policy.Options{DefaultGroup: c.DefaultGroup})
	report(problems)
	_, warnings := resolve.Once(p, nil)
	report(warnings)
	if bad {
		return errSilent
	}
	return nil
}

// readManifest returns the content of a file, as the agent would read it: anything
// but a regular file is refused before it is read, because reading a FIFO or a
// device may never end. A file that is too large is cut, one byte after what
// manifest.Decode accepts.
func readManifest(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	return io.ReadAll(io.LimitReader(f, manifest.MaxFileSize+1))
}

func manifests(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if dirsource.IsManifest(e.Name()) {
			out = append(out, filepath.Join(path, e.Name()))
		}
	}
	return out, nil
}
