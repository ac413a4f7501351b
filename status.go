package keepalive

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
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

// IsPeerLost reports whether err, from a Read or Write, says that the kernel
// has given the peer up: probes or data went unanswered for as long as the
// policy allows. That is ETIMEDOUT, or EHOSTUNREACH or ENETUNREACH where the
// path gave them as the reason while data was in flight, and ENOTCONN from
// reading an MPTCP connection on Linux. It finds them in whatever wraps them.
// Of the errors that [errors.Join] and its like hold, one is enough.
//
// Linux also returns the other reasons that a path gives by ICMP, such as
// ECONNREFUSED for the port unreachable of a firewall that rejects, and EACCES
// for administratively prohibited over IPv6. An open TCP connection returns
// these soft errors (RFC 1122, section 4.2.3.9) only once it has been given up,
// see tcp_write_err in net/ipv4/tcp_timer.c. The others are ENOPROTOOPT,
// EHOSTDOWN, ENONET, EOPNOTSUPP and EPROTO, and EINVAL where an IPv6 route of
// this machine became a blackhole. They count where an [os.SyscallError] says
// that the call was one that transfers data, such as read or sendfile: other
// calls return the same errors for reasons of their own.
//
// It is false for a deadline, although that and ETIMEDOUT are both a
// [net.Error] whose Timeout method returns true. It is false for a reset, which
// a peer has sent, and for a failed connect, which had no peer to lose. It is
// false for errors of files and of networks other than TCP.
//
// A TCP connection returns the error once. The Read after it returns io.EOF, as
// if the peer had closed the connection in good order, and a Write EPIPE. Code
// that treats the error as a deadline reads again, gets io.EOF, and assumes a
// clean close. [Watch] returns a connection that keeps returning the error.
func IsPeerLost(err error) bool {
	return isPeerLost(err, "")
}

// isPeerLost judges each error at the end of a chain with what wraps it. call
// is the system call that the chain has named so far.
func isPeerLost(err error, call string) bool {
	switch e := err.(type) {
	case *net.OpError:
		if e.Op == "dial" || e.Net != "" && !isTCP(e.Net) {
			return false
		}
	case *os.SyscallError:
		call = e.Syscall
	case *fs.PathError, *os.LinkError, *net.DNSError:
		return false
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), func(err error) bool { return isPeerLost(err, call) })
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return isPeerLost(inner, call)
		}
	}
	// connect(2), ConnectEx on Windows
	return err != nil && !strings.HasPrefix(call, "connect") && sockopt.IsPeerLost(call, err)
}

// Watch returns a connection that calls lost when a Read or Write of conn says
// that the peer is lost, as [IsPeerLost] has it, and that keeps returning this
// error. It is for clients that swallow the error or turn it into io.EOF, so
// that a stream that was cut off looks complete.
//
// lost is called once, before the Read or Write that was told returns. Others
// do not wait for it. It may close the connection, and may wait for other calls
// to return. It may be nil. From then on every Read and Write that fails
// returns the error, except after Close. Data that had arrived can still be
// read.
//
// The kernel gives the error to one caller only. On Linux, where conn is a
// [*net.TCPConn] itself and does not use MPTCP, a Read and a Write that are
// under way at the same time both return it: where one ends otherwise, it waits
// for the other. Elsewhere, and where one of them competes with ReadFrom or
// WriteTo, one of the two may still return io.EOF or EPIPE. Later calls return
// the error.
//
// ReadFrom and WriteTo move data as those of conn do, by splice and sendfile
// where [*net.TCPConn] does. An error of theirs may be that of the other end of
// the copy. It counts as a loss of conn's peer only where conn's own socket is
// closed, which is known on Linux alone.
//
// NetConn returns conn. SyscallConn and CloseWrite are there where conn has
// them, so [Get], [Stat] and [Config.Apply] find the socket. A [net.Buffers] is
// written with a system call for each buffer. Code that asks for a concrete
// type no longer finds it: net/http speaks HTTP/2 only on a [*crypto/tls.Conn],
// and SetNoDelay is a method of [*net.TCPConn]. So put TLS around the watched
// connection, and set such options before.
func Watch(conn net.Conn, lost func(error)) net.Conn {
	if conn == nil {
		return nil
	}
	w := watch(conn, lost)
	socket, isSocket := conn.(syscall.Conn)
	half, isHalf := conn.(closeWriter)
	switch {
	case isSocket && isHalf:
		return &watchedStream{w, socket, half}
	case isSocket:
		return &watchedSocket{w, socket}
	case isHalf:
		return &watchedHalf{w, half}
	}
	return w
}

// closeWriter is implemented by what can close one direction. Code that finds
// no CloseWrite calls Close instead.
type closeWriter interface{ CloseWrite() error }

// A watched connection has the methods that conn has. A TLS connection must not
// have SyscallConn: who finds it there would read the bytes of TLS.
type (
	watchedStream struct {
		*watchedConn
		syscall.Conn
		closeWriter
	}
	watchedSocket struct {
		*watchedConn
		syscall.Conn
	}
	watchedHalf struct {
		*watchedConn
		closeWriter
	}
)

type watchedConn struct {
	net.Conn
	lost  func(error)
	waits bool // for other calls, since nothing but the kernel blocks them

	mu       sync.Mutex
	changed  sync.Cond
	inFlight int   // Reads and Writes
	err      error // the peer is lost
}

func watch(conn net.Conn, lost func(error)) *watchedConn {
	if lost == nil {
		lost = func(error) {}
	}
	w := &watchedConn{Conn: conn, lost: lost}
	w.changed.L = &w.mu
	// A type that embeds one may block for reasons of its own.
	if socket, ok := conn.(*net.TCPConn); ok {
		w.waits = !isMPTCPSocket(socket)
	}
	return w
}

func (w *watchedConn) Read(b []byte) (int, error) {
	w.begin()
	n, err := w.Conn.Read(b)
	return n, w.end(err)
}

func (w *watchedConn) Write(b []byte) (int, error) {
	w.begin()
	n, err := w.Conn.Write(b)
	return n, w.end(err)
}

func (w *watchedConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.Conn, r)
	if err != nil {
		err = w.endCopy(err)
	}
	return n, err
}

// WriteTo ends without an error at io.EOF, which is none after a loss.
func (w *watchedConn) WriteTo(to io.Writer) (int64, error) {
	n, err := io.Copy(to, w.Conn)
	return n, w.endCopy(err)
}

func (w *watchedConn) NetConn() net.Conn { return w.Conn }

func (w *watchedConn) begin() {
	w.mu.Lock()
	w.inFlight++
	w.mu.Unlock()
}

// end returns what a Read or Write returns that ended with err.
func (w *watchedConn) end(err error) error {
	isLoss := IsPeerLost(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inFlight--
	w.changed.Broadcast()
	if isLoss {
		w.noteLoss(err)
	}
	if err == nil {
		return nil
	}
	if w.waits && w.err == nil && isClosed(w.Conn) {
		// The kernel has closed the socket, so what is in flight
		// returns at once, maybe with the error.
		for w.inFlight > 0 && w.err == nil {
			w.changed.Wait()
		}
	}
	return w.replace(err)
}

// endCopy returns what ReadFrom or WriteTo returns that ended with err.
func (w *watchedConn) endCopy(err error) error {
	isLoss := IsPeerLost(err) && isClosed(w.Conn)
	w.mu.Lock()
	defer w.mu.Unlock()
	if isLoss {
		w.noteLoss(err)
	}
	return w.replace(err)
}

// replace returns the error that said that the peer is lost, if there was one,
// in place of what came after it.
func (w *watchedConn) replace(err error) error {
	if w.err == nil || errors.Is(err, net.ErrClosed) {
		return err
	}
	return w.err
}

// noteLoss calls lost without holding mu, and once those that wait can go on.
func (w *watchedConn) noteLoss(err error) {
	if w.err != nil {
		return
	}
	w.err = err
	w.changed.Broadcast()
	w.mu.Unlock()
	defer w.mu.Lock() // where lost panics too
	w.lost(err)
}

// isClosed reports whether the kernel is known to hold conn open no longer.
func isClosed(conn net.Conn) bool {
	s, err := Stat(conn)
	return err == nil && !s.Open
}
