package keepalive

import (
	"net"
	"time"
)

// Status is a snapshot of what the kernel knows of a connection: TCP_INFO of
// tcp(7). Data that was sent a moment ago is always unanswered in it.
type Status struct {
	// Open reports whether the kernel holds the connection open. It is
	// false once the peer was given up or has reset the connection, or both
	// ends have closed it. The other fields are then zero.
	//
	// A connection that one end has closed is open, since it can carry data
	// the other way (RFC 9293, section 3.6). Read returns io.EOF once the
	// peer has closed its end.
	Open bool

	// Probes is the number of consecutive unanswered keepalive or
	// zero-window probes. Zero-window probes go to a peer that stopped
	// reading. Probes is 0 if anything arrived within the last second, or 2
	// s for zero-window probes. After 255 comes 0.
	//
	// A probe that this machine drops is not counted: see
	// [Status.SinceHeard]. A probe that was lost earlier may still be
	// counted on a connection that only receives. See
	// docs/kernel.md#unanswered-probes.
	Probes int

	// Retransmits is the number of consecutive retransmission timeouts of
	// the oldest data in flight. After 255 comes 0.
	Retransmits int

	// Unacked is the number of segments in flight: sent and not
	// acknowledged.
	Unacked int

	// SinceReceived is the time since data arrived, or since the connection
	// was established if none has. After a simultaneous open it means
	// nothing until data arrives: see docs/kernel.md#simultaneous-open.
	//
	// SinceReceived and SinceAck have the resolution of the kernel's tick,
	// 1 ms to 10 ms, and restart from zero after 49 days.
	SinceReceived time.Duration

	// SinceAck is the time since the peer last acknowledged new data or a
	// probe.
	SinceAck time.Duration

	// RTT is the smoothed round-trip time (RFC 6298), zero if none was
	// measured.
	RTT time.Duration
}

// Suspect reports whether the connection is open and a probe or a retransmitted
// segment is unanswered. Most suspects are dead. A lost packet also makes a
// connection suspect until the next answer arrives, and so does a probe whose
// answer is on the way.
func (s Status) Suspect() bool {
	return s.Open && (s.Probes > 0 || s.Retransmits > 0)
}

// SinceHeard returns the time since the peer last answered or sent data: the
// smaller of SinceReceived and SinceAck. If it exceeds DetectionTime by more
// than 1/8, nothing shows that the peer is alive, even if Probes is 0 because
// this machine drops its probes (docs/kernel.md#dropped-probes). Probes that
// the peer sends do not change it: the kernel answers them without noting the
// time.
func (s Status) SinceHeard() time.Duration {
	return min(s.SinceReceived, s.SinceAck)
}

// Stat returns the status of conn, in one system call. It sends nothing. A
// pending error stays for the Read or Write that returns it.
//
// Stat finds the socket as [Config.Apply] does. The error matches
// [errors.ErrUnsupported] if conn is no TCP connection, if the system is not
// Linux, or if the system fills in only a part of TCP_INFO, as gVisor and
// qemu-user do. It matches [net.ErrClosed] if conn was closed at this end.
//
// Of an MPTCP connection Stat shows the first subflow. Open is false once that
// has ended, although the connection may continue. See docs/kernel.md#mptcp.
func Stat(conn net.Conn) (Status, error) {
	socket, err := unwrap(conn)
	if err != nil {
		return Status{}, err
	}
	return stat(socket)
}
