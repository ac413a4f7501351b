package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// The records stay in memory, twice.
const maxRecords = 1_000_000

// defaultPolicy notices an idle primary that has died within 6 s. MaxRTO bounds
// the time with data in flight, to about 15 s. Where the kernel lacks MaxRTO,
// UserTimeout takes its place. That also gives up a live peer that reads slowly or
// pauses twice.
func defaultPolicy() (keepalive.Config, error) {
	target := keepalive.Target{Detect: 6 * time.Second}
	policy, err := keepalive.Plan(target)
	policy.MaxRTO = time.Second
	if err == nil && policy.Supported() != policy {
		target.Unacked = true
		return keepalive.Plan(target)
	}
	return policy, err
}

type options struct {
	policy  keepalive.Config
	records uint64
}

// parse returns the options that args ask for. It answers -h on stdout, and
// then returns flag.ErrHelp.
func parse(args []string, stdout io.Writer) (options, error) {
	planned, err := defaultPolicy()
	if err != nil {
		return options{}, err
	}
	var o options
	if err := Parse(o.flags(planned), args, stdout); err != nil {
		return o, err
	}
	return o, o.validate()
}

func (o *options) flags(planned keepalive.Config) *flag.FlagSet {
	flags := flag.NewFlagSet("replication", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), "usage: replication [flags]\n\n",
			"A replica survives a primary that loses power twice: while their connection is\n",
			"idle, and with data in flight.\n\n")
		flags.PrintDefaults()
	}
	flags.TextVar(&o.policy, "policy", planned,
		"keepalive `policy` of the connection: without user_timeout or max_rto\nit takes about 15 minutes to notice the second outage")
	flags.Uint64Var(&o.records, "records", 1000, fmt.Sprintf("`number` of records to copy, 4 to %d", maxRecords))
	return flags
}

func (o *options) validate() error {
	if o.records < 4 || o.records > maxRecords {
		return fmt.Errorf("-records is %d, want 4 to %d", o.records, maxRecords)
	}
	return o.policy.Validate()
}
