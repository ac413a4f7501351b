package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// A selection is what flags say of the sockets that are meant.
type selection struct {
	pids          []int
	commands      []string
	local, remote endpoints
	listen        bool
	suspect       bool
	hang          limit
	hangInFlight  limit
}

// addFlags defines the flags.
func (s *selection) addFlags(flags *pflag.FlagSet) {
	flags.IntSliceVar(&s.pids, "pid", nil, "of the process with the id `P`")
	flags.StringSliceVar(&s.commands, "command", nil, "of programs called `NAME`, as ps -C has it")
	flags.Var(&s.local, "local", "with a local address in `CIDR[:PORT]`")
	flags.Var(&s.remote, "remote", "with a remote address in `CIDR[:PORT]`")
	flags.BoolVar(&s.listen, "listen", false, "listening sockets")
	flags.BoolVar(&s.suspect, "suspect", false, "connections whose peer has stopped answering")
	flags.Var(&s.hang, "hang", "where UNNOTICED is longer than `LIMIT`: --hang=10m")
	flags.Var(&s.hangInFlight, "hang-in-flight", "where IN FLIGHT is longer than `LIMIT`")
	flags.Lookup("hang").NoOptDefVal = never
}

// args checks the arguments, as next does, but that it knows the limit of a
// --hang that somebody gave as one.
func (s *selection) args(next cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		for _, arg := range args {
			if _, err := time.ParseDuration(arg); err == nil && s.hang.set {
				return fmt.Errorf("unexpected argument %q, want --hang=%s for a limit", arg, arg)
			}
		}
		return next(c, args)
	}
}

// isEmpty reports whether every socket is meant.
func (s *selection) isEmpty() bool {
	return len(s.pids)+len(s.commands)+len(s.local)+len(s.remote) == 0 && !s.listen && !s.suspect && !s.hangs()
}

func (s *selection) hangs() bool { return s.hang.set || s.hangInFlight.set }

func (s *selection) has(socket *sockets.Socket) bool {
	return s.hasHolder(socket.Holders) &&
		s.local.has(socket.Local) && s.remote.has(socket.Remote) &&
		(!s.listen || socket.State == sockets.Listen) &&
		(!s.suspect || socket.Status.Suspect()) &&
		(!s.hangs() || s.hasHang(socket))
}

func (s *selection) hasHolder(holders []sockets.Holder) bool {
	return slices.ContainsFunc(holders, func(h sockets.Holder) bool { return s.hasProcess(h.Process) })
}

func (s *selection) hasProcess(p sockets.Process) bool {
	return (len(s.pids) == 0 || slices.Contains(s.pids, p.PID)) &&
		(len(s.commands) == 0 || slices.ContainsFunc(s.commands, func(name string) bool { return isCalled(p, name) }))
}

// isCalled compares names as far as the kernel keeps them.
func isCalled(p sockets.Process, name string) bool {
	return name[:min(len(name), sockets.MaxCommand)] == p.Command
}

// missing returns the flags that name none of the processes.
func (s *selection) missing(processes []sockets.Process) (flags []string) {
	for _, pid := range s.pids {
		if !slices.ContainsFunc(processes, func(p sockets.Process) bool { return p.PID == pid }) {
			flags = append(flags, fmt.Sprintf("--pid %d", pid))
		}
	}
	for _, name := range s.commands {
		if !slices.ContainsFunc(processes, func(p sockets.Process) bool { return isCalled(p, name) }) {
			flags = append(flags, "--command "+name)
		}
	}
	return flags
}

// refused returns those of the refusals that can be about what is meant.
func (s *selection) refused(refusals []sockets.Refusal) []sockets.Refusal {
	return slices.DeleteFunc(refusals, func(r sockets.Refusal) bool { return !s.hasProcess(r.Process) })
}

// namesProcesses reports whether the processes that are meant are known, so that
// to be refused one of them is a failure.
func (s *selection) namesProcesses() bool { return len(s.pids)+len(s.commands) > 0 }

// hasHang leaves out what has no peer, but for listening sockets that are asked
// for.
func (s *selection) hasHang(socket *sockets.Socket) bool {
	if !socket.State.Synchronized() && !(s.listen && socket.State == sockets.Listen) {
		return false
	}
	return s.hang.exceededBy(socket.Idle) || s.hangInFlight.exceededBy(socket.InFlight)
}

// limit is the longest time that is all right. Without a value it is everything
// but for ever.
type limit struct {
	time.Duration
	set bool
}

func (l *limit) exceededBy(u sockets.Unnoticed) bool {
	return l.set && u.Exceeds(l.Duration)
}

func (l *limit) Type() string { return "duration" }

func (l *limit) String() string {
	if !l.set {
		return ""
	}
	return l.Duration.String()
}

func (l *limit) Set(s string) error {
	if s == never {
		*l = limit{1<<63 - 1, true}
		return nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%v is no limit, want a duration above zero, such as 10m", d)
	}
	if err == nil {
		*l = limit{d, true}
	}
	return err
}

// endpoints are those of which one is meant, all if empty.
type endpoints []endpoint

// An endpoint is a set of addresses and a port.
type endpoint struct {
	prefix netip.Prefix // every address if invalid
	port   uint16       // every port if 0
}

func (e endpoints) has(addr netip.AddrPort) bool {
	return len(e) == 0 || slices.ContainsFunc(e, func(e endpoint) bool {
		return addr.IsValid() && (e.port == 0 || e.port == addr.Port()) &&
			(!e.prefix.IsValid() || e.prefix.Contains(addr.Addr().WithZone("")))
	})
}

func (e *endpoints) Type() string { return "endpoint" }

func (e *endpoints) String() string { return "" }

func (e *endpoints) Set(s string) error {
	parsed, err := parseEndpoint(s)
	if err == nil {
		*e = append(*e, parsed)
	}
	return err
}

func parseEndpoint(s string) (e endpoint, err error) {
	host, port := splitEndpoint(s)
	if port != "" {
		n, err := strconv.ParseUint(port[1:], 10, 16)
		if err != nil || n == 0 {
			return e, fmt.Errorf("port %q is no number from 1 to 65535", port[1:])
		}
		e.port = uint16(n)
		if host == "" {
			return e, nil
		}
	}
	if !strings.Contains(host, "/") {
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return e, fmt.Errorf("%q is no address, want one such as 10.0.0.0/8:5432, [2001:db8::/32]:443 or :5432", host)
		}
		addr = addr.Unmap().WithZone("")
		e.prefix = netip.PrefixFrom(addr, addr.BitLen())
		return e, nil
	}
	prefix, err := netip.ParsePrefix(host)
	if err != nil {
		return e, fmt.Errorf("%q is no CIDR, want one such as 10.0.0.0/8", host)
	}
	e.prefix = prefix.Masked()
	return e, nil
}

// splitEndpoint splits the port off, with its colon. IPv6 has brackets then,
// around the address or the CIDR.
func splitEndpoint(s string) (host, port string) {
	end := strings.LastIndexByte(s, ']') + 1
	i := strings.LastIndexByte(s[end:], ':')
	if i < 0 || end == 0 && strings.Count(s, ":") > 1 {
		i = len(s) - end
	}
	host, port = s[:end+i], s[end+i:]
	return strings.NewReplacer("[", "", "]", "").Replace(host), port
}
