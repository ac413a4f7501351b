package keepalive

import (
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// IsPeerLost reports whether err, from a Read or Write, means that the kernel
// or a [Watcher] has given the peer up, because probes or data went unanswered
// for as long as it allows. It is true for ETIMEDOUT, for the ICMP errors that Linux
// returns in its place (docs/kernel.md#icmp-errors), and for ENOTCONN from
// reading an MPTCP connection. It looks inside wrapped errors. In joined errors
// one match suffices.
//
// It is false for a deadline, although that and ETIMEDOUT are both a
// [net.Error] whose Timeout method returns true. It is false for a reset, for a
// failed connect, and for errors of files and of networks other than TCP. It
// cannot tell a connect with TCP Fast Open that failed in Read or Write.
//
// A connection returns the error once. The next Read returns io.EOF, as if the
// peer had closed the connection in good order. [Watch] returns a connection
// that keeps returning the error.
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
		return isPeerLost(e.Unwrap(), call)
	}
	// connect(2), ConnectEx on Windows
	return !strings.HasPrefix(call, "connect") && sockopt.IsPeerLost(call, err)
}
