//go:build (unix && !linux) || js || wasip1 || (linux && keepalive_portable)

package keepalive

import "syscall"

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
