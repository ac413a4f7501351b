package keepalive

import (
	"net"
	"time"
)

// Status is what the kernel knows of a connection: TCP_INFO of tcp(7). It is a
// snapshot, and what was sent a moment ago is unanswered in every one.
type Status struct {
	// Open is whether the kernel still holds the connection open. It is
	// false once the peer was given up, has reset the connection, or both
	// ends have closed it; the other fields are zero then.
	//
	// A connection that only one end has closed is still open: it can carry
	// data the other way (RFC 9293, section 3.6). What tells that the peer
	// has closed its end is io.EOF from Read.
	Open bool

	// Probes is how many keepalive or zero-window probes in a row the peer
	// has left unanswered. Zero-window probes ask a peer that stopped
	// reading whether it reads again. Probes is 0 where anything has
	// arrived within the last second, or 2 s for zero-window probes. The
	// kernel counts in 8 bits: after 255 comes 0.
	//
	// A probe that this machine drops itself, in a full queue or by a
	// filter on egress, is never counted: see [Status.SinceHeard].
	//
	// On a connection that only receives, data that follows a lost probe
	// may not end the kernel's count. A later pause of a second shows that
	// probe again, until the peer acknowledges something.
	Probes int

	// Retransmits is how many retransmission timeouts in a row the oldest
	// data in flight has seen. After 255 comes 0.
	Retransmits int

	// Unacked is how many segments are in flight: sent and not
	// acknowledged.
	Unacked int

	// SinceReceived is how long ago data arrived, or where none has, the
	// connection was established. Until data arrives it means nothing where
	// both ends have connected to each other, the simultaneous open of RFC
	// 9293, section 3.5: the kernel notes no time then.
	//
	// This field and SinceAck have the resolution of the kernel's tick, 1
	// ms to 10 ms, and start again from zero after 49 days.
	SinceReceived time.Duration

	// SinceAck is how long ago the peer acknowledged anything, a probe
	// included. Data that acknowledges nothing new does not count.
	SinceAck time.Duration

	// RTT is the smoothed round-trip time (RFC 6298), zero where none was
	// measured.
	RTT time.Duration
}

// Suspect reports whether the connection is open and something sent has gone
// unanswered: a probe, or data that had to be retransmitted. Most suspects are
// dead, but a lost packet is enough to be one until the next answer arrives,
// and a probe is while its own answer is on the way.
func (s Status) Suspect() bool {
	return s.Open && (s.Probes > 0 || s.Retransmits > 0)
}

// SinceHeard returns how long ago the peer was known to be there: the smaller
// of SinceReceived and SinceAck. Where it exceeds the DetectionTime of the
// policy by more than 1/8, nothing tells that the peer is alive, not even where
// the kernel counts no probes because this machine drops them. Probes that the
// peer sends by itself do not count: the kernel answers them without noting the
// time.
func (s Status) SinceHeard() time.Duration {
	return min(s.SinceReceived, s.SinceAck)
}

// Stat returns the status of conn, in one system call. It sends nothing, and
// leaves a pending error to the Read or Write that is to return it.
//
// It finds the socket as [Config.Apply] does. The error matches
// [errors.ErrUnsupported] where conn is no TCP connection, where the system is
// not Linux, and where it returns only a part of TCP_INFO, as gVisor and
// qemu-user do. It matches [net.ErrClosed] where this end has closed conn.
//
// Of an MPTCP connection it shows the first subflow. Where that has ended Open
// is false, although the connection may go on by other subflows, and waits for
// a new one for net.mptcp.close_timeout where there are none.
func Stat(conn net.Conn) (Status, error) {
	socket, err := unwrap(conn)
	if err != nil {
		return Status{}, err
	}
	return stat(socket)
}
