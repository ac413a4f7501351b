package tcptest

import "golang.org/x/sys/windows"

// Errors of the system. ETIMEDOUT is that for a peer that no longer answers.
// Those of package syscall are made up on Windows.
var (
	ETIMEDOUT    error = windows.WSAETIMEDOUT
	EHOSTUNREACH error = windows.WSAEHOSTUNREACH
	ENETUNREACH  error = windows.WSAENETUNREACH
	ECONNREFUSED error = windows.WSAECONNREFUSED
	ECONNRESET   error = windows.WSAECONNRESET
	ENOPROTOOPT  error = windows.WSAENOPROTOOPT
)

func getsockoptInt(fd uintptr, level, number int) (int, error) {
	return windows.GetsockoptInt(windows.Handle(fd), level, number)
}
