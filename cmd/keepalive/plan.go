package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

func newPlan() *cobra.Command {
	var target keepalive.Target
	c := &cobra.Command{
		Use:   "plan",
		Short: "Find the policy for a demand, and say it to other programs",
		Long: `Plan finds the policy that notices a dead peer in time and keeps a path open,
and prints it

    as the text that "keepalive set" and the Go package read
    as a Go literal
    as a timeline, drawn to scale
    as the settings of other programs, or what these can't say
    as the lines of a file for sysctl.d(5) that set it for the whole machine

Timers that are 1/8 late and one lost probe are allowed for. The timeline shows
timers that are on time. It does not change anything.

It is a firewall, NAT or balancer on the path that forgets an idle connection.
--unacked sets the user timeout, which gives up live peers too: those that read
slowly, pause twice or stop reading. --slow-reads spares them: it sets max_rto
instead, which needs Linux 6.15.`,
		Example: `  keepalive plan --detect 45s --idle-limit 350s
  keepalive plan --detect 2m --unacked --slow-reads`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			policy, err := keepalive.Plan(target)
			if err != nil {
				return usageError{inFlags(err)}
			}
			return printPlan(term.New(c.OutOrStdout()), target, policy)
		},
	}
	flags := c.Flags()
	flags.DurationVar(&target.Detect, "detect", 0, "longest `TIME` in which a dead peer is noticed")
	flags.DurationVar(&target.IdleLimit, "idle-limit", 0, "shortest `TIME` until the path forgets a connection")
	flags.BoolVar(&target.Unacked, "unacked", false, "notice it with data in flight too")
	flags.BoolVar(&target.SlowReads, "slow-reads", false, "with --unacked, spare a live peer that stops reading")
	return c
}

// inFlags names the flags in place of the fields that an error is about.
func inFlags(err error) error {
	return errors.New(strings.NewReplacer("keepalive: ", "", "pathidle: ", "", "Target demands", "this demands",
		"Max is", "--max is", "Precision is", "--precision is", "Connections is", "--connections is",
		"Detect", "--detect", "IdleLimit", "--idle-limit", "Unacked", "--unacked", "SlowReads", "--slow-reads").Replace(err.Error()))
}

func printPlan(out term.Output, t keepalive.Target, c keepalive.Config) error {
	heading := func(s string) { fmt.Fprintln(out, out.Paint(term.Heading, s)) }
	heading("Policy")
	fmt.Fprintf(out, "  %v\n  %s\n\n", c, goLiteral(c))
	heading("Timeline")
	for _, line := range timeline(t, c, cmp.Or(out.Width, 80)-4) {
		fmt.Fprintf(out, "  %s\n", strings.TrimRight(line, " "))
	}
	fmt.Fprintln(out)
	heading("Elsewhere")
	table := term.Table{{}, {}}
	for _, d := range snippets(t, c) {
		name := d.name
		for _, line := range d.lines {
			table.Append("  "+name, line)
			name = ""
		}
	}
	_, err := fmt.Fprint(out, strings.Join(table.Lines(out)[1:], ""))
	return err
}

// goLiteral returns c as Go source.
func goLiteral(c keepalive.Config) string {
	var fields []string
	for i := range policy.Options {
		o := &policy.Options[i]
		if v := o.Of(policy.Config(c)); v != 0 {
			fields = append(fields, o.Field+": "+goValue(o, v))
		}
	}
	return "keepalive.Config{" + strings.Join(fields, ", ") + "}"
}

func goValue(o *policy.Option, v int64) string {
	switch d := time.Duration(v); {
	case o.IsNumber():
		return o.Format(v)
	case d%time.Second == 0:
		return fmt.Sprintf("%d * time.Second", d/time.Second)
	default:
		return fmt.Sprintf("%d * time.Millisecond", d/time.Millisecond)
	}
}
