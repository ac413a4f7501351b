package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
	"github.com/seed-7be6acb7/keepalive/internal/bounds"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

func newPlan() *cobra.Command {
	var target keepalive.Target
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan",
		Short: "Compute a policy and print the settings of other programs",
		Long: `Plan computes the policy that notices a dead peer in time and keeps a path open.
It prints the policy

    as the text that "keepalive set" and the Go package read
    as a Go literal
    as a timeline, drawn to scale
    as the settings of other programs, and as code in other languages
    as sysctls: a file for sysctl.d(5), which applies to the whole machine but
    for its containers, and settings of containers

Plan allows for timers that are 1/8 late and for one lost probe. The timeline
shows timers that are on time. docs/plan.md has the times that programs took
with these settings. Plan changes nothing.

--idle-limit is the idle timeout of a firewall, NAT or balancer on the path.
--unacked sets the user timeout, which gives up live peers too: those that read
slowly, pause twice or stop reading. --slow-reads spares them: it sets max_rto
instead, which needs Linux 6.15. A Go program on an older kernel has
keepalive.Watcher, which spares them too. Programs that have no setting for a
user timeout need tcp_retries2. It is among the sysctls with --unacked, and
applies to every program of a network namespace that sets no user timeout.

--json prints one object:

    policy          the policy as text
    go              the policy as a Go literal
    unnoticed_idle  how long a dead peer goes unnoticed, in seconds
    elsewhere       of each other program: name, lines. Those that begin with
                    "# " or "// " are comments`,
		Example: `  keepalive plan --detect 45s --idle-limit 350s
  keepalive plan --detect 2m --unacked --slow-reads`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case target.Detect == 0 && target.IdleLimit == 0:
				return usageError{errors.New("this demands nothing, want --detect, --idle-limit or both")}
			case target.SlowReads && !target.Unacked:
				return usageError{errors.New("--slow-reads without --unacked, want both or neither")}
			}
			policy, err := keepalive.Plan(target)
			if err != nil {
				return usageError{inFlags(err)}
			}
			if asJSON {
				return printPlanJSON(c.OutOrStdout(), target, policy)
			}
			printPlan(term.New(c.OutOrStdout()), target, policy)
			return nil
		},
	}
	flags := c.Flags()
	flags.DurationVar(&target.Detect, "detect", 0, "notice a dead peer within `TIME`")
	flags.DurationVar(&target.IdleLimit, "idle-limit", 0, "shortest idle timeout on the path: `TIME`")
	flags.BoolVar(&target.Unacked, "unacked", false, "notice a dead peer with data in flight too")
	flags.BoolVar(&target.SlowReads, "slow-reads", false, "with --unacked, keep a live peer that stops reading")
	flags.BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

// flagOf is the flag that sets a field of keepalive.Target or pathidle.Options.
var flagOf = map[string]string{
	"Detect":      "--detect",
	"IdleLimit":   "--idle-limit",
	"SlowReads":   "--slow-reads",
	"Max":         "--max",
	"Precision":   "--precision",
	"Connections": "--connections",
}

// inFlags names the flags in place of the fields that an error is about.
func inFlags(err error) error {
	if e, ok := errors.AsType[*bounds.Error](err); ok {
		return errors.New(e.Text(flagOf[e.Field], flagOf[e.With]))
	}
	return err
}

func printPlan(out term.Output, t keepalive.Target, c keepalive.Config) {
	heading := func(s string) { fmt.Fprintln(out, out.Paint(term.Heading, s)) }
	heading("Policy")
	fmt.Fprintf(out, "  %v\n  %s\n\n", c, goLiteral(c))
	heading("Timeline")
	for _, line := range timeline(t, c, cmp.Or(out.Width, 80)-4) {
		fmt.Fprintf(out, "  %s\n", strings.TrimRight(line, " "))
	}
	fmt.Fprintln(out)
	heading("Elsewhere")
	fmt.Fprint(out, snippetText(snippets(t, c), out.Width))
}

// planJSON is what plan --json prints.
type planJSON struct {
	Policy    keepalive.Config `json:"policy"`
	Go        string           `json:"go"`
	Unnoticed *seconds         `json:"unnoticed_idle"`
	Elsewhere []elsewhere      `json:"elsewhere"`
}

type elsewhere struct {
	Name  string   `json:"name"`
	Lines []string `json:"lines"`
}

func printPlanJSON(out io.Writer, t keepalive.Target, c keepalive.Config) error {
	unnoticed, ok := c.DetectionTime()
	p := planJSON{Policy: c, Go: goLiteral(c), Unnoticed: orNull(toSeconds(unnoticed), ok)}
	for _, s := range snippets(t, c) {
		p.Elsewhere = append(p.Elsewhere, elsewhere{s.name, s.lines})
	}
	return json.NewEncoder(out).Encode(p)
}

// snippetText returns the settings of programs beside their names, or below a name
// where a line is longer than a terminal of some width. The terminal wraps a
// setting that is still too long, and copies it as one line; comments are wrapped
// here.
func snippetText(all []snippet, width int) string {
	const indent = "    "
	beside := 0
	for _, s := range all {
		beside = max(beside, len("  "+s.name+"  "))
	}
	var b strings.Builder
	for _, s := range all {
		longest := 0
		for _, line := range s.lines {
			longest = max(longest, len(line))
		}
		if width == 0 || beside+longest <= width {
			name := s.name
			for _, line := range s.lines {
				fmt.Fprintf(&b, "  %-*s%s\n", beside-2, name, line)
				name = ""
			}
			continue
		}
		fmt.Fprintf(&b, "  %s\n", s.name)
		for _, line := range s.lines {
			mark, comment, ok := cutComment(line)
			if !ok {
				fmt.Fprintf(&b, "%s%s\n", indent, line)
				continue
			}
			for _, part := range term.Wrap(comment, width-len(indent+mark)) {
				b.WriteString(indent + mark + part)
			}
		}
	}
	return b.String()
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
