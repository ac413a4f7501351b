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
		isOutOfSubflows(call, err)
}

// isOutOfSubflows reports whether err is what reading an MPTCP connection gives,
// which only Linux has, once net.mptcp.close_timeout has passed without any subflow.
// io.Copy reads by splice. Other calls say so of any ended connection.
func isOutOfSubflows(call string, err error) bool {
	linux := runtime.GOOS == "linux" || runtime.GOOS == "android"
	return linux && (call == "read" || call == "splice") && errors.Is(err, syscall.ENOTCONN)
}
