package tcptest

import (
	"errors"
	"syscall"
)

// Errors of the system. ETIMEDOUT is that for a peer that no longer answers.
var (
	ETIMEDOUT    error = syscall.ETIMEDOUT
	EHOSTUNREACH       = errors.New("no route to host")
	ENETUNREACH        = errors.New("network is unreachable")
	ECONNREFUSED       = errors.New("connection refused")
	ECONNRESET         = errors.New("connection reset by peer")
	ENOPROTOOPT        = errors.New("protocol not available")
)

func getsockoptInt(uintptr, int, int) (int, error) { return 0, ENOPROTOOPT }
