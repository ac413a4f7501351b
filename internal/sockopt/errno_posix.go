//go:build !windows && !plan9

package sockopt

import (
	"errors"
	"syscall"
)

var (
	// EPROTOTYPE is net's own, on Solaris before 11.4.
	unsupported = []error{syscall.ENOPROTOOPT, syscall.EPROTOTYPE}

	// tcp_ctloutput of FreeBSD, NetBSD and DragonFly returns ECONNRESET for
	// a connection that was dropped.
	dead = []error{syscall.ECONNRESET, syscall.ENOTCONN}

	// invalid also means a dead connection where SO_KEEPALIVE is set, which
	// has no value to be refused: sosetoptlock of macOS refuses every
	// option then.
	invalid error = syscall.EINVAL
)

// IsPeerLost reports whether err, of the system call named call, says that the
// system has given the peer up.
func IsPeerLost(call string, err error) bool {
	return errors.Is(err, syscall.ETIMEDOUT) ||
		errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.ENETUNREACH) ||
		isSoftError(call, err) ||
		isOutOfSubflows(call, err)
}
