package main

import (
	"context"
	"time"

	"github.com/ovs-sg/ovs-sg/controller/control"
)

type releaseCmd struct {
	Control string `help:"The agent's control socket." default:"${control}"`
}

// Run implements the release command.
func (r *releaseCmd) Run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return control.New(r.Control).Release(ctx)
}
