package keepalive

import (
	"fmt"
	"net"
	"time"
)

// A Watcher watches connections as [Watch] does, and bounds the time for which
// data in flight may go unanswered. The zero Watcher leaves that to the kernel. Its
// fields must not change while a method runs.
type Watcher struct {
	// Lost is called as Watch calls its function, with the connection that
	// was returned. It may be nil.
	Lost func(conn net.Conn, err error)

	// Unacked gives up a peer that has answered nothing for that long while
	// data was in flight: 1 s to 24 h, or zero for the kernel's bounds alone.
	// It should be several times the round trip.
	//
	// The time runs from the first unanswered retransmission that a check
	// finds, and ends with one. So a silent peer is given up within 5/4
	// Unacked and a retransmission timeout, which may have doubled up to
	// Unacked by then. At least three have to be unanswered: on a slow path
	// that takes 7 times its first timeout. While the window is closed it
	// may take two more steps of the backoff, of up to 120 s each. What a Read
	// sends, as in a handshake of TLS, may be seen Unacked/2 later.
	//
	// A peer that answers zero-window probes is spared, however long it does
	// not read. A pause of this machine or process does not count if it is
	// longer than Unacked/2.
	Unacked time.Duration
}

// The range of Unacked. The kernel's third retransmission follows 1.4 s after the
// data. By default it gives up after about 15 minutes.
const (
	minUnacked = time.Second
	maxUnacked = 24 * time.Hour
)

// Watch returns a connection that calls w.Lost when the peer of conn is lost, and
// whose Read and Write return the error from then on: see [Watch], the function.
//
// With Unacked set, the error of a peer that w has given up says so, and matches
// ETIMEDOUT. The kernel has then reset the connection, and dropped unsent and
// unread data. Data that is sent by way of NetConn or SyscallConn may go
// unobserved.
//
// An error leaves conn as it was. It matches [errors.ErrUnsupported] if conn is no
// TCP connection or uses MPTCP, if the system is not Linux, or if it fills in only
// a part of TCP_INFO, as gVisor and qemu-user do. Other errors mean that Unacked is
// out of range, that conn is nil or closed, that the process has no descriptor left,
// or that the user watches as many sockets as fs.epoll.max_user_watches allows.
func (w *Watcher) Watch(conn net.Conn) (net.Conn, error) {
	if conn == nil || isNilTCPConn(conn) {
		return nil, errNilConn
	}
	if w.Unacked != 0 && (w.Unacked < minUnacked || w.Unacked > maxUnacked) {
		return nil, fmt.Errorf("keepalive: Unacked is %v, want %v to %v, or 0 for the kernel's bounds", w.Unacked, minUnacked, maxUnacked)
	}
	inner := watch(conn, nil)
	if w.Unacked != 0 {
		inner.unacked = limitUnacked(inner, w.Unacked)
	}
	result := inner.shaped()
	if lost := w.Lost; lost != nil {
		inner.lost = func(err error) { lost(result, err) }
	}
	if err := inner.register(); err != nil {
		return nil, err
	}
	inner.unacked.start()
	return result, nil
}

// limitedHalf observes the FIN that CloseWrite sends.
type limitedHalf struct {
	closeWriter
	unacked *unackedLimit
}

func (l *limitedHalf) CloseWrite() error {
	l.unacked.enter()
	defer l.unacked.leave()
	return l.closeWriter.CloseWrite()
}
