//go:build !windows && !plan9

package tcptest

import "syscall"

// Errors of the system. ETIMEDOUT is that for a peer that no longer answers.
var (
	ETIMEDOUT    error = syscall.ETIMEDOUT
	EHOSTUNREACH error = syscall.EHOSTUNREACH
	ENETUNREACH  error = syscall.ENETUNREACH
	ECONNREFUSED error = syscall.ECONNREFUSED
	ECONNRESET   error = syscall.ECONNRESET
	ENOPROTOOPT  error = syscall.ENOPROTOOPT
)

func getsockoptInt(fd uintptr, level, number int) (int, error) {
	return syscall.GetsockoptInt(int(fd), level, number)
}
