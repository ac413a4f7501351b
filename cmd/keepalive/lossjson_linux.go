package main

import (
	"strconv"
	"time"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// lossFields documents the fields of losses --json in their order.
func lossFields() string {
	return `    time                 when, RFC 3339
    end                  lost; with --resets also reset, connect-failed or
                         aborted
    cause                keepalive, user_timeout, retransmissions or
                         zero_window, null for other ends
    phase                idle, in_flight or zero_window
    errno                what the program gets: ETIMEDOUT, or a reason that came
                         with an ICMP message or from the routes
    processes            who holds the socket: pid, command, fd. A process that
                         has closed it since has an fd of null. A child that was
                         just starting may be listed in its place. null where no
                         process is known.
    cgroup, unit         path of the socket's control group, and the unit of
                         systemd that it lies in, null where there is none
    state                before the end, as in ls --json
    local, remote        address and port; a link-local address has no zone
    netns, keepalive and the options of the policy,
    unnoticed_idle, unnoticed_in_flight
                         as in ls --json
    heard                since the peer was known to be there
    probes               unanswered keepalive or zero-window probes
    retransmits          retransmission timeouts in a row
    unacked_bytes        in flight
    unsent_bytes         that the peer's window kept back
    rtt                  smoothed round-trip time
heard and rtt are null for a connection that was never established.
`
}

// appendLoss appends an object. Group is the path of the control group, or "".
func appendLoss(line []byte, loss *sockets.Loss, group string) []byte {
	s := &loss.Socket
	line = append(line, `{"time":"`...)
	line = loss.Time.AppendFormat(line, time.RFC3339Nano)
	line = append(line, `","end":`...)
	line = appendString(line, string(loss.End))
	line = append(line, `,"cause":`...)
	line = appendKnown(line, string(loss.Cause))
	line = append(line, `,"phase":`...)
	line = appendString(line, string(loss.Phase))
	line = append(line, `,"errno":`...)
	line = appendString(line, errnoName(loss.Errno))
	line = append(line, `,"processes":`...)
	if len(s.Holders) == 0 {
		line = append(line, null...)
	} else {
		line = appendProcesses(line, s.Holders)
	}
	line = append(line, `,"cgroup":`...)
	line = appendKnown(line, group)
	line = append(line, `,"unit":`...)
	line = appendKnown(line, cgroup.Unit(group))
	line = append(line, `,"state":`...)
	line = appendString(line, s.State.String())
	line = append(line, `,"local":`...)
	line = appendEndpoint(line, s.Local, s.Local.IsValid())
	line = append(line, `,"remote":`...)
	line = appendEndpoint(line, s.Remote, s.Remote.IsValid())
	line = append(line, `,"netns":`...)
	line = appendInode(line, s.NetNS)
	line = append(line, ',')
	line = appendPolicy(line, s.Config)
	line = appendUnnoticed(line, s)
	line = append(line, `,"heard":`...)
	line = appendSeconds(line, s.Status.SinceHeard(), s.Status.Open)
	line = append(line, `,"probes":`...)
	line = strconv.AppendInt(line, int64(s.Status.Probes), 10)
	line = append(line, `,"retransmits":`...)
	line = strconv.AppendInt(line, int64(s.Status.Retransmits), 10)
	line = append(line, `,"unacked_bytes":`...)
	line = strconv.AppendUint(line, uint64(loss.InFlight), 10)
	line = append(line, `,"unsent_bytes":`...)
	line = strconv.AppendUint(line, uint64(loss.Unsent), 10)
	line = append(line, `,"rtt":`...)
	line = appendSeconds(line, s.Status.RTT, s.Status.Open)
	return append(line, '}')
}

// appendKnown appends a string, or null for an empty one.
func appendKnown(line []byte, s string) []byte {
	if s == "" {
		return append(line, null...)
	}
	return appendString(line, s)
}
