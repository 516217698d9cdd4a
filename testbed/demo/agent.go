package main

import (
	"context"
	"encoding/json"
	"time"
)

// status is the part of "ovs-sg status -o json" that is shown.
type status struct {
	OVS      string `json:"ovsVersion"`
	Datapath string `json:"datapathType"`
	Flows    int    `json:"flows"`
	Last     struct {
		Added    int           `json:"added"`
		Modified int           `json:"modified"`
		Deleted  int           `json:"deleted"`
		Took     time.Duration `json:"tookNanoseconds"`
		Compile  time.Duration `json:"compileNanoseconds"`
		Switch   time.Duration `json:"switchNanoseconds"`
	} `json:"lastChange"`
}

// wait returns when every change made before is in force.
func (d *demo) wait(ctx context.Context) (s status, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := d.agent.Ready(ctx); err != nil {
		return s, err
	}
	out, err := d.agent.Status(ctx, "--wait", "-o", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}
