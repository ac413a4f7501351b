package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
)

func newKill() *cobra.Command {
	var k killCommand
	c := &cobra.Command{
		Use:   "kill",
		Short: "End connections at once",
		Long: `Kill ends the selected connections at once, as "ss -K" does. It is the remedy
for connections that are stuck. The program that holds one gets ECONNABORTED
from its current or next call, and the peer gets a reset. The flags select
connections as in keepalive ls; at least one is needed. Listening
sockets are never selected.

Each connection is checked against the flags again immediately before it ends.
Kill names the socket by its cookie, a number that the kernel gives to no other
socket, so that it never ends a new connection with the same addresses.

Kill needs CAP_NET_ADMIN, for connections of another network namespace also
CAP_SYS_ADMIN, the rights that "keepalive set" needs, and a kernel with
CONFIG_INET_DIAG_DESTROY. Multipath TCP is refused.

--json prints an object for each selected connection, on a line of its own, with
the fields

    result   killed, refused, gone or deselected
    dry_run  whether nothing was killed
    reason   why it was refused, or null
    socket   the connection before, as "keepalive ls --json" prints it

The exit code is 1 if a connection was refused, if none is selected, and if
--pid, --command, --cgroup or --unit names a process that cannot be looked into.`,
		Example: `  keepalive kill --suspect --command postgres --dry-run
  keepalive kill --hang-in-flight 1m --unit redis-server
  keepalive kill --remote 10.1.2.3:5432`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			k.out, k.stderr = term.New(c.OutOrStdout()), c.ErrOrStderr()
			return k.run(c.Context())
		},
	}
	k.selection.addConnectionFlags(c)
	k.finding.addFlags(c)
	c.Flags().BoolVar(&k.dryRun, "dry-run", false, "print what would be killed, and kill nothing")
	c.Flags().BoolVar(&k.json, "json", false, "print a JSON object for each connection")
	return c
}

// killCommand ends the selected connections.
type killCommand struct {
	selection selection
	finding   finding
	dryRun    bool
	json      bool

	out    term.Output
	stderr io.Writer
	counts [outcomes]int
}

func (k *killCommand) run(ctx context.Context) error {
	if k.selection.isEmpty() {
		return usageError{errors.New("every connection is selected, want a flag that says which, such as --pid, --suspect or --remote")}
	}
	if err := k.selection.resolve(); err != nil {
		return err
	}
	f, err := k.finding.find(k.stderr)
	if err != nil {
		return err
	}
	defer f.Close()
	selected := 0
	r := f.NewReader()
	defer r.Close()
	for _, socket := range k.selection.of(f) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !isConnection(socket) {
			continue
		}
		selected++
		result, reason := isGone, error(nil)
		r.Read(socket.Index, func(now *sockets.Socket) { result, reason = k.kill(now) })
		k.say(socket, result, reason)
		k.counts[result]++
	}
	r.Close() // which tells of refusals
	return k.result(f, selected)
}

// isConnection reports whether a socket is connected, or connects.
func isConnection(s *sockets.Socket) bool { return s.State != sockets.Listen && s.Remote.IsValid() }

func (k *killCommand) kill(now *sockets.Socket) (outcome, error) {
	if !k.selection.has(now) || !isConnection(now) {
		return isDeselected, nil
	}
	if k.dryRun {
		return isDone, nil
	}
	switch err := now.Destroy(); {
	case errors.Is(err, sockets.ErrGone):
		return isGone, nil
	case err != nil:
		return isRefused, err
	}
	return isDone, nil
}

// killWords are those for each outcome.
var killWords = [outcomes]string{isDone: "killed", isRefused: "refused", isGone: "gone", isDeselected: "no longer selected"}

func (k *killCommand) say(socket *sockets.Socket, result outcome, reason error) {
	if k.json {
		k.out.Write(append(k.appendResult(nil, socket, result, reason), '\n'))
		return
	}
	what := killWords[result]
	switch {
	case result == isDone && k.dryRun:
		what = "would be killed"
	case result == isRefused:
		what += ": " + reason.Error()
	}
	sayOf(k.out, socket, what)
}

func (k *killCommand) appendResult(line []byte, socket *sockets.Socket, result outcome, reason error) []byte {
	line = append(line, `{"result":`...)
	line = appendString(line, [outcomes]string{isDone: "killed", isRefused: "refused", isGone: "gone", isDeselected: "deselected"}[result])
	line = append(line, `,"dry_run":`...)
	line = strconv.AppendBool(line, k.dryRun)
	line = append(line, `,"reason":`...)
	if reason != nil {
		line = appendString(line, reason.Error())
	} else {
		line = append(line, null...)
	}
	return append(appendSocket(append(line, `,"socket":`...), socket), '}')
}

// result prints what could not be seen and how many connections were killed.
func (k *killCommand) result(f *sockets.Found, selected int) error {
	lines, refused := k.selection.unseenLines(f)
	if selected > 0 {
		line := plural(selected, "connection", "connections") + ": " + summary(k.counts, killWords)
		if k.dryRun {
			line = strings.Replace(line, " killed", " to be killed", 1) + ". Nothing was killed (--dry-run)."
		}
		lines = append(lines, line)
	}
	for _, line := range lines {
		fmt.Fprintln(k.stderr, line)
	}
	switch {
	case k.counts[isRefused] > 0 || refused:
		return exitCode(exitProblem)
	case selected == 0:
		return errors.New("no connection is selected that the caller may see")
	}
	return nil
}
