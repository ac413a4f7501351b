package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/cli"
)

// The records stay in memory, twice.
const maxRecords = 1_000_000

type options struct {
	policy  keepalive.Config
	records int
}

// parse returns the options that args ask for. It answers -h on stdout, and
// then returns flag.ErrHelp.
func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	if err := cli.Parse(o.flags(), args, stdout); err != nil {
		return o, err
	}
	return o, o.validate()
}

func (o *options) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("replication", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), "usage: replication [flags]\n\n",
			"A replica survives a primary that falls silent half way. The flags set the\n",
			"keepalive policy of their connection, and 0 in it is the system's default.\n",
			"Times have a unit, as in 2s or 1m30s.\n\n")
		flags.PrintDefaults()
	}
	flags.DurationVar(&o.policy.Idle, "idle", 2*time.Second, "`silence` before the first probe, TCP_KEEPIDLE, up to 32767s")
	flags.DurationVar(&o.policy.Interval, "interval", time.Second, "`time` between probes, TCP_KEEPINTVL, up to 32767s")
	flags.IntVar(&o.policy.Count, "count", 3, "unanswered `probes` until the peer is dead, TCP_KEEPCNT, up to 127")
	flags.IntVar(&o.records, "records", 1000, fmt.Sprintf("`number` of records to copy, 2 to %d", maxRecords))
	return flags
}

func (o *options) validate() error {
	if o.records < 2 || o.records > maxRecords {
		return fmt.Errorf("-records is %d, want 2 to %d", o.records, maxRecords)
	}
	return o.policy.Validate()
}
