package keepalive

import (
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

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
