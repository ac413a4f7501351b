// Package exporter serves metrics of keepalive for Prometheus. docs/metrics.md
// explains them.
package exporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// Options are how the metrics are made. The zero Options are usual.
type Options struct {
	// Reading is how sockets are read at each scrape.
	Reading sockets.Reading
	// Programs and Policies are how many different ones labels tell apart, of
	// which more become "other". Zero is [DefaultPrograms] and [DefaultPolicies].
	Programs, Policies int
	// Log is told what is missing and what fails. It may be nil.
	Log io.Writer
}

// The usual limits.
const (
	DefaultPrograms = 100
	DefaultPolicies = 20
)

// Serve serves /metrics on ln, which it closes, until ctx is done. It returns nil
// then. Without the rights to see losses it serves the other metrics.
func Serve(ctx context.Context, ln net.Listener, o Options) error {
	c := newCollector(o)
	ctx, stop := context.WithCancel(ctx)
	wait := c.watch(ctx) // before the first scrape, which then says whether losses are counted
	server := &http.Server{
		Handler:           handler(c),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
	}
	ended := context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(last) != nil {
			server.Close()
		}
	})
	err := server.Serve(ln)
	ended()
	stop()
	wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("the exporter has ended: %w", err)
}

// handler serves the metrics of c.
func handler(c *collector) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "<title>keepalive exporter</title><a href=metrics>metrics</a>\n")
	})
	return mux
}

func (o Options) log(format string, args ...any) {
	fmt.Fprintf(cmp.Or[io.Writer](o.Log, io.Discard), format+"\n", args...)
}
