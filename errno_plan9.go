package keepalive

import (
	"errors"
	"syscall"
)

var (
	errsLacking []error // "not supported" matches errors.ErrUnsupported by itself

	// tcpstartka of ip/tcp.c spells it so.
	errsLost = []error{syscall.ErrorString("connection must be in Establised state")}

	errInvalid error = syscall.EINVAL
)

func isGivenUp(_ string, err error) bool {
	return errors.Is(err, syscall.ETIMEDOUT)
}
