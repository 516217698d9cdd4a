package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/ovs-sg/ovs-sg/testbed"
)

// agent is the program, driven as an operator drives it.
type agent struct{ *testbed.Agent }

type epochs struct{ Egress, Ingress uint32 }

// status is the part of "ovs-sg status -o json" that the measurements need.
type status struct {
	State  string `json:"state"`
	Flows  int    `json:"flows"`
	Rounds int    `json:"rounds"`
	Ports  []struct {
		Name   string `json:"name"`
		Epochs epochs `json:"epochs"`
	} `json:"ports"`
	Last struct {
		Added    int           `json:"added"`
		Modified int           `json:"modified"`
		Deleted  int           `json:"deleted"`
		Took     time.Duration `json:"tookNanoseconds"`
	} `json:"lastChange"`
}

// startAgent starts an agent for a lab.
func (l *lab) startAgent() (agent, error) {
	a, err := l.ovs.StartAgent(l.b.program, l.dir, "--log-level", "warn")
	return agent{a}, err
}

// wait returns when every change made before is in force.
func (a agent) wait(ctx context.Context) (status, error) {
	if err := a.Ready(ctx); err != nil {
		return status{}, err
	}
	return a.status(ctx, "--wait", "--timeout", "300s")
}

func (a agent) status(ctx context.Context, args ...string) (s status, err error) {
	out, err := a.Status(ctx, append([]string{"-o", "json"}, args...)...)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

func (a agent) stop() error { return a.Stop(20 * time.Second) }
