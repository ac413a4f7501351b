package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/cli"
)

const maxConnections = 1_000_000

type options struct {
	connections int
	policy      keepalive.Config
	hold        time.Duration
	silenced    int
	baseline    time.Duration
	processes   int
	fleet       fleet
}

// detection is how long a silent peer goes unnoticed, by the policy, which is
// on.
func (o options) detection() time.Duration {
	d, _ := o.policy.DetectionTime()
	return d
}

// bound is when a silent peer has to be noticed at the latest: the kernel's
// timers may run up to 1/8 late, and the rest is for this machine's scheduler.
func (o options) bound() time.Duration {
	return o.detection()*9/8 + time.Second
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
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), "usage: soak [flags]\n\n",
			"Very many idle connections keep alive, silent peers among them are noticed,\n",
			"and what that costs is compared to as many connections with keepalive off.\n",
			"Times have a unit, as in 2s or 1m30s.\n\n")
		flags.PrintDefaults()
	}
	flags.IntVar(&o.connections, "connections", 100_000, fmt.Sprintf("`number` of connections, each with two sockets, 2 to %d", maxConnections))
	flags.DurationVar(&o.policy.Idle, "idle", 10*time.Second, "`silence` before the first probe, TCP_KEEPIDLE, 1s to 32767s; the connections are opened over as long")
	flags.DurationVar(&o.policy.Interval, "interval", 3*time.Second, "`time` between probes, TCP_KEEPINTVL, 1s to 32767s")
	flags.IntVar(&o.policy.Count, "count", 3, "unanswered `probes` until the peer is dead, TCP_KEEPCNT, 1 to 127")
	flags.DurationVar(&o.hold, "hold", 5*time.Minute, "`time` in which no connection may be lost, after the first probes")
	flags.IntVar(&o.silenced, "silenced", 1000, "`number` of peers that then fall silent, fewer than the connections")
	flags.DurationVar(&o.baseline, "baseline", time.Minute, "`time` for which as many connections with keepalive off are measured, 0 for not at all")
	flags.IntVar(&o.processes, "processes", 0, "`number` of processes to spread the connections over, 0 for as few as may open so many files")
	flags.IntVar(&o.fleet.connections, "fleet", 0, "only compute what a `number` of connections costs by Idle, for the -probe-cost")
	flags.DurationVar(&o.fleet.cost, "probe-cost", 0, "processor `time` that a probe and its answer take at both ends together")
	return flags
}

func (o *options) validate() error {
	if o.fleet != (fleet{}) {
		return o.fleet.validate()
	}
	if o.connections < 2 || o.connections > maxConnections {
		return fmt.Errorf("-connections is %d, want 2 to %d", o.connections, maxConnections)
	}
	if o.silenced < 1 || o.silenced >= o.connections {
		return fmt.Errorf("-silenced is %d, want 1 to %d, fewer than -connections", o.silenced, o.connections-1)
	}
	if o.hold < time.Second {
		return fmt.Errorf("-hold is %v, want at least 1s", o.hold)
	}
	if o.baseline != 0 && o.baseline < time.Second {
		return fmt.Errorf("-baseline is %v, want at least 1s, or 0 for no comparison", o.baseline)
	}
	if o.processes < 0 || o.processes > o.connections {
		return fmt.Errorf("-processes is %d, want 1 to %d, one for each connection, or 0 for as few as can be", o.processes, o.connections)
	}
	// A zero would be the default of the new network namespace, two hours.
	p := o.policy
	if p.Idle == 0 || p.Interval == 0 || p.Count == 0 {
		return errors.New("-idle, -interval and -count want to be set: 1s to 32767s, 1s to 32767s and 1 to 127")
	}
	if p.Idle%time.Second != 0 || p.Interval%time.Second != 0 {
		return fmt.Errorf("-idle is %v and -interval %v, want whole seconds", p.Idle, p.Interval)
	}
	// Else a peer that falls silent after a probe is noticed later than
	// DetectionTime says, which starts from one that falls silent before.
	if p.Interval > p.Idle {
		return fmt.Errorf("-interval is %v, want at most %v, which is -idle", p.Interval, p.Idle)
	}
	return p.Validate()
}
