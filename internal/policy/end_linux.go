//go:build !keepalive_portable

package policy

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

// CheckTellsEnd returns an error if the end of the connection fd can't be known
// from its TCP_INFO. MPTCP goes on when the subflow has ended that TCP_INFO shows.
func CheckTellsEnd(fd uintptr) error {
	if p := Protocol(fd); p != unix.IPPROTO_TCP {
		return fmt.Errorf("keepalive: the protocol of the socket is %d, want TCP: %w", p, errors.ErrUnsupported)
	}
	var info unix.TCPInfo
	return sockopt.TCPInfo(fd, &info)
}

// TakeEnd returns the error with which the kernel has given up the peer of fd, 0 for
// none, and clears it. EPIPE is none: the peer had closed its end in good order
// before.
//
// Other resets stay for a Read. TLS may have ended in good order in the data that
// had arrived: its Read then returns io.EOF, and never sees the reset.
//
// SO_ERROR of an open connection may be an ICMP error of its path.
func TakeEnd(fd uintptr) syscall.Errno {
	if !GaveUp(fd) {
		return 0
	}
	if errno := sockopt.TakeError(fd); errno != syscall.EPIPE {
		return errno
	}
	return 0
}
