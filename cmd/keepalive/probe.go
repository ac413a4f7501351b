package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
	"github.com/seed-7be6acb7/keepalive/internal/bounds"
	"github.com/seed-7be6acb7/keepalive/internal/duration"
	"github.com/seed-7be6acb7/keepalive/pathidle"
)

func newProbe() *cobra.Command {
	var p probeCommand
	c := &cobra.Command{
		Use:   "probe HOST:PORT",
		Short: "Measure how long the path to a server keeps an idle connection",
		Long: `Probe measures how long a firewall, NAT or load balancer on the path to a server
keeps an idle connection. It works with any TCP server and sends it no data. It
opens a few connections, leaves each idle for a different time, and then sends a
keepalive probe. At the end it prints the result, and a policy that keeps the
path open.

Once it is connected it prints how long it takes, on stderr with --json: mostly
2.2 to 3.8 times what it finds. Ctrl-C ends it early, and it prints the result
so far. On a terminal it shows how long each connection has been idle and when
the next probe is due. In a pipe it prints a line for each result.

--json prints one object at the end. Its durations are numbers of seconds:

    remote          address of the server
    verdict         found, nothing lost, server closes, server sends, varies,
                    ends by age, never answers; empty if the measurement was
                    ended early
    survived, lost  longest idle time that survived and shortest that was lost,
                    null for none
    after           time of "server closes", "server sends" and "ends by age",
                    else null
    outages         how often the network failed meanwhile
    policy          a policy that keeps the path open, null for none
    samples         idle, outcome, probes, rtt of each sample

The exit code is 1 if no connection survived, if the path ends them by age, or
if probe was ended early.`,
		Example: `  keepalive probe primary.example:5432
  keepalive probe --max 10m --precision 5s 192.0.2.1:443`,
		Args: oneArg("HOST:PORT"),
		RunE: func(c *cobra.Command, args []string) error {
			p.out, p.stderr = term.New(c.OutOrStdout()), c.ErrOrStderr()
			return p.run(c.Context(), args[0])
		},
	}
	flags := c.Flags()
	flags.DurationVar(&p.options.Max, "max", time.Hour, "the longest idle `TIME` of interest")
	flags.DurationVar(&p.options.Precision, "precision", 0, "how exact the answer is: `TIME`, or 0 for 5 % of it")
	flags.IntVar(&p.options.Connections, "connections", 8, "`N` connections at once, fewer take longer")
	flags.BoolVar(&p.json, "json", false, "print one object at the end")
	return c
}

// probeCommand holds the flags of probe.
type probeCommand struct {
	options pathidle.Options
	json    bool
	out     term.Output
	stderr  io.Writer
}

func (p *probeCommand) run(ctx context.Context, address string) error {
	if err := checkAddress(ctx, address); err != nil {
		return usageError{err}
	}
	longest := p.options.Duration(0)
	if longest == 0 {
		_, err := pathidle.Measure(ctx, "tcp", address, &p.options) // says what is wrong
		return usageError{inFlags(err)}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	view := &progressView{out: p.out, lost: cancel, begin: fmt.Sprintf(
		"Measuring the path to %s.\nThis takes mostly 2.2 to 3.8 times what it finds, and %s if that is nothing.\n", address, duration.Format(longest))}
	if p.json {
		view.out, view.lost, view.quiet = term.Output{Writer: p.stderr}, func() {}, true
	}
	view.print("Connecting to " + address + ".\n")
	p.options.Progress = view.update
	stop := view.start()
	r, err := pathidle.Measure(ctx, "tcp", address, &p.options)
	stop()
	if p.json {
		if err := p.printJSON(r); err != nil {
			return err
		}
		return ending(ctx, r, err)
	}
	if err != nil && ctx.Err() == nil && r.Survived == 0 && r.Lost == 0 {
		return err
	}
	p.printAnswer(r)
	return ending(ctx, r, err)
}

// checkAddress returns an error where the address has no host or no port. Measure
// would find that out after the estimate is printed.
func checkAddress(ctx context.Context, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil && (host == "" || port == "") {
		err = &net.AddrError{Err: "missing host or port", Addr: address}
	}
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(ctx, "tcp", port)
	}
	if err != nil {
		return fmt.Errorf("%w, want HOST:PORT such as primary.example:5432 or [2001:db8::1]:443", err)
	}
	return nil
}

// ending is the result of the command.
func ending(ctx context.Context, r pathidle.Result, err error) error {
	switch {
	case err != nil && ctx.Err() != nil: // somebody wanted it so
		return exitCode(exitProblem)
	case err != nil:
		return err
	case r.Survived == 0 || r.Verdict == pathidle.EndsByAge:
		return exitCode(exitProblem)
	}
	return nil
}

func (p *probeCommand) printAnswer(r pathidle.Result) {
	answer := r.String()
	fmt.Fprintln(p.out, p.out.Paint(term.Heading, strings.ToUpper(answer[:1])+answer[1:]+"."))
	policy, err := r.Plan(keepalive.Target{})
	if err == nil {
		fmt.Fprintf(p.out, "Policy that keeps it: %v\n", policy)
	} else if limit, ok := errors.AsType[*bounds.Error](err); ok {
		fmt.Fprintf(p.out, "No policy keeps it: it remembers for %s, want %s.\n", limit.Value, limit.Want)
	} else if r.Verdict == pathidle.EndsByAge {
		fmt.Fprintln(p.out, "No policy keeps it.")
	}
}

// measured is what probe --json prints.
type measured struct {
	Remote   string            `json:"remote"`
	Verdict  pathidle.Verdict  `json:"verdict"`
	Survived *seconds          `json:"survived"`
	Lost     *seconds          `json:"lost"`
	After    *seconds          `json:"after"`
	Outages  int               `json:"outages"`
	Policy   *keepalive.Config `json:"policy"`
	Samples  []measuredSample  `json:"samples"`
}

type measuredSample struct {
	Idle    seconds          `json:"idle"`
	Outcome pathidle.Outcome `json:"outcome"`
	Probes  int              `json:"probes"`
	RTT     seconds          `json:"rtt"`
}

func (p *probeCommand) printJSON(r pathidle.Result) error {
	m := measured{
		Remote:   r.Remote,
		Verdict:  r.Verdict,
		Survived: orNull(toSeconds(r.Survived), r.Survived != 0),
		Lost:     orNull(toSeconds(r.Lost), r.Lost != 0),
		After:    orNull(toSeconds(r.After), r.After != 0),
		Outages:  r.Outages,
		Samples:  []measuredSample{},
	}
	if policy, err := r.Plan(keepalive.Target{}); err == nil {
		m.Policy = &policy
	}
	for _, s := range r.Samples {
		m.Samples = append(m.Samples, measuredSample{toSeconds(s.Idle), s.Outcome, s.Probes, toSeconds(s.RTT)})
	}
	return json.NewEncoder(p.out).Encode(m)
}

// A progressView shows a measurement that goes on.
type progressView struct {
	out   term.Output
	lost  func() // called when the output can no longer be written
	begin string // printed when the first connection is open
	quiet bool   // print nothing but that

	mu        sync.Mutex
	connected bool
	last      *pathidle.Progress
	since     time.Time // the last update
	lines     int       // of the picture on the terminal
}

// update takes note of what has happened. In a pipe it prints it.
//
// How long the measurement takes is printed when a connection is open. It begins
// then, however long addresses that do not answer have delayed it.
func (l *progressView) update(p pathidle.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last, l.since = &p, time.Now()
	if !l.connected && slices.ContainsFunc(p.Conns, isOpen) {
		l.connected = true
		l.print(l.begin)
	}
	switch {
	case l.quiet:
	case l.out.Terminal:
		l.draw()
	case p.Sample != nil:
		l.print(sampleText(*p.Sample) + "; " + bracket(p) + "\n")
	}
}

func isOpen(c pathidle.Conn) bool {
	switch c.State {
	case pathidle.StateIdle, pathidle.StateAsked, pathidle.StateDoubtful:
		return true
	}
	return false
}

func (l *progressView) print(text string) {
	if _, err := io.WriteString(l.out, text); err != nil {
		l.lost()
	}
}

// start draws the picture again and again on a terminal, until the function that
// it returns is called.
func (l *progressView) start() (stop func()) {
	if !l.out.Terminal {
		return func() {}
	}
	done := make(chan struct{})
	var drawing sync.WaitGroup
	drawing.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				l.mu.Lock()
				l.draw()
				l.mu.Unlock()
			}
		}
	})
	return func() {
		close(done)
		drawing.Wait()
	}
}

// draw draws the picture in place of the one before.
func (l *progressView) draw() {
	if l.last == nil || !l.connected { // no connection is open yet
		return
	}
	lines := searchLines(*l.last, time.Since(l.since), l.out)
	var b strings.Builder
	if l.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.lines)
	}
	for _, line := range lines {
		b.WriteString(term.Cut(line, l.out.Width) + "\x1b[K\n")
	}
	l.lines = len(lines)
	l.print(b.String())
}

// searchLines draws a search that has gone on for a while since p: a bar for
// each connection, and below them what is known. All have the same scale.
func searchLines(p pathidle.Progress, since time.Duration, out term.Output) []string {
	now := p.Elapsed + since
	end := max(p.Lost, p.Survived, time.Second)
	for _, c := range p.Conns {
		end = max(end, c.Until-c.Since, now-c.Since)
	}
	const label = "  8 connecting    59m59s  " // the widest
	columns := max(10, min(out.Width, 120)-len(label)-2)
	width := func(d time.Duration) int { return int(int64(max(d, 0)) * int64(columns) / int64(end)) }
	var lines []string
	for i, c := range p.Conns {
		idle, bar := "", ""
		style := stateStyle(c.State)
		if isOpen(c) {
			idle = duration.Format((now - c.Since).Truncate(100 * time.Millisecond))
			done := min(columns, width(now-c.Since))
			bar = out.Paint(style, strings.Repeat("━", done))
			if rest := min(columns, width(c.Until-c.Since)) - done; rest > 0 {
				bar += out.Paint(term.Faint, strings.Repeat("─", rest-1)+"?")
			}
		}
		lines = append(lines, fmt.Sprintf("%3d %s %9s  %s", i+1, out.Paint(style, fmt.Sprintf("%-10s", stateText(c.State))), idle, bar))
	}
	known := out.Paint(term.Good, strings.Repeat("━", width(p.Survived)))
	if p.Lost != 0 {
		known += strings.Repeat(" ", max(0, width(p.Lost)-width(p.Survived)-1)) + out.Paint(term.Alarm, "✕")
	}
	left := fmt.Sprintf("%s left, %s at most", duration.Format(max(0, p.Left-since).Truncate(time.Second)), duration.Format(max(0, p.LeftMost-since).Truncate(time.Second)))
	return append(lines, fmt.Sprintf("    %-10s %9s  %s", "known", "", known), bracket(p)+"; "+left)
}

// stateText does not call closed what has not been open yet.
func stateText(s pathidle.State) string {
	if s == pathidle.StateClosed {
		return "not open"
	}
	return string(s)
}

func stateStyle(s pathidle.State) term.Style {
	switch s {
	case pathidle.StateIdle:
		return term.Good
	case pathidle.StateAsked:
		return term.Heading
	case pathidle.StateDoubtful:
		return term.Warning
	}
	return term.Faint
}

// bracket says what is known.
func bracket(p pathidle.Progress) string {
	switch {
	case p.Survived == 0 && p.Lost == 0:
		return "nothing known yet"
	case p.Lost == 0:
		return fmt.Sprintf("kept for %s, nothing lost yet", duration.Format(p.Survived))
	case p.Survived == 0:
		return fmt.Sprintf("lost after %s", duration.Format(p.Lost))
	}
	return fmt.Sprintf("kept for %s, lost after %s", duration.Format(p.Survived), duration.Format(p.Lost))
}

// sampleText says what became of a question.
func sampleText(s pathidle.Sample) string {
	text := fmt.Sprintf("idle for %s: %s", duration.Format(s.Idle), s.Outcome)
	if s.RTT != 0 {
		text += fmt.Sprintf(" after %v", s.RTT.Round(100*time.Microsecond))
	}
	return text
}
