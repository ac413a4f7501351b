package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
)

func newLs() *cobra.Command {
	var l ls
	c := &cobra.Command{
		Use:   "ls",
		Short: "Show policies, and how long dead peers go unnoticed",
		Long: `Ls shows every TCP socket that a process holds, in whatever network namespace,
as far as the caller may see it: who holds it, its keepalive policy, how long a
dead peer of it goes unnoticed, and when the peer was last heard. Sockets that
need attention come first: those whose peer has stopped answering, then those
where a dead peer goes unnoticed for ever. Processes that the caller may not
look into are counted at the end, on stderr with --json.

UNNOTICED is how long a dead peer of an idle connection goes unnoticed, counted
from the last segment that arrived, "never" where it does for ever. IN FLIGHT is
the same for data in flight, counted from its first retransmission, "?" where it
hangs on the sysctls of a network namespace that the caller may not enter. The
kernel's timers may take 1/8 longer, and Multipath TCP net.mptcp.close_timeout.
Of a listening socket it is what connections inherit. HEARD is how long ago the
peer was known to be there. PROBES and RETRANS are what it has left unanswered.
On a narrow terminal POLICY is
` + shortPolicyHelp() + `
where these are set.

The flags say which sockets are shown. CIDR[:PORT] is such as 10.0.0.0/8:5432,
[2001:db8::/32]:443, 10.0.0.1 or :5432. A flag that is given twice means either.
Flags of different names must all be met.

--hang without a limit shows where a dead peer goes unnoticed for ever. It and
--hang-in-flight count "?" as too long, and leave listening sockets out, unless
--listen is given. So that they can guard a deployment, the exit code is 1 where
they find a socket, where a process could not be looked into, and where one that
--pid or --command names holds no TCP socket.

--json prints an object for each socket, on a line of its own. Durations are
numbers of seconds. The fields are

` + fields() + `
This makes a file of the connections for the textfile collector of Prometheus'
node_exporter:

` + prometheus + `
A socket that no process holds is not shown: a connection that the program has
closed while the kernel still ends it, one that it has yet to accept, and those
of the kernel, such as NFS. Neither are those of processes in an outer PID
namespace. A socket that is opened or closed meanwhile may be missing.`,
		Example: `  keepalive ls
  keepalive ls --command postgres --remote 10.0.0.0/8
  keepalive ls --hang=10m || echo 'a dead peer would go unnoticed'
  keepalive ls --suspect --watch 1s`,
		Args: l.selection.args(noArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return l.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	l.selection.addFlags(c.Flags())
	c.Flags().BoolVar(&l.json, "json", false, "print an object for each socket")
	c.Flags().DurationVar(&l.watch, "watch", 0, "show it every `INTERVAL`, on a terminal in place")
	return c
}

// prometheus is for a shell. The sort puts the lines of a metric together.
const prometheus = `    keepalive ls --json | jq -r 'select(.heard != null) | .processes[0] as $p |
      "{command=\($p.command|@json),pid=\"\($p.pid)\",fd=\"\($p.fd)\"" as $who |
      "\($who),local=\"\(.local)\",remote=\"\(.remote)\"} " as $labels |
      "keepalive_unnoticed_idle_seconds\($labels)\(.unnoticed_idle // "+Inf")",
      "keepalive_suspect\($labels)\(if .suspect then 1 else 0 end)"' |
      sort > keepalive.prom
`

// ls is what the command is told to do.
type ls struct {
	selection selection
	json      bool
	watch     time.Duration
}

func (l *ls) run(ctx context.Context, stdout, stderr io.Writer) error {
	switch {
	case l.json && l.watch != 0:
		return usageError{errors.New("--json and --watch exclude each other, want one of them")}
	case l.watch < 0:
		return usageError{fmt.Errorf("--watch is %v, want a duration above zero, such as 1s", l.watch)}
	case l.watch > 0:
		return l.watchTable(ctx, stdout)
	case l.json:
		return l.printJSON(ctx, stdout, stderr)
	}
	out := term.New(stdout)
	lines, notes, err := l.table(ctx, out)
	if _, err := io.WriteString(out, strings.Join(lines, "")+strings.Join(notes, "")); err != nil {
		return err
	}
	return err
}

func (l *ls) printJSON(ctx context.Context, stdout, stderr io.Writer) error {
	w := bufio.NewWriterSize(stdout, 64<<10)
	notes, result := l.find(ctx, func(s *sockets.Socket) error { return printSocket(w, s) })
	if err := w.Flush(); err != nil {
		return err
	}
	for _, line := range notes {
		fmt.Fprintln(stderr, line)
	}
	return result
}

// table returns the lines of the table, those that close it, and the result.
func (l *ls) table(ctx context.Context, out term.Output) (lines, notes []string, result error) {
	var found []*sockets.Socket
	notes, result = l.find(ctx, func(s *sockets.Socket) error {
		found = append(found, s)
		return nil
	})
	slices.SortStableFunc(found, compareAttention)
	var wrapped []string
	for _, line := range notes {
		wrapped = append(wrapped, term.Wrap(line, out.Width)...)
	}
	return renderSockets(out, found), wrapped, result
}

// find visits the sockets that are meant. It returns lines about what it could
// not find, and the result.
func (l *ls) find(ctx context.Context, visit func(*sockets.Socket) error) (notes []string, result error) {
	f, err := sockets.Find()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	visited, guards, met := 0, l.selection.hangs(), make(map[sockets.Process]bool)
	for s := range f.All(l.selection.hasProcess) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if guards {
			for _, h := range s.Holders {
				met[h.Process] = true
			}
		}
		if !l.selection.has(s) {
			continue
		}
		visited++
		if err := visit(s); err != nil {
			return nil, err
		}
	}
	refusals := l.selection.refused(f.Refusals())
	notes = refusalLines(refusals)
	if !guards {
		return notes, nil
	}
	for _, r := range refusals {
		met[r.Process] = true
	}
	missing := l.selection.missing(slices.Collect(maps.Keys(met)))
	for _, flag := range missing {
		notes = append(notes, "no TCP socket was found for "+flag)
	}
	if visited+len(refusals)+len(missing) > 0 {
		return notes, exitCode(exitProblem)
	}
	return notes, nil
}

// watchTable shows the table until ctx ends. Its result is that of the last one.
func (l *ls) watchTable(ctx context.Context, stdout io.Writer) (result error) {
	tick := time.NewTicker(l.watch)
	defer tick.Stop()
	for first := true; ; first = false {
		out := term.New(stdout) // of a terminal that may have changed its size
		lines, notes, err := l.table(ctx, out)
		if ctx.Err() != nil {
			return result
		}
		if _, found := err.(exitCode); err != nil && !found {
			return err
		}
		result = err
		if err := redraw(out, lines, notes, first); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return result
		}
	}
}

// redraw prints lines in place of those before, as many as fit, and below them
// those that close the table.
func redraw(out term.Output, lines, notes []string, first bool) error {
	var b strings.Builder
	switch {
	case out.Terminal:
		const home, clearLine, clearBelow = "\x1b[H", "\x1b[K", "\x1b[J"
		b.WriteString(home)
		room := max(1, out.Height-1) // a line stays free for the cursor
		notes = fitting(notes, room)
		lines = fitting(lines, room-len(notes))
		for _, line := range slices.Concat(lines, notes) {
			b.WriteString(strings.TrimSuffix(line, "\n") + clearLine + "\n")
		}
		b.WriteString(clearBelow)
	default:
		if !first {
			b.WriteString("\n")
		}
		b.WriteString(strings.Join(slices.Concat(lines, notes), ""))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// fitting returns as many lines as there is room for, of which the last says how
// many are missing.
func fitting(lines []string, room int) []string {
	if len(lines) <= room {
		return lines
	}
	if room <= 0 {
		return nil
	}
	return append(slices.Clone(lines[:room-1]), fmt.Sprintf("… %d more\n", len(lines)-room+1))
}

// refusalLines says of how many processes something kept the caller from looking
// into them, in a line at most.
func refusalLines(refusals []sockets.Refusal) []string {
	counts := make(map[string]int)
	var reasons []string
	for _, r := range refusals {
		if counts[r.Reason]++; counts[r.Reason] == 1 {
			reasons = append(reasons, r.Reason)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	for i, reason := range reasons {
		reasons[i] = fmt.Sprintf("%d: %s", counts[reason], reason)
	}
	noun := "processes"
	if len(refusals) == 1 {
		noun = "process"
	}
	return []string{fmt.Sprintf("%d %s could not be looked into (%s)", len(refusals), noun, strings.Join(reasons, "; "))}
}
