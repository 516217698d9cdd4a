package control

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"
)

// A Backend is an agent as its control socket presents it. Each method returns
// at the latest when its context ends.
type Backend interface {
	// Status reports the state of the agent. Unless all is true, the status of
	// many files leaves out the accepted ones.
	Status(ctx context.Context, all bool) (Status, error)
	// Wait returns nil as soon as everything that happened before the call is
	// in force.
	Wait(ctx context.Context) error
	// Release lets the held change of policy go on. It is an error if no change
	// is held.
	Release(ctx context.Context) error
}

// Serve answers requests with what a Backend says, until ctx ends. Serve closes
// the listener, and always returns an error: that of ctx or that of the
// listener.
func Serve(ctx context.Context, l net.Listener, b Backend) error {
	server := &http.Server{Handler: handler(b), ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}

func handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		s, err := b.Status(r.Context(), r.URL.Query().Get("files") != "refused")
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s)
	})
	mux.HandleFunc("POST /wait", command(b.Wait, func(err error) int {
		if errors.Is(err, ErrHeld) {
			return http.StatusConflict
		}
		return http.StatusServiceUnavailable
	}))
	mux.HandleFunc("POST /release", command(b.Release, func(error) int { return http.StatusConflict }))
	return mux
}

// command runs a command without a result; failure returns the HTTP status of its
// error.
func command(run func(context.Context) error, failure func(error) int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := run(r.Context()); err != nil {
			http.Error(w, err.Error(), failure(err))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
