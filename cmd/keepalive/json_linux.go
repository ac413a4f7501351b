package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// fields documents the fields of ls --json in their order.
func fields() string {
	var b strings.Builder
	b.WriteString(`    processes            who shares the socket: pid, command, fd
    state                established, listen, close-wait: RFC 9293
    local, remote        address and port, null where there is none
    netns                inode of the network namespace, null where unknown
    mptcp                whether it is a Multipath TCP socket
    keepalive            whether SO_KEEPALIVE is on
`)
	for i := range policy.Options {
		o := &policy.Options[i]
		fmt.Fprintf(&b, "    %-20s %s", o.Key, o.Name)
		switch {
		case o.Zero == policy.Off:
			b.WriteString(", 0 for off")
		case o.Unset != 0:
			fmt.Fprintf(&b, ", %s where the kernel has none", appendValue(nil, o, o.Held(policy.Config{})))
		}
		b.WriteString("\n")
	}
	b.WriteString(`    unnoticed_idle       UNNOTICED, null for "never" and "-"
    unnoticed_in_flight  IN FLIGHT, null for "?" and "-"
    timer                keepalive, retransmission, zero-window or none: the
                         timer that is armed, null where unknown
    timer_left           time until it fires, null where none is armed
and of a connection, once it is established
    heard                since the peer was known to be there
    probes               unanswered keepalive or zero-window probes
    retransmits          retransmission timeouts in a row
    unacked              segments in flight
    rtt                  smoothed round-trip time
    suspect              whether the peer has stopped answering
`)
	return b.String()
}

// printSocket prints the object of a socket on a line. It writes it as it is, since
// there may be a million of them. Durations are in seconds.
func printSocket(w *bufio.Writer, s *sockets.Socket) error {
	_, err := w.Write(append(appendSocket(w.AvailableBuffer(), s), '\n'))
	return err
}

func appendSocket(line []byte, s *sockets.Socket) []byte {
	line = append(line, `{"processes":`...)
	line = appendProcesses(line, s.Holders)
	line = append(line, `,"state":`...)
	line = appendString(line, s.State.String())
	line = append(line, `,"local":`...)
	line = appendEndpoint(line, s.Local, s.Local.Port() != 0)
	line = append(line, `,"remote":`...)
	line = appendEndpoint(line, s.Remote, s.Remote.IsValid())
	line = append(line, `,"netns":`...)
	line = appendInode(line, s.NetNS)
	line = append(line, `,"mptcp":`...)
	line = strconv.AppendBool(line, s.MPTCP)
	line = append(line, ',')
	line = appendPolicy(line, s.Config)
	line = appendUnnoticed(line, s)
	line = append(line, `,"timer":`...)
	if s.Timer.Kind == sockets.UnknownTimer {
		line = append(line, null...)
	} else {
		line = appendString(line, s.Timer.Kind.String())
	}
	line = append(line, `,"timer_left":`...)
	line = appendSeconds(line, s.Timer.Left, s.Timer.IsArmed())
	if s.Status.Open {
		line = appendStatus(line, s.Status)
	}
	return append(line, '}')
}

// appendPolicy appends fields, without braces.
func appendPolicy(line []byte, c keepalive.Config) []byte {
	line = append(line, `"keepalive":`...)
	line = strconv.AppendBool(line, !c.Disable)
	for i := range policy.Options {
		o := &policy.Options[i]
		line = append(append(append(line, `,"`...), o.Key...), `":`...)
		line = appendValue(line, o, o.Held(policy.Config(c)))
	}
	return line
}

func appendUnnoticed(line []byte, s *sockets.Socket) []byte {
	line = append(line, `,"unnoticed_idle":`...)
	line = appendSeconds(line, s.Idle.For, !s.Idle.Never && !s.Idle.NoPeer)
	line = append(line, `,"unnoticed_in_flight":`...)
	return appendSeconds(line, s.InFlight.For, s.InFlight.Known && !s.InFlight.NoPeer)
}

func appendStatus(line []byte, status keepalive.Status) []byte {
	line = append(line, `,"heard":`...)
	line = appendSeconds(line, status.SinceHeard(), true)
	line = append(line, `,"probes":`...)
	line = strconv.AppendInt(line, int64(status.Probes), 10)
	line = append(line, `,"retransmits":`...)
	line = strconv.AppendInt(line, int64(status.Retransmits), 10)
	line = append(line, `,"unacked":`...)
	line = strconv.AppendInt(line, int64(status.Unacked), 10)
	line = append(line, `,"rtt":`...)
	line = appendSeconds(line, status.RTT, true)
	line = append(line, `,"suspect":`...)
	return strconv.AppendBool(line, status.Suspect())
}

const null = "null"

func appendProcesses(line []byte, holders []sockets.Holder) []byte {
	line = append(line, '[')
	for i, h := range holders {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(line, `{"pid":`...)
		line = strconv.AppendInt(line, int64(h.PID), 10)
		line = append(line, `,"command":`...)
		line = appendString(line, h.Command)
		line = append(line, `,"fd":`...)
		if h.FD < 0 {
			line = append(line, null...)
		} else {
			line = strconv.AppendInt(line, int64(h.FD), 10)
		}
		line = append(line, '}')
	}
	return append(line, ']')
}

func appendEndpoint(line []byte, endpoint netip.AddrPort, there bool) []byte {
	if !there {
		return append(line, null...)
	}
	if zone := endpoint.Addr().Zone(); zone != "" {
		return appendString(line, endpoint.String())
	}
	return append(endpoint.AppendTo(append(line, '"')), '"')
}

func appendInode(line []byte, inode uint64) []byte {
	if inode == 0 {
		return append(line, null...)
	}
	return strconv.AppendUint(line, inode, 10)
}

func appendString(line []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // no error: it is a string
			return append(line, quoted...)
		}
	}
	return append(append(append(line, '"'), s...), '"')
}

func appendValue(line []byte, o *policy.Option, v int64) []byte {
	if o.IsNumber() {
		return strconv.AppendInt(line, v, 10)
	}
	return appendSeconds(line, time.Duration(v), true)
}

// appendSeconds appends a number of seconds, as short as it is exact.
func appendSeconds(line []byte, d time.Duration, there bool) []byte {
	if !there {
		return append(line, null...)
	}
	if d < 0 {
		line, d = append(line, '-'), -d
	}
	line = strconv.AppendInt(line, int64(d/time.Second), 10)
	if d %= time.Second; d == 0 {
		return line
	}
	line = append(line, '.')
	for unit := time.Second / 10; d > 0; unit /= 10 {
		line = append(line, '0'+byte(d/unit))
		d %= unit
	}
	return line
}
