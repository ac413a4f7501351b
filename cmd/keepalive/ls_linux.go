package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"runtime/debug"
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
		Long: `Ls shows the TCP sockets of processes, in every network namespace: the process,
the keepalive policy, how long a dead peer goes unnoticed, and when the peer
was last heard. Connections whose peer has stopped answering come first, then
those where a dead peer goes unnoticed for ever. Lines at the end, with --json
on stderr, say what could not be seen.

UNNOTICED is how long a dead peer of an idle connection goes unnoticed after
the last segment that arrived, or "never" if it is never noticed. IN FLIGHT is
the same for data in flight, after its first retransmission, or "?" if the
sysctls of the socket's network namespace cannot be read, which eBPF can. The
kernel's timers may add 1/8, and Multipath TCP adds net.mptcp.close_timeout. A
time in parentheses is left of a timer that is armed and longer: the kernel
looks at the policy when that fires, as after "keepalive set" with data in
flight. For a listening socket both apply to the connections that inherit its
policy, and a socket that is not connected yet has neither. HEARD is the time
since the peer last sent data or an acknowledgment. PROBES and RETRANS are
unanswered probes and retransmissions. On a narrow terminal PORT is the local
port, and POLICY is
` + shortPolicyHelp() + `
if these are set.

Flags select sockets. Repeated flags are ORed, different flags are ANDed. A
CIDR[:PORT] is, for example, 10.0.0.0/8:5432, [2001:db8::/32]:443, 10.0.0.1 or
:5432. IPv4 selects IPv4-mapped IPv6 addresses too. --cgroup and --unit select
the processes of a control group and of those below it, as "keepalive attach"
does. --netns takes a name of ip-netns(8), a path such as /proc/PID/ns/net, or
an inode as lsns(8) and --json print it.

--hang LIMIT selects connections whose UNNOTICED exceeds LIMIT, a duration such
as 10m, or "never". --hang-in-flight does the same for IN FLIGHT, and "?"
exceeds every limit. Both count an armed timer that is longer. Both select
listening sockets only with --listen. They can guard a deployment: the exit code
is 1 if a socket is selected, and if something could not be seen that may be
selected. With or without them it is 1 if what --pid, --command, --cgroup or
--unit names has no TCP socket.

--json prints an object for each socket, on a line of its own. Durations are
numbers of seconds. The fields are

` + fields() + `
With CAP_BPF and CAP_PERFMON, which root has, ls reads the descriptors of all
processes and threads with eBPF. This takes a kernel with type information
(BTF) and the machine's own PID namespace. Otherwise it reads /proc and takes
the right to trace each process; --debug prints why. It compares the descriptors
with the connections that sock_diag(7) lists. What it could not see it reports,
a line for each of

    processes that the caller may not look into, with the missing right
    processes that the mount option hidepid of /proc may hide
    network namespaces whose connections could not be listed
    connections that were found in no process: in flight over a Unix socket,
    registered with io_uring, or held in another PID namespace

It compares the network namespaces of the processes in /proc and in /run/netns,
or with --pid, --command, --cgroup or --unit only the namespaces of the selected
processes and their connections. Without eBPF it does not compare namespaces
that only a descriptor, a thread or another mount keeps. It does not compare
listening and connecting sockets.

--all also shows sockets that no process holds, with "-" for the process: those
that wait to be accepted, that their program has closed, that io_uring or a
message over a Unix socket holds, and the kernel's own, as for NFS. It takes
eBPF. Not among them are closed sockets that only io_uring holds, nor what the
kernel keeps in short form: TIME-WAIT, and FIN-WAIT-2 without a program.

Not shown and not reported otherwise are connections that a program has closed
or has yet to accept, and sockets that are opened or closed meanwhile.
Connections of the kernel are counted on a line that does not change the exit
code; to tell them apart takes CAP_BPF and CAP_PERFMON. Descriptors of a thread
that has its own are read since Linux 6.9, before that reported.`,
		Example: `  keepalive ls
  keepalive ls --command postgres --remote 10.0.0.0/8
  keepalive ls --hang 10m || echo 'a dead peer would go unnoticed'
  keepalive ls --suspect --watch 1s`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l.stderr = c.ErrOrStderr()
			return l.run(c.Context(), c.OutOrStdout())
		},
	}
	l.selection.addFlags(c)
	l.finding.addFlags(c)
	c.Flags().BoolVar(&l.all, "all", false, "sockets that no process holds, too")
	c.Flags().BoolVar(&l.json, "json", false, "print a JSON object for each socket")
	c.Flags().Var((*durationFlag)(&l.watch), "watch", "repeat every `INTERVAL`, on a terminal in place")
	return c
}

// ls are the flags of the command.
type ls struct {
	selection selection
	finding   finding
	all       bool
	json      bool
	watch     time.Duration
	stderr    io.Writer
}

func (l *ls) run(ctx context.Context, stdout io.Writer) error {
	switch {
	case l.json && l.watch != 0:
		return usageError{errors.New("--json and --watch exclude each other, want one of them")}
	case l.watch < 0:
		return usageError{fmt.Errorf("--watch is %v, want a duration above zero, such as 1s", l.watch)}
	case l.watch > 0:
		return l.watchTable(ctx, stdout)
	case l.json:
		return l.printJSON(ctx, stdout)
	}
	out := term.New(stdout)
	lines, notes, err := l.table(ctx, out)
	if _, err := io.WriteString(out, strings.Join(lines, "")+strings.Join(notes, "")); err != nil {
		return err
	}
	return err
}

func (l *ls) printJSON(ctx context.Context, stdout io.Writer) error {
	// What is kept has no pointers, and little of it becomes garbage: collecting it
	// more often costs nothing, and takes less memory.
	debug.SetGCPercent(20)
	w := bufio.NewWriterSize(stdout, 64<<10)
	notes, result := l.find(ctx, func(s *sockets.Socket) error { return printSocket(w, s) })
	if err := w.Flush(); err != nil {
		return err
	}
	for _, line := range notes {
		fmt.Fprintln(l.stderr, line)
	}
	return result
}

// table returns the lines of the table, those that close it, and the result.
func (l *ls) table(ctx context.Context, out term.Output) (lines, notes []string, result error) {
	var found []*sockets.Socket
	notes, result = l.find(ctx, func(s *sockets.Socket) error {
		found = append(found, s.Clone())
		return nil
	})
	slices.SortStableFunc(found, compareAttention)
	var wrapped []string
	for _, line := range notes {
		wrapped = append(wrapped, term.Wrap(line, out.Width)...)
	}
	if len(found) == 0 && l.watch == 0 {
		return nil, wrapped, result
	}
	return renderSockets(out, found), wrapped, result
}

// find visits the selected sockets. It returns lines about what was not found or
// could not be seen, and the result.
func (l *ls) find(ctx context.Context, visit func(*sockets.Socket) error) (notes []string, result error) {
	if err := l.selection.resolve(); err != nil {
		return nil, err
	}
	f, err := l.finding.find(l.stderr)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	named, selected := make(map[sockets.Process]bool), false
	for s, err := range l.sockets(f) {
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		if l.selection.namesProcesses() {
			for _, h := range s.Holders {
				named[h.Process] = true
			}
		}
		if !l.selection.has(s) {
			continue
		}
		selected = true
		if err := visit(s); err != nil {
			return nil, err
		}
	}
	refusals := l.selection.refused(f.Refusals())
	unseen := l.selection.unseen(f)
	if l.all {
		unseen.Connections = nil // they are in the table
	}
	notes = slices.Concat(refusalLines(refusals), unseenLines(unseen))
	for _, r := range refusals {
		named[r.Process] = true
	}
	missing := l.selection.missing(slices.Collect(maps.Keys(named)))
	for _, flag := range missing {
		notes = append(notes, "no TCP socket was found for "+flag)
	}
	failed := len(missing) > 0 || l.selection.hangs() && (selected || len(notes) > 0)
	if !selected && len(notes) == 0 && !l.selection.hangs() { // a guard is content
		notes = append(notes, "no TCP socket matches")
	}
	if line := kernelLine(unseen); line != "" {
		notes = append(notes, line)
	}
	if failed {
		return notes, exitCode(exitProblem)
	}
	return notes, nil
}

// sockets yields the sockets of processes that may be selected, and with --all those
// that no process holds.
func (l *ls) sockets(f *sockets.Found) iter.Seq2[*sockets.Socket, error] {
	return func(yield func(*sockets.Socket, error) bool) {
		for s := range l.selection.candidates(f) {
			if !yield(s, nil) {
				return
			}
		}
		if !l.all {
			return
		}
		unheld, err := f.Unheld()
		if err != nil {
			yield(nil, fmt.Errorf("--all takes eBPF: %w", err))
			return
		}
		for _, s := range unheld {
			if !yield(s, nil) {
				return
			}
		}
	}
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
