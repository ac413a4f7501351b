package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

func newSet() *cobra.Command {
	var s setCommand
	c := &cobra.Command{
		Use:   "set POLICY",
		Short: "Change the policy of sockets while their programs run",
		Long: `Set changes the policy of the selected sockets while their programs run. It
prints what each socket held before and what it holds after, read back from the
kernel. The flags select sockets as in keepalive ls; at least one is needed.
The programs are not stopped and not notified.

POLICY turns keepalive on, or off if it contains "off". Options that it does
not name keep their values. "default" restores the values of a new socket in
the same network namespace: timing and max RTO from the sysctls, no user
timeout. A zero restores one option:
` + withValues("0") + `.

The policy applies at once, with one exception: with data in flight the
retransmission timer that is armed fires first, up to two minutes later. Set
prints when, if that is a second or more. A probe
that is overdue under the policy is sent immediately, unless one is unanswered.

user_timeout gives up live peers that read slowly or pause twice, first of all
those to which much data is sent. max_rto spares them.

A restored value is a copy: it does not follow later changes of
the sysctl.

Connections inherit the policy of a listening socket when they are accepted. A
program may then set its own, as Go's net does. Set prints what it knows about
that.

Each socket is checked against the flags again immediately before it is set.
One that does not match any more is reported as no longer selected. Some
microseconds pass between this check and the last option. If the program
changes the socket in this time, set overwrites that change. A socket that is
gone is reported too.

--json prints an object for each selected socket, on a line of its own, with the
fields

    result        set, unchanged, refused, gone or deselected
    dry_run       whether nothing was set
    before        the policy before: keepalive and its options
    after         the policy after, null unless it is set or unchanged
    takes_effect  time until then, null for at once
    reason        why it was refused, or null
    note          what is known about connections to come, or null
    socket        the socket before, as "keepalive ls --json" prints it

The exit code is 1 if a socket was refused, if no socket is selected, and if
--pid, --command, --cgroup or --unit names a process that cannot be looked into:
the missing right is printed. Set reports connections that could not be seen as
keepalive ls does.`,
		Example: `  keepalive set --command redis-server idle=1m,interval=5s,count=3
  keepalive set --hang never --dry-run idle=5m
  keepalive set --pid 4711 --remote 10.0.0.0/8:5432 max_rto=2s
  keepalive set --listen --command postgres default`,
		Args: oneArg("POLICY"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if s.change, err = parseChange(args[0]); err != nil {
				return err
			}
			s.out, s.stderr = term.New(c.OutOrStdout()), c.ErrOrStderr()
			return s.run(c.Context())
		},
	}
	s.selection.addFlags(c)
	s.finding.addFlags(c)
	c.Flags().BoolVar(&s.json, "json", false, "print a JSON object for each socket")
	c.Flags().BoolVar(&s.dryRun, "dry-run", false, "print what would be set, and set nothing")
	return c
}

// setCommand sets the policy of the selected sockets.
type setCommand struct {
	selection selection
	finding   finding
	change    change
	dryRun    bool
	json      bool
	guarded   bool // connections to come hold the policy whatever happens

	out    term.Output
	stderr io.Writer
	counts [outcomes]int
}

// An outcome is what came of a socket.
type outcome int

const (
	isDone outcome = iota
	isUnchanged
	isRefused
	isGone
	isDeselected
	outcomes
)

func (s *setCommand) run(ctx context.Context) error {
	if s.selection.isEmpty() {
		return usageError{errors.New("every socket is selected, want a flag that says which, such as --pid, --command or --remote")}
	}
	if err := s.selection.resolve(); err != nil {
		return err
	}
	f, err := s.finding.find(s.stderr)
	if err != nil {
		return err
	}
	defer f.Close()
	selected := s.selection.of(f)
	var all []*sockets.Socket // whoever has accepted them
	if slices.ContainsFunc(selected, func(socket *sockets.Socket) bool { return socket.State == sockets.Listen }) {
		for socket := range f.All(func(sockets.Process) bool { return true }) {
			all = append(all, socket.Clone())
		}
	}
	r := f.NewReader()
	defer r.Close()
	for _, socket := range selected {
		if err := ctx.Err(); err != nil {
			return err
		}
		result := setResult{outcome: isGone, socket: *socket}
		r.Read(socket.Index, func(now *sockets.Socket) { result = s.setIfSelected(now, all) })
		s.say(&result)
		s.counts[result.outcome]++
	}
	r.Close() // which tells of refusals
	return s.result(f, len(selected))
}

// A setResult is what came of a socket.
type setResult struct {
	outcome
	socket sockets.Socket   // before
	after  keepalive.Config // of what is set or unchanged
	timer  sockets.Timer    // that is armed afterwards
	reason error            // of a refusal
	note   string           // on a listening socket
}

// setIfSelected sets a socket that has just been read, unless it has changed
// since it was selected.
func (s *setCommand) setIfSelected(now *sockets.Socket, all []*sockets.Socket) setResult {
	if !s.selection.has(now) {
		return setResult{outcome: isDeselected, socket: *now}
	}
	return s.set(now, all)
}

// set changes the socket.
func (s *setCommand) set(socket *sockets.Socket, all []*sockets.Socket) setResult {
	result := setResult{socket: *socket}
	after, err := s.change.of(socket)
	if err == nil && !s.dryRun {
		err = socket.Apply(after)
		if err == nil {
			err = socket.Get()
		}
		after = socket.Config
	}
	if err != nil {
		result.outcome, result.reason = isRefused, err
		return result
	}
	result.after, result.timer = keepalive.Config(policy.Config(after).AsRead()), socket.Timer
	if result.socket.Config == result.after {
		result.outcome = isUnchanged
	}
	if socket.State == sockets.Listen && !s.guarded {
		result.note = inheritance(&result.socket, all)
	}
	return result
}

// text says what came of a socket.
func (s *setCommand) text(r *setResult) string {
	switch r.outcome {
	case isGone:
		return "gone since"
	case isDeselected:
		return "no longer selected"
	case isRefused:
		return "refused: " + r.refusal()
	case isUnchanged:
		return "unchanged: " + r.after.String()
	}
	line := r.socket.Config.String() + " → " + r.after.String()
	if s.out.Width > 0 && len(line)+4 > s.out.Width {
		line = strings.Replace(line, " → ", "\n  → ", 1)
	}
	return line + r.waits()
}

func (r *setResult) refusal() string { return strings.TrimPrefix(r.reason.Error(), "keepalive: ") }

// takesEffect returns the time until a policy takes effect on a connection with
// data in flight, 0 for at once.
func (r *setResult) takesEffect() time.Duration {
	kind := r.timer.Kind
	if r.outcome != isDone || kind != sockets.Retransmission && kind != sockets.ZeroWindow {
		return 0
	}
	return r.timer.Left
}

// waits says so, where it is worth it.
func (r *setResult) waits() string {
	left := r.takesEffect()
	if left < time.Second {
		return ""
	}
	event := "retransmission"
	if r.timer.Kind == sockets.ZeroWindow {
		event = "zero-window probe"
	}
	return fmt.Sprintf(" (takes effect at the next %s, in %v)", event, roundedUp(left))
}

// say prints what came of a socket.
func (s *setCommand) say(r *setResult) {
	if s.json {
		s.out.Write(append(s.appendResult(nil, r), '\n'))
		return
	}
	sayOf(s.out, &r.socket, s.text(r))
	if r.note != "" {
		fmt.Fprintln(s.out, "    "+r.note)
	}
}

// sayOf prints something about a socket, in a pipe on one line.
func sayOf(out term.Output, socket *sockets.Socket, what string) {
	peer, _ := remote(socket)
	if socket.Remote.IsValid() {
		peer = "→ " + peer
	}
	name := fmt.Sprintf("%s %s %s", out.Paint(term.Heading, processes(socket)), endpointText(socket.Local), peer)
	if out.Terminal {
		fmt.Fprintf(out, "%s\n    %s\n", name, what)
	} else {
		fmt.Fprintf(out, "%s: %s\n", name, what)
	}
}

// appendResult appends an object of set --json.
func (s *setCommand) appendResult(line []byte, r *setResult) []byte {
	line = append(line, `{"result":`...)
	line = appendString(line, [outcomes]string{"set", "unchanged", "refused", "gone", "deselected"}[r.outcome])
	line = append(line, `,"dry_run":`...)
	line = strconv.AppendBool(line, s.dryRun)
	line = append(line, `,"before":{`...)
	line = appendPolicy(line, r.socket.Config)
	line = append(line, `},"after":`...)
	if r.outcome == isDone || r.outcome == isUnchanged {
		line = append(appendPolicy(append(line, '{'), r.after), '}')
	} else {
		line = append(line, null...)
	}
	line = append(line, `,"takes_effect":`...)
	line = appendSeconds(line, r.takesEffect(), r.takesEffect() != 0)
	line = append(line, `,"reason":`...)
	if r.reason != nil {
		line = appendString(line, r.refusal())
	} else {
		line = append(line, null...)
	}
	line = append(line, `,"note":`...)
	if r.note != "" {
		line = appendString(line, r.note)
	} else {
		line = append(line, null...)
	}
	line = append(line, `,"socket":`...)
	return append(appendSocket(line, &r.socket), '}')
}

var errNoSocket = errors.New("no socket is selected that the caller may see")

// result prints what could not be seen and how many sockets were set.
func (s *setCommand) result(f *sockets.Found, selected int) error {
	lines, refused := s.selection.unseenLines(f)
	if selected > 0 {
		lines = append(lines, s.summary(selected))
	}
	for _, line := range lines {
		fmt.Fprintln(s.stderr, line)
	}
	switch {
	case s.counts[isRefused] > 0 || refused:
		return exitCode(exitProblem)
	case selected == 0:
		return errNoSocket
	}
	return nil
}

// summary is the last line.
func (s *setCommand) summary(selected int) string {
	words := [outcomes]string{"set", "unchanged", "refused", "gone", "no longer selected"}
	line := plural(selected, "socket", "sockets") + ": " + summary(s.counts, words)
	if s.dryRun {
		line = strings.Replace(line, " set", " to be set", 1) + ". Nothing was set (--dry-run)."
	}
	return line
}

// summary counts what came of sockets.
func summary(counts [outcomes]int, words [outcomes]string) string {
	var parts []string
	for result, n := range counts {
		if n > 0 || outcome(result) == isDone {
			parts = append(parts, fmt.Sprint(n, " ", words[result]))
		}
	}
	return strings.Join(parts, ", ")
}

// inheritance says what is known about whether connections keep what they inherit
// from a listening socket. That they hold the same proves nothing: they may have
// been set as well.
func inheritance(listener *sockets.Socket, all []*sockets.Socket) string {
	open, same := 0, 0
	for _, s := range all {
		if s.Status.Open && s.NetNS == listener.NetNS && s.Local.Port() == listener.Local.Port() {
			open++
			if s.Config == listener.Config {
				same++
			}
		}
	}
	version, isGo := listener.GoVersion()
	switch {
	case isGo:
		return "The program is Go's (" + version + "): net sets 15 s, 15 s and 9 on each accepted connection, unless the program sets KeepAlive: -1."
	case open == 0:
		return "There is no open connection that shows whether the program sets a policy of its own."
	case same == open:
		return plural(open, "open connection has", "open connections have") + " the policy that the listening socket had."
	}
	return plural(open-same, "open connection has", "open connections have") +
		" another policy than the listening socket had: the program may set its own on each."
}
