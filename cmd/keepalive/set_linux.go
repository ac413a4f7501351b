package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

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
		Long: `Set changes the policy of the sockets that the flags select, as those of
keepalive ls, and prints what each held before and what it holds after, read
back from the kernel. At least one flag is needed. The programs are not stopped
and don't notice.

POLICY changes what it names and turns keepalive on, or off where it says "off".
What it leaves out stays as the socket has it. "default" puts back what a new
socket has in the same network namespace: the timing and the max RTO of the
sysctls, and no user timeout. A zero does so for one option:
` + withValues("0") + `.

The policy applies from then on, with one exception: with data in flight the
retransmission timer that is armed fires first, up to two minutes later. A probe
that is overdue is sent at once. The socket no longer follows a sysctl.

user_timeout gives up live peers that read slowly or pause twice, first of all
those to which much data is sent. max_rto spares them.

A listening socket takes the policy for connections to come. A program may write
its own over it on each, as Go's net does. What is known of that is printed.

A socket that is gone by the time it is to be changed is reported and left out.
Where a process may not be looked into, the right that is missing is named. The
exit code is 1 where something was refused, or no socket is selected.`,
		Example: `  keepalive set --command redis-server idle=1m,interval=5s,count=3
  keepalive set --hang --dry-run idle=5m
  keepalive set --pid 4711 --remote 10.0.0.0/8:5432 max_rto=2s
  keepalive set --listen --command postgres default`,
		Args: s.selection.args(oneArg("POLICY")),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if s.change, err = parseChange(args[0]); err != nil {
				return err
			}
			s.out, s.stderr = term.New(c.OutOrStdout()), c.ErrOrStderr()
			return s.run(c.Context())
		},
	}
	s.selection.addFlags(c.Flags())
	c.Flags().BoolVar(&s.dryRun, "dry-run", false, "only say what would be set")
	return c
}

// setCommand is what the command is told to do.
type setCommand struct {
	selection selection
	change    change
	dryRun    bool
	guarded   bool // connections to come hold the policy whatever happens

	out    term.Output
	stderr io.Writer
	failed bool
}

func (s *setCommand) run(ctx context.Context) error {
	if s.selection.isEmpty() {
		return usageError{errors.New("every socket is selected, want a flag that says which, such as --pid, --command or --remote")}
	}
	f, err := sockets.Find()
	if err != nil {
		return err
	}
	defer f.Close()
	selected := slices.DeleteFunc(slices.Collect(f.All(s.selection.hasProcess)),
		func(socket *sockets.Socket) bool { return !s.selection.has(socket) })
	slices.SortStableFunc(selected, compareAttention)
	var all []*sockets.Socket // whoever has accepted them
	if slices.ContainsFunc(selected, func(socket *sockets.Socket) bool { return socket.State == sockets.Listen }) {
		all = slices.Collect(f.All(func(sockets.Process) bool { return true }))
	}
	r := f.NewReader()
	defer r.Close()
	for _, socket := range selected {
		if err := ctx.Err(); err != nil {
			return err
		}
		gone := true
		r.Read(socket.Index, func(now *sockets.Socket) {
			gone = false
			s.set(now, all)
		})
		if gone {
			s.say(socket, "gone since")
		}
	}
	r.Close() // which tells of refusals
	return s.result(len(selected), s.selection.refused(f.Refusals()))
}

// set changes the socket, and says how.
func (s *setCommand) set(socket *sockets.Socket, all []*sockets.Socket) {
	before := socket.Config
	after, err := s.change.of(socket)
	if err == nil && !s.dryRun {
		err = socket.Apply(after)
		if err == nil {
			err = socket.Get()
		}
		after = socket.Config
	}
	if err != nil {
		s.failed = true
		s.say(socket, "refused: "+strings.TrimPrefix(err.Error(), "keepalive: "))
		return
	}
	s.say(socket, s.difference(before, after))
	if socket.State == sockets.Listen && !s.guarded {
		was := *socket
		was.Config = before
		fmt.Fprintln(s.out, "    "+inheritance(&was, all))
	}
}

func (s *setCommand) difference(before, after keepalive.Config) string {
	after = keepalive.Config(policy.Config(after).AsRead())
	if before == after {
		return "unchanged: " + after.String()
	}
	line := before.String() + " → " + after.String()
	if s.out.Width > 0 && len(line)+4 > s.out.Width {
		line = strings.Replace(line, " → ", "\n  → ", 1)
	}
	return line
}

// say prints something about a socket, in a pipe on one line.
func (s *setCommand) say(socket *sockets.Socket, what string) {
	peer, _ := remote(socket)
	name := fmt.Sprintf("%s %s %s", s.out.Paint(term.Heading, processes(socket)), endpointText(socket.Local), peer)
	if s.out.Terminal {
		fmt.Fprintf(s.out, "%s\n    %s\n", name, what)
		return
	}
	fmt.Fprintf(s.out, "%s: %s\n", name, what)
}

var errNoSocket = errors.New("no socket is selected that the caller may see")

func (s *setCommand) result(selected int, refusals []sockets.Refusal) error {
	if s.selection.namesProcesses() {
		for _, r := range refusals {
			s.failed = true
			fmt.Fprintln(s.stderr, "keepalive:", r)
		}
	} else {
		for _, line := range refusalLines(refusals) {
			fmt.Fprintln(s.stderr, line)
		}
	}
	switch {
	case s.failed:
		return exitCode(exitProblem)
	case selected == 0:
		return errNoSocket
	case s.dryRun:
		fmt.Fprintln(s.stderr, "Nothing was set (--dry-run).")
	}
	return nil
}

// inheritance says what is known of whether connections keep what they inherit
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
		return "The program is Go's (" + version + "): net writes 15 s, 15 s and 9 over it on each connection, unless told KeepAlive: -1."
	case open == 0:
		return "No open connection shows whether the program writes over it."
	case same == open:
		return hold(open, open) + " what it held."
	}
	return hold(open-same, open) + " something else than it held."
}

func hold(n, of int) string {
	switch {
	case of == 1:
		return "Its open connection holds"
	case n == of:
		return fmt.Sprintf("Its %d open connections hold", of)
	case n == 1:
		return fmt.Sprintf("1 of its %d open connections holds", of)
	}
	return fmt.Sprintf("%d of its %d open connections hold", n, of)
}
