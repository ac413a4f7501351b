package keepalive

import "syscall"

var (
	errsLacking []error // "not supported" matches errors.ErrUnsupported by itself

	// tcpstartka of ip/tcp.c spells it so.
	errsLost = []error{syscall.ErrorString("connection must be in Establised state")}

	errInvalid error = syscall.EINVAL
)
