package main

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/endpoints"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// A selection is the sockets that flags select.
type selection struct {
	pids          []int
	commands      []string
	cgroups       []string
	units         []string
	netns         namespaces
	local, remote endpoints.List
	listen        bool
	suspect       bool
	hang          limit
	hangInFlight  limit

	groups []groupMembers // of cgroups and units, once resolved
}

// addFlags defines the flags of a command.
func (s *selection) addFlags(c *cobra.Command) {
	s.addConnectionFlags(c)
	c.Flags().BoolVar(&s.listen, "listen", false, "listening sockets")
}

// addConnectionFlags defines those that select connections.
func (s *selection) addConnectionFlags(c *cobra.Command) {
	s.addPlaceFlags(c)
	flags := c.Flags()
	flags.BoolVar(&s.suspect, "suspect", false, "connections whose peer has stopped answering")
	flags.Var(&s.hang, "hang", "connections whose UNNOTICED exceeds `LIMIT`")
	flags.Var(&s.hangInFlight, "hang-in-flight", "connections whose IN FLIGHT exceeds `LIMIT`")
	c.SetFlagErrorFunc(limitMissing)
}

// addPlaceFlags defines those that select by process and address.
func (s *selection) addPlaceFlags(c *cobra.Command) {
	flags := c.Flags()
	flags.IntSliceVar(&s.pids, "pid", nil, "sockets of the process `PID`")
	flags.StringArrayVar(&s.commands, "command", nil, "sockets of programs called `NAME` in /proc/PID/comm")
	flags.Var(&s.local, "local", "sockets with a local address in `CIDR[:PORT]`")
	flags.Var(&s.remote, "remote", "sockets with a remote address in `CIDR[:PORT]`")
	flags.StringArrayVar(&s.cgroups, "cgroup", nil, "sockets of the control group `PATH`")
	flags.StringArrayVar(&s.units, "unit", nil, "sockets of the systemd unit `NAME`")
	flags.Var(&s.netns, "netns", "sockets of the network namespace `NS`")
}

// limitMissing tells what a limit looks like where there is none.
func limitMissing(c *cobra.Command, err error) error {
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok && missing.GetFlag().Value.Type() == limitType {
		return fmt.Errorf("--%s needs a limit: --%[1]s never, or a duration such as --%[1]s 10m", missing.GetFlag().Name)
	}
	return c.Parent().FlagErrorFunc()(c, err)
}

// isEmpty reports whether every socket is selected.
func (s *selection) isEmpty() bool {
	return !s.namesProcesses() && len(s.netns)+len(s.local)+len(s.remote) == 0 && !s.listen && !s.suspect && !s.hangs()
}

func (s *selection) hangs() bool { return s.hang.set || s.hangInFlight.set }

func (s *selection) has(socket *sockets.Socket) bool {
	return s.hasHolder(socket.Holders) && s.netns.has(socket.NetNS) &&
		s.local.Has(socket.Local) && s.remote.Has(socket.Remote) &&
		(!s.listen || socket.State == sockets.Listen) &&
		(!s.suspect || socket.Status.Suspect()) &&
		(!s.hangs() || s.hasHang(socket))
}

// candidates yields the sockets among which the selected ones are.
func (s *selection) candidates(f *sockets.Found) iter.Seq[*sockets.Socket] {
	if s.suspect && !s.namesProcesses() { // which have to be seen with another socket, too
		return f.Suspects(s.hasProcess)
	}
	return f.All(s.hasProcess)
}

// of returns the selected sockets, those that need attention first.
func (s *selection) of(f *sockets.Found) (selected []*sockets.Socket) {
	for socket := range s.candidates(f) {
		if s.has(socket) {
			selected = append(selected, socket.Clone())
		}
	}
	slices.SortStableFunc(selected, compareAttention)
	return selected
}

// hasHolder reports whether a socket that has holders is selected.
func (s *selection) hasHolder(holders []sockets.Holder) bool {
	return len(holders) == 0 && !s.namesProcesses() ||
		slices.ContainsFunc(holders, func(h sockets.Holder) bool { return s.hasProcess(h.Process) })
}

func (s *selection) hasProcess(p sockets.Process) bool {
	return (len(s.pids) == 0 || slices.Contains(s.pids, p.PID)) &&
		(len(s.commands) == 0 || slices.ContainsFunc(s.commands, p.IsCalled)) &&
		!slices.ContainsFunc(s.groups, func(g groupMembers) bool { return !g.has(p) })
}

// missing returns the flags for processes that are not among some.
func (s *selection) missing(processes []sockets.Process) (flags []string) {
	for _, pid := range s.pids {
		if !slices.ContainsFunc(processes, func(p sockets.Process) bool { return p.PID == pid }) {
			flags = append(flags, fmt.Sprintf("--pid %d", pid))
		}
	}
	for _, name := range s.commands {
		if !slices.ContainsFunc(processes, func(p sockets.Process) bool { return p.IsCalled(name) }) {
			flags = append(flags, "--command "+name)
		}
	}
	for _, g := range s.groups {
		flags = append(flags, g.missing(processes)...)
	}
	return flags
}

// refused returns the refusals that may be about a selected process. A process
// whose name can't be read may have any.
func (s *selection) refused(refusals []sockets.Refusal) []sockets.Refusal {
	byID := selection{pids: s.pids, groups: s.groups}
	return slices.DeleteFunc(refusals, func(r sockets.Refusal) bool {
		return !s.hasProcess(r.Process) && (r.IsNamed() || !byID.hasProcess(r.Process))
	})
}

// unseen returns what may be selected and could not be seen.
func (s *selection) unseen(f *sockets.Found) sockets.Unseen {
	var wanted func(sockets.Process) bool
	if s.namesProcesses() {
		wanted = s.hasProcess
	}
	u := f.Unseen(wanted)
	if len(s.pids) > 0 {
		u.Hidden = nil // those processes are missing if they are hidden
	}
	u.Uncounted = slices.DeleteFunc(u.Uncounted, func(u sockets.Uncounted) bool {
		return u.NetNS != 0 && !s.netns.has(u.NetNS)
	})
	u.Connections = slices.DeleteFunc(u.Connections, func(c sockets.Connection) bool {
		return s.listen || !s.netns.has(c.NetNS) || !s.local.Has(c.Local) || !s.remote.Has(c.Remote)
	})
	return u
}

// namesProcesses reports whether flags name the processes. A refused process is
// then a failure.
func (s *selection) namesProcesses() bool {
	return len(s.pids)+len(s.commands)+len(s.cgroups)+len(s.units) > 0
}

// hasHang leaves out what has no peer, but for listening sockets that are asked
// for.
func (s *selection) hasHang(socket *sockets.Socket) bool {
	if !socket.State.Synchronized() && !s.listen {
		return false
	}
	return s.hang.exceededBy(socket.Idle) || s.hangInFlight.exceededBy(socket.InFlight)
}

// limit is the longest time that is all right.
type limit struct {
	time.Duration
	set bool
}

func (l *limit) exceededBy(u sockets.Unnoticed) bool {
	return l.set && u.Exceeds(l.Duration)
}

const limitType = "limit"

func (l *limit) Type() string { return limitType }

func (l *limit) String() string {
	if !l.set {
		return ""
	}
	return l.Duration.String()
}

// Set accepts "never" as the limit that only what goes unnoticed for ever
// exceeds.
func (l *limit) Set(s string) error {
	if s == never {
		*l = limit{math.MaxInt64, true}
		return nil
	}
	d, err := parseDuration(s)
	switch {
	case strings.HasPrefix(s, "--"):
		return fmt.Errorf("a limit comes first, %s or a duration such as 10m", never)
	case err != nil:
		return fmt.Errorf("%w, or %s", err, never)
	case d <= 0:
		return fmt.Errorf("%v is no limit, want a duration above zero, such as 10m", d)
	}
	*l = limit{d, true}
	return nil
}
