package main

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/exporter"
)

func newExporter() *cobra.Command {
	var f finding
	var o exporter.Options
	var listen string
	c := &cobra.Command{
		Use:   "exporter",
		Short: "Serve metrics for Prometheus: policies, suspects and losses",
		Long: fmt.Sprintf(`Exporter serves metrics for Prometheus at http://ADDRESS/metrics until it is
interrupted: the connections and listening sockets of this machine by policy,
how long dead peers go unnoticed, connections whose peer has stopped answering,
and the connections whose peer the kernel gave up, by cause. It reads the
sockets at each scrape, as "keepalive ls" does, and counts losses between
scrapes, as "keepalive losses" does. docs/metrics.md lists the metrics, with a
dashboard and alerts.

Metrics are told apart by command, by unit of systemd or else path of the
control group, and by policy. A label never has an address. The first %d pairs
of command and unit, and the first %d policies, have series of their own, which
--programs and --policies change. What exceeds that is counted as "other", and
keepalive_exporter_folded_values says so. A program that was not seen for an
hour makes room for another.

Without CAP_BPF and CAP_PERFMON exporter serves what the caller may see, without
losses. keepalive_exporter_missing says what is missing, and why.

The address is one of loopback unless --listen names another. The metrics are
not encrypted, and whoever can connect can read them.`, exporter.DefaultPrograms, exporter.DefaultPolicies),
		Example: `  keepalive exporter
  keepalive exporter --listen 10.0.0.5:9996`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Programs < 1 || o.Policies < 1 {
				return usageError{fmt.Errorf("--programs is %d and --policies is %d, want numbers above zero", o.Programs, o.Policies)}
			}
			ln, err := listenForMetrics(c.Context(), "listen", listen, c.OutOrStdout())
			if err != nil {
				return err
			}
			o.Reading, o.Log = f.reading, c.ErrOrStderr()
			return exporter.Serve(c.Context(), ln, o)
		},
	}
	c.Flags().StringVar(&listen, "listen", metricsAddress, "serve at `HOST:PORT`")
	c.Flags().IntVar(&o.Programs, "programs", exporter.DefaultPrograms, "tell `N` pairs of command and unit apart")
	c.Flags().IntVar(&o.Policies, "policies", exporter.DefaultPolicies, "tell `N` policies apart")
	c.Flags().Var(&f.reading, "reader", "how sockets are read, `bpf` or getfd")
	c.Flags().MarkHidden("reader")
	return c
}

// metricsAddress is where metrics are served, unless a flag says otherwise.
const metricsAddress = "127.0.0.1:9996"

// listenForMetrics listens at the address of a flag, and says where.
func listenForMetrics(ctx context.Context, flag, address string, out io.Writer) (net.Listener, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, address, err)
	}
	fmt.Fprintf(out, "Serving http://%v/metrics until interrupted.\n", ln.Addr())
	return ln, nil
}
