package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

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
			fmt.Fprintf(&b, ", %s where the kernel has none", jsonValue(o, o.Held(policy.Config{})))
		}
		b.WriteString("\n")
	}
	b.WriteString(`    unnoticed_idle       UNNOTICED, null for "never" and "-"
    unnoticed_in_flight  IN FLIGHT, null for "?" and "-"
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

// A jsonSocket is what ls --json prints of a socket before its options.
// Durations are in seconds.
type jsonSocket struct {
	Processes []jsonProcess   `json:"processes"`
	State     string          `json:"state"`
	Local     *netip.AddrPort `json:"local"`
	Remote    *netip.AddrPort `json:"remote"`
	NetNS     *uint64         `json:"netns"`
	MPTCP     bool            `json:"mptcp"`
	KeepAlive bool            `json:"keepalive"`
}

type jsonProcess struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	FD      int    `json:"fd"`
}

// A jsonPeer is what ls --json prints of a socket after its options.
type jsonPeer struct {
	UnnoticedIdle     *seconds `json:"unnoticed_idle"`
	UnnoticedInFlight *seconds `json:"unnoticed_in_flight"`
	*jsonStatus                // nil unless the connection is established and open
}

type jsonStatus struct {
	Heard       seconds `json:"heard"`
	Probes      int     `json:"probes"`
	Retransmits int     `json:"retransmits"`
	Unacked     int     `json:"unacked"`
	RTT         seconds `json:"rtt"`
	Suspect     bool    `json:"suspect"`
}

// printSocket prints the object of a socket on a line.
func printSocket(w io.Writer, s *sockets.Socket) error {
	line, err := json.Marshal(toJSON(s))
	if err != nil {
		return err
	}
	peer, err := json.Marshal(toJSONPeer(s))
	if err != nil {
		return err
	}
	line = line[:len(line)-1] // without its brace
	for i := range policy.Options {
		o := &policy.Options[i]
		line = append(line, `,"`+o.Key+`":`+jsonValue(o, o.Held(policy.Config(s.Config)))...)
	}
	line = append(line, ',')
	line = append(line, peer[1:]...)
	_, err = w.Write(append(line, '\n'))
	return err
}

func jsonValue(o *policy.Option, v int64) string {
	if o.IsNumber() {
		return o.Format(v)
	}
	return strconv.FormatFloat(time.Duration(v).Seconds(), 'f', -1, 64)
}

func toJSON(s *sockets.Socket) jsonSocket {
	o := jsonSocket{
		State:     s.State.String(),
		Local:     orNull(s.Local, s.Local.Port() != 0),
		Remote:    orNull(s.Remote, s.Remote.IsValid()),
		NetNS:     orNull(s.NetNS, s.NetNS != 0),
		MPTCP:     s.MPTCP,
		KeepAlive: !s.Config.Disable,
	}
	for _, h := range s.Holders {
		o.Processes = append(o.Processes, jsonProcess{h.PID, h.Command, h.FD})
	}
	return o
}

func toJSONPeer(s *sockets.Socket) jsonPeer {
	p := jsonPeer{
		UnnoticedIdle:     orNull(toSeconds(s.Idle.For), !s.Idle.Never && !s.Idle.NoPeer),
		UnnoticedInFlight: orNull(toSeconds(s.InFlight.For), s.InFlight.Known && !s.InFlight.NoPeer),
	}
	if s.Status.Open {
		p.jsonStatus = &jsonStatus{
			Heard:       toSeconds(s.Status.SinceHeard()),
			Probes:      s.Status.Probes,
			Retransmits: s.Status.Retransmits,
			Unacked:     s.Status.Unacked,
			RTT:         toSeconds(s.Status.RTT),
			Suspect:     s.Status.Suspect(),
		}
	}
	return p
}
