package sockets

import (
	"cmp"
	"time"

	"golang.org/x/sys/unix"
)

// A Loss is a connection whose peer the kernel gave up, or that came to another end
// than an orderly one.
type Loss struct {
	Time time.Time
	End  End

	// Socket is the connection as it was. Neither Get nor Apply works on it.
	// Status.Probes and Status.Retransmits are what has gone unanswered.
	Socket Socket

	// Cause is by which limit the peer was given up, "" for other ends.
	Cause Cause
	Phase Phase

	// Errno is what the program gets. For a lost peer it is ETIMEDOUT, or the
	// reason that an ICMP message or the routes gave.
	Errno unix.Errno

	InFlight uint32 // bytes that were sent and not acknowledged
	Unsent   uint32 // bytes that the peer's window kept from being sent

	// Cgroup is the inode of the directory of the socket's control group, 0
	// where the kernel does not tell.
	Cgroup uint64

	inode uint32 // of the file, 0 if there is none
}

// An End is how a connection ended.
type End string

const (
	PeerLost      End = "lost"           // the kernel gave the peer up
	PeerReset     End = "reset"          // a reset arrived
	ConnectFailed End = "connect-failed" // it was never established
	Aborted       End = "aborted"        // something on this machine ended it, such as ss -K
)

// A Cause is the limit by which the kernel gave a peer up.
type Cause string

const (
	ByKeepAlive       Cause = "keepalive"
	ByUserTimeout     Cause = "user_timeout"
	ByRetransmissions Cause = "retransmissions" // tcp_retries2, with data in flight
	ByZeroWindow      Cause = "zero_window"     // tcp_retries2, with a full window
)

// Causes are all of them.
var Causes = []Cause{ByKeepAlive, ByUserTimeout, ByRetransmissions, ByZeroWindow}

// A Phase is what was outstanding when a connection ended.
type Phase string

const (
	Idle         Phase = "idle"        // nothing
	InFlight     Phase = "in_flight"   // what was sent
	WindowClosed Phase = "zero_window" // only what the peer's window kept from being sent
)

// A lossRecord is what [lossInstructions] write of a connection that ends. Its state
// is the last one before that.
type lossRecord struct {
	record
	when                     uint64 // CLOCK_MONOTONIC, in nanoseconds
	cgroup                   uint64
	sndUna, sndNxt, writeSeq uint32
	err, softErr             int32  // sk_err and sk_err_soft
	sinceProbing             uint32 // since the first zero-window probe was due, in jiffies
	flags                    uint32 // of the socket, enum sock_flags
}

// loss returns the Loss, and false for an orderly end.
func (r *lossRecord) loss(hz uint64, done uint32) (l *Loss, ok bool) {
	if r.err == 0 { // the program has taken it
		r.err = r.reason()
	}
	l = &Loss{Errno: unix.Errno(r.err), InFlight: r.sndNxt - r.sndUna, Unsent: r.writeSeq - r.sndNxt, Cgroup: r.cgroup, inode: r.inode}
	l.Socket.fd = -1
	r.fill(&l.Socket, hz)
	if r.State().Synchronized() { // what fill thinks of these counts holds for live ones
		l.Socket.Status.Probes = int(r.probes)
	}
	switch {
	case l.InFlight > 0:
		l.Phase = InFlight
	case l.Unsent > 0:
		l.Phase = WindowClosed
	default:
		l.Phase = Idle
	}
	l.End = r.end(l.Phase, r.flags&done != 0)
	if l.End == PeerLost {
		l.Cause = r.cause(l.Phase, l.Socket.Config.UserTimeout, hz)
	}
	return l, l.End != ""
}

// State returns the state before the end.
func (r *lossRecord) State() State { return State(r.state) }

// end returns how the connection ended, or "" for an orderly end, after which an
// error of the past that the program has not read is no reason: IP_RECVERR.
// finished is whether the peer has sent a FIN.
func (r *lossRecord) end(p Phase, finished bool) End {
	switch state := r.State(); {
	case !state.Synchronized():
		return ConnectFailed
	case finished && p == Idle && state != Established && state != closeWait:
		return ""
	case r.err == r.reason():
		return PeerLost
	case unix.Errno(r.err) == unix.ECONNRESET, unix.Errno(r.err) == unix.EPIPE: // tcp_reset in net/ipv4/tcp_input.c
		return PeerReset
	}
	return Aborted
}

// reason returns the error of a connection whose peer is given up: tcp_write_err in
// net/ipv4/tcp_timer.c.
func (r *lossRecord) reason() int32 { return cmp.Or(r.softErr, int32(unix.ETIMEDOUT)) }

// cause returns why the kernel gave the peer up. It compares what the timers of
// net/ipv4/tcp_timer.c do.
func (r *lossRecord) cause(p Phase, userTimeout time.Duration, hz uint64) Cause {
	probing := time.Duration(r.sinceProbing) * time.Second / time.Duration(hz)
	switch {
	case userTimeout > 0 && (p != WindowClosed || probing >= userTimeout):
		return ByUserTimeout
	case p == Idle:
		return ByKeepAlive
	case p == InFlight:
		return ByRetransmissions
	}
	return ByZeroWindow
}
