package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/internal/duration"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

func newLosses() *cobra.Command {
	var l losses
	c := &cobra.Command{
		Use:   "losses",
		Short: "Report each connection whose peer the kernel gives up, and why",
		Long: `Losses reports the established TCP connections of this machine, in every network
namespace, when the kernel gives up their peer. It runs until it is interrupted.

A line says when, which process holds or has closed the connection, its unit of
systemd, its addresses, the limit by which the kernel gave the peer up, how long
the peer had been silent, what had gone unanswered, the error that the program
gets, the policy of the socket and its network namespace. The limits are

    keepalive        Idle, Interval and Count of an idle connection
    user_timeout     TCP_USER_TIMEOUT
    retransmissions  tcp_retries2, with data in flight
    zero_window      tcp_retries2, with data that a full window kept back

Connections are left out that end in order, that the peer resets, whose
handshake fails, that their program has closed already, or whose program stops
waiting at a deadline of its own. --resets reports resets, failed handshakes,
and connections that this machine ended, as by "keepalive kill", as what they
are. Multipath TCP is left out: no event tells that the last path of a
connection was lost.

Flags select losses as those of "keepalive ls" select sockets. --cgroup and
--unit select by the control group that the socket was made in. A connection
that no process has accepted has no process, and --pid and --command leave it
out.

--json prints an object for each loss, on a line of its own. Durations are
numbers of seconds. The fields are

` + lossFields() + `
Losses that come faster than they can be printed are counted. The count is
printed on stderr, and the exit code is 1 then.

Losses takes CAP_BPF and CAP_PERFMON, which root has, and Linux 5.14 with type
information (BTF). Before Linux 5.15 the unit is unknown. Outside of the
machine's own PID namespace, processes are known while they hold the socket.`,
		Example: `  keepalive losses
  keepalive losses --unit postgresql --json
  keepalive losses --remote 10.0.0.0/8 --resets`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l.stderr = c.ErrOrStderr()
			return l.run(c.Context(), c.OutOrStdout())
		},
	}
	l.selection.addPlaceFlags(c)
	c.Flags().BoolVar(&l.resets, "resets", false, "resets, failed handshakes and aborted ones, too")
	c.Flags().BoolVar(&l.json, "json", false, "print a JSON object for each loss")
	return c
}

// losses are the flags of the command.
type losses struct {
	selection selection
	resets    bool
	json      bool
	stderr    io.Writer

	paths  cgroup.Paths
	groups [][]string // paths of --cgroup and of --unit, where these are given
	missed uint64     // that were reported
}

func (l *losses) run(ctx context.Context, stdout io.Writer) error {
	l.paths.Walk()
	if err := l.resolve(); err != nil {
		return err
	}
	watch, err := sockets.WatchLosses(sockets.RingSize, l.resets)
	if err != nil {
		return fmt.Errorf("losses can't be seen: %w", err)
	}
	defer watch.Close()
	fmt.Fprintln(l.stderr, "Reporting losses from now on, until interrupted.")
	w := bufio.NewWriter(stdout)
	const last = time.Second // for what came before an interrupt
	var interrupted time.Time
	for interrupted.IsZero() || time.Since(interrupted) < last {
		batch, err := watch.Next(ctx)
		if ctx.Err() != nil && interrupted.IsZero() {
			interrupted = time.Now()
		}
		if err != nil && ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		for _, loss := range batch {
			l.print(w, loss)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if err := l.reportMissed(watch); err != nil {
			return err
		}
	}
	if l.missed > 0 {
		return exitCode(exitProblem)
	}
	return nil
}

// reportMissed prints how many losses were missed since the last time.
func (l *losses) reportMissed(watch *sockets.Losses) error {
	missed, err := watch.Missed()
	if err != nil {
		return err
	}
	if missed > l.missed {
		fmt.Fprintf(l.stderr, "%s came faster than they could be read, and are missing\n", plural(int(missed-l.missed), "loss", "losses"))
	}
	l.missed = missed
	return nil
}

// resolve finds the paths of the groups that are selected.
func (l *losses) resolve() error {
	for _, flag := range []struct {
		values []string
		open   func(string) (*cgroup.Group, error)
	}{{l.selection.cgroups, cgroup.Open}, {l.selection.units, cgroup.OfUnit}} {
		if len(flag.values) == 0 {
			continue
		}
		var paths []string
		for _, value := range flag.values {
			path, err := l.pathOf(value, flag.open)
			if err != nil {
				return err
			}
			paths = append(paths, path)
		}
		l.groups = append(l.groups, paths)
	}
	return nil
}

func (l *losses) pathOf(name string, open func(string) (*cgroup.Group, error)) (string, error) {
	group, err := open(name)
	if err != nil {
		return "", err
	}
	defer group.Close()
	inode, err := group.Inode()
	if err != nil {
		return "", err
	}
	path := l.paths.Of(inode)
	if path == "" {
		return "", fmt.Errorf("cgroup %s lies outside of this cgroup namespace", name)
	}
	return path, nil
}

func (l *losses) print(w *bufio.Writer, loss *sockets.Loss) {
	group := l.paths.Of(loss.Cgroup)
	switch {
	case !l.selects(loss, group):
	case l.json:
		w.Write(append(appendLoss(w.AvailableBuffer(), loss, group), '\n'))
	default:
		fmt.Fprintln(w, lossText(loss, group))
	}
}

func (l *losses) selects(loss *sockets.Loss, group string) bool {
	s := &l.selection
	below := func(path string) bool {
		return group == path || strings.HasPrefix(group, strings.TrimSuffix(path, "/")+"/")
	}
	for _, paths := range l.groups {
		if !slices.ContainsFunc(paths, below) {
			return false
		}
	}
	byProcess := selection{pids: s.pids, commands: s.commands}
	return byProcess.hasHolder(loss.Socket.Holders) && s.netns.has(loss.Socket.NetNS) &&
		s.local.Has(loss.Socket.Local) && s.remote.Has(loss.Socket.Remote)
}

// lossText is a loss on a line.
func lossText(loss *sockets.Loss, group string) string {
	s := &loss.Socket
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", loss.Time.Format("2006-01-02 15:04:05.000"), processes(s))
	if unit := cgroup.Unit(group); unit != "" {
		fmt.Fprintf(&b, " (%s)", unit)
	}
	fmt.Fprintf(&b, " %s to %s: %s", endpointText(s.Local), endpointText(s.Remote), loss.End)
	if loss.Cause != "" {
		fmt.Fprintf(&b, " by %s", loss.Cause)
	}
	if s.Status.Open {
		fmt.Fprintf(&b, " after %s of silence, %s", duration.Format(s.Status.SinceHeard()), unansweredText(loss))
	}
	fmt.Fprintf(&b, "; %s; %v; network namespace %d", errnoName(loss.Errno), policy.Config(s.Config), s.NetNS)
	return b.String()
}

// unansweredText says what was outstanding.
func unansweredText(loss *sockets.Loss) string {
	probes := plural(loss.Socket.Status.Probes, "unanswered probe", "unanswered probes")
	switch loss.Phase {
	case sockets.InFlight:
		return fmt.Sprintf("%d bytes in flight, %s", loss.InFlight, plural(loss.Socket.Status.Retransmits, "retransmission", "retransmissions"))
	case sockets.WindowClosed:
		return fmt.Sprintf("%d bytes kept back by a full window, %s", loss.Unsent, probes)
	}
	return "idle, " + probes
}

func errnoName(errno unix.Errno) string {
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", int(errno))
}
