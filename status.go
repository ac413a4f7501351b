package keepalive

import (
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// Status is what the kernel knows of a connection: TCP_INFO of tcp(7). It is a
// snapshot, and what was sent a moment ago is unanswered in every one.
type Status struct {
	// Open is whether the kernel still holds the connection open. It is false
	// once the peer was given up, has reset the connection, or both ends have
	// closed it; the other fields are zero then.
	//
	// A connection that only one end has closed is still open: it can carry
	// data the other way (RFC 9293, section 3.6). What tells that the peer
	// has closed its end is io.EOF from Read.
	Open bool

	// Probes is how many keepalive or zero-window probes in a row the peer has
	// left unanswered. Zero-window probes ask a peer that stopped reading
	// whether it reads again. It is 0 where anything has arrived within the last
	// second, or 2 s for zero-window probes, and 255 at most.
	//
	// On a connection that only receives, data that follows a lost probe may
	// not end the kernel's count. A later pause of a second shows that probe
	// again, until the peer acknowledges something.
	Probes int

	// Retransmits is how many retransmission timeouts in a row the oldest
	// data in flight has seen, 255 at most.
	Retransmits int

	// Unacked is how many segments are in flight: sent and not acknowledged.
	Unacked int

	// SinceReceived is how long ago data arrived, or where none has, the
	// connection was established.
	//
	// This field and SinceAck have the resolution of the kernel's tick, 1 ms
	// to 10 ms, and start again from zero after 49 days.
	SinceReceived time.Duration

	// SinceAck is how long ago the peer acknowledged anything, a probe
	// included. Data that acknowledges nothing new does not count, so that a
	// peer is known to be there for the smaller one of SinceReceived and
	// SinceAck.
	SinceAck time.Duration

	// RTT is the smoothed round-trip time (RFC 6298), zero where none was
	// measured.
	RTT time.Duration
}

// Suspect reports whether the connection is open and something sent has gone
// unanswered: a probe, or data that had to be retransmitted. Most suspects are
// dead, but a lost packet is enough to be one until the next answer arrives, and
// a probe is while its own answer is on the way.
func (s Status) Suspect() bool {
	return s.Open && (s.Probes > 0 || s.Retransmits > 0)
}

// Stat returns the status of conn, in one system call. It sends nothing, and
// leaves a pending error to the Read or Write that is to return it.
//
// It finds the socket as [Config.Apply] does, with the same errors: one that
// matches [errors.ErrUnsupported] where conn is no TCP connection, the system is
// not Linux or its emulator hands over only a part of TCP_INFO, as qemu-user does,
// and [net.ErrClosed] where this end has closed conn.
//
// Of an MPTCP connection it shows the first subflow. Where that has ended Open is
// false, although the connection may go on by other subflows, and waits for
// a new one for net.mptcp.close_timeout where there are none.
func Stat(conn net.Conn) (Status, error) {
	socket, err := unwrap(conn)
	if err != nil {
		return Status{}, err
	}
	return stat(socket)
}

// IsPeerLost reports whether err, from a Read or Write, says that the kernel has
// given the peer up: probes or data went unanswered for as long as the policy
// allows. That is ETIMEDOUT, or with data in flight the EHOSTUNREACH or
// ENETUNREACH that the path gave as the reason, and ENOTCONN from reading an
// MPTCP connection on Linux. They are found in whatever wraps them.
//
// It is false for a deadline, although that and ETIMEDOUT are both a [net.Error]
// whose Timeout method returns true; for a reset, which a peer has sent; and for a
// failed connect, which had no peer to lose. It is also false for ECONNREFUSED
// and EACCES, the answers of a firewall that rejects data in flight by ICMP port
// unreachable or, over IPv6, administratively prohibited.
//
// A TCP connection says it once. The Read after it returns io.EOF, as if the
// peer had closed the connection in good order, and a Write EPIPE. So the first
// error has to end the connection: a loop that goes on after a timeout takes a
// lost peer for one that has sent everything.
func IsPeerLost(err error) bool {
	name := ""
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		name = call.Syscall
	}
	// connect(2), ConnectEx on Windows
	return !strings.HasPrefix(name, "connect") && sockopt.IsPeerLost(name, err)
}
