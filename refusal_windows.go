package keepalive

import "golang.org/x/sys/windows"

var (
	errsLacking = []error{windows.WSAENOPROTOOPT}

	// setsockopt documents WSAENETRESET and WSAENOTCONN for a connection
	// that timed out and for one that was reset, with SO_KEEPALIVE set.
	errsLost = []error{windows.WSAECONNRESET, windows.WSAECONNABORTED, windows.WSAENETRESET, windows.WSAENOTCONN}

	errInvalid error = windows.WSAEINVAL
)
