package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main runs f, the work of a program that uses the testbed. A signal ends the
// context of f, so that f can clean up. If f fails, Main prints the error and
// exits with status 1.
func Main(name string, f func(context.Context) error) {
	// Debian keeps the daemons where only root's PATH leads.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := f(ctx)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted && errors.Is(err, context.Canceled):
		fmt.Fprintf(os.Stderr, "%s: interrupted\n", name)
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
