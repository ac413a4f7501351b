package main

import (
	"net/netip"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// fields is the documentation of jsonSocket, in its order.
const fields = `    processes            who shares the socket: pid, command, fd
    state                established, listen, close-wait: RFC 9293
    local, remote        address and port, null where there is none
    netns                inode of the network namespace, null where unknown
    mptcp                whether it is a Multipath TCP socket
    keepalive            whether SO_KEEPALIVE is on
    idle, interval       TCP_KEEPIDLE, TCP_KEEPINTVL
    count                TCP_KEEPCNT
    user_timeout         TCP_USER_TIMEOUT, 0 for off
    max_rto              TCP_RTO_MAX_MS, 120 where the kernel has none
    unnoticed_idle       UNNOTICED, null for "never"
    unnoticed_in_flight  IN FLIGHT, null for "?"
and of a connection, once it is established
    heard                since the peer was known to be there
    probes               unanswered keepalive or zero-window probes
    retransmits          retransmission timeouts in a row
    unacked              segments in flight
    rtt                  smoothed round-trip time
    suspect              whether the peer has stopped answering
`

// A jsonSocket is what ls --json prints of a socket. Durations are in seconds.
type jsonSocket struct {
	Processes         []jsonProcess   `json:"processes"`
	State             string          `json:"state"`
	Local             *netip.AddrPort `json:"local"`
	Remote            *netip.AddrPort `json:"remote"`
	NetNS             *uint64         `json:"netns"`
	MPTCP             bool            `json:"mptcp"`
	KeepAlive         bool            `json:"keepalive"`
	Idle              seconds         `json:"idle"`
	Interval          seconds         `json:"interval"`
	Count             int             `json:"count"`
	UserTimeout       seconds         `json:"user_timeout"`
	MaxRTO            seconds         `json:"max_rto"`
	UnnoticedIdle     *seconds        `json:"unnoticed_idle"`
	UnnoticedInFlight *seconds        `json:"unnoticed_in_flight"`
	*jsonStatus                       // nil unless the connection is established and open
}

type jsonProcess struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	FD      int    `json:"fd"`
}

type jsonStatus struct {
	Heard       seconds `json:"heard"`
	Probes      int     `json:"probes"`
	Retransmits int     `json:"retransmits"`
	Unacked     int     `json:"unacked"`
	RTT         seconds `json:"rtt"`
	Suspect     bool    `json:"suspect"`
}

func toJSON(s *sockets.Socket) jsonSocket {
	c := s.Config
	o := jsonSocket{
		State:             s.State.String(),
		Local:             orNull(s.Local, s.Local.Port() != 0),
		Remote:            orNull(s.Remote, s.Remote.IsValid()),
		NetNS:             orNull(s.NetNS, s.NetNS != 0),
		MPTCP:             s.MPTCP,
		KeepAlive:         !c.Disable,
		Idle:              toSeconds(c.Idle),
		Interval:          toSeconds(c.Interval),
		Count:             c.Count,
		UserTimeout:       toSeconds(c.UserTimeout),
		MaxRTO:            toSeconds(s.MaxRTO()),
		UnnoticedIdle:     orNull(toSeconds(s.Idle.For), !s.Idle.Never),
		UnnoticedInFlight: orNull(toSeconds(s.InFlight.For), s.InFlight.Known),
	}
	for _, h := range s.Holders {
		o.Processes = append(o.Processes, jsonProcess{h.PID, h.Command, h.FD})
	}
	if s.Status.Open {
		o.jsonStatus = &jsonStatus{
			Heard:       toSeconds(s.Status.SinceHeard()),
			Probes:      s.Status.Probes,
			Retransmits: s.Status.Retransmits,
			Unacked:     s.Status.Unacked,
			RTT:         toSeconds(s.Status.RTT),
			Suspect:     s.Status.Suspect(),
		}
	}
	return o
}
