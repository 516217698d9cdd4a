package control

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
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
	// Audit compares the switch with what is installed, and, if repair is true,
	// puts it right.
	Audit(ctx context.Context, repair bool) (Audit, error)
}

// Limits of the clients of a server. The agent needs its file descriptors for
// itself: clients that do nothing, or read nothing, must not use them up.
const (
	maxClients    = 64              // at a time; others wait to be accepted
	headerTimeout = 2 * time.Second // for the header of a request, from the connection on
	idleTimeout   = 2 * time.Second // between two requests
	maxHeader     = 16 << 10        // bytes
)

// writeTimeout is the time in which a client must have read an answer.
const writeTimeout = 10 * time.Second

// Serve answers requests with what a Backend says, until ctx ends. Serve closes
// the listener, and always returns an error: that of ctx or that of the
// listener.
func Serve(ctx context.Context, l net.Listener, b Backend) error {
	return ServeHTTP(ctx, l, handler(b))
}

// ServeHTTP serves HTTP until ctx ends, to few clients at a time, none of which can
// hold a connection without making use of it. ServeHTTP closes the listener, and
// always returns an error: that of ctx or that of the listener. A handler sets the
// deadline for its answer itself, if there is to be one.
func ServeHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(l, maxClients)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}

// answer sets the deadline for an answer that begins now.
func answer(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

// Answered wraps a handler whose answers are ready at once: a client must read them
// soon.
func Answered(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w)
		h.ServeHTTP(w, r)
	})
}

func handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", query(func(r *http.Request) (Status, error) {
		return b.Status(r.Context(), r.URL.Query().Get("files") != "refused")
	}))
	mux.HandleFunc("POST /audit", query(func(r *http.Request) (Audit, error) {
		return b.Audit(r.Context(), r.URL.Query().Get("repair") == "true")
	}))
	mux.HandleFunc("POST /wait", command(b.Wait, func(err error) int {
		switch {
		case errors.Is(err, ErrHeld):
			return http.StatusConflict
		case errors.Is(err, ErrStopping), errors.Is(err, context.Canceled): // or the client has gone
			return http.StatusGone
		}
		return http.StatusServiceUnavailable
	}))
	mux.HandleFunc("POST /release", command(b.Release, func(error) int { return http.StatusConflict }))
	return mux
}

// query answers with what ask returns, as JSON.
func query[T any](ask func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := ask(r)
		answer(w)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
}

// command runs a command without a result; failure returns the HTTP status of its
// error.
func command(run func(context.Context) error, failure func(error) int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := run(r.Context())
		answer(w)
		if err != nil {
			http.Error(w, err.Error(), failure(err))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
