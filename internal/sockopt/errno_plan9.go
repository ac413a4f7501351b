package sockopt

import (
	"errors"
	"syscall"
)

var (
	unsupported []error // "not supported" matches errors.ErrUnsupported by itself

	// The spelling is that of tcpstartka in ip/tcp.c.
	dead = []error{syscall.ErrorString("connection must be in Establised state")}

	invalid error = syscall.EINVAL
)

// IsPeerLost reports whether err, of the system call named call, says that the
// system has given the peer up.
func IsPeerLost(_ string, err error) bool {
	return errors.Is(err, syscall.ETIMEDOUT)
}
