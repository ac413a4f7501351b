//go:build !windows && !plan9

package keepalive

import (
	"errors"
	"runtime"
	"syscall"
)

var (
	// EPROTOTYPE is net's own, on Solaris before 11.4.
	errsLacking = []error{syscall.ENOPROTOOPT, syscall.EPROTOTYPE}

	// ECONNRESET is what tcp_ctloutput of FreeBSD, NetBSD and DragonFly has
	// for a connection that was dropped.
	errsLost = []error{syscall.ECONNRESET, syscall.ENOTCONN}

	// errInvalid means a connection that is gone where it is about
	// SO_KEEPALIVE, which has no value to be refused: sosetoptlock of macOS
	// refuses every option of it.
	errInvalid error = syscall.EINVAL
)

func isGivenUp(call string, err error) bool {
	return errors.Is(err, syscall.ETIMEDOUT) ||
		errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.ENETUNREACH) ||
		// Without any subflow left, after net.mptcp.close_timeout. Elsewhere
		// it follows other ends than this one.
		runtime.GOOS == "linux" && call == "read" && errors.Is(err, syscall.ENOTCONN)
}
