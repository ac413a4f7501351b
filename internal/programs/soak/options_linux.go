package main

import (
	"flag"
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

type options struct {
	connections int
	policy      keepalive.Config
	hold        time.Duration
}

// silent is the number of peers that fall silent.
func (o options) silent() int { return max(1, o.connections/100) }

// baseline is the time for which the processor is measured with keepalive off.
func (o options) baseline() time.Duration { return max(time.Second, o.hold/5) }

// detectionTime is that of the policy, in which keepalive is on.
func (o options) detectionTime() time.Duration {
	d, _ := o.policy.DetectionTime()
	return d
}

// deadline is how long a silent peer may go unnoticed: the kernel's timers run
// up to 1/8 late, and a second is for the machine's scheduler.
func (o options) deadline() time.Duration {
	return o.detectionTime()*9/8 + time.Second
}

// parse returns the options that args ask for. Where package flag finds an error
// in args, or -h, it exits.
func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("soak", flag.ExitOnError)
	flags.IntVar(&o.connections, "connections", 100_000, "`number` of connections, at least 2, each of which has two sockets")
	flags.TextVar(&o.policy, "policy", keepalive.Config{Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3},
		"keepalive `policy` of one end of each connection; they are opened evenly over its idle time")
	flags.DurationVar(&o.hold, "hold", 5*time.Minute, "`time` for which the connections stay idle, at least 1s; a fifth of it again with keepalive off")
	flags.Parse(args)
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q, want flags only", flags.Arg(0))
	}
	o.policy = o.policy.Effective() // what the kernel holds is compared with it
	return o, o.validate()
}

func (o options) validate() error {
	if o.connections < 2 {
		return fmt.Errorf("-connections is %d, want at least 2", o.connections)
	}
	if o.hold < time.Second {
		return fmt.Errorf("-hold is %v, want at least 1s", o.hold)
	}
	p := o.policy
	if p.Disable {
		return fmt.Errorf("-policy is %v, want one with keepalive on", p)
	}
	if p.Idle%time.Second != 0 || p.Interval%time.Second != 0 {
		return fmt.Errorf("-policy is %v, want whole seconds for idle and interval", p)
	}
	// Once a probe is sent the kernel's timer runs for an Interval, answered or
	// not. If that is longer than Idle, the next probe is late.
	if p.Interval > p.Idle {
		return fmt.Errorf("-policy is %v, want an interval of at most idle", p)
	}
	return nil
}
