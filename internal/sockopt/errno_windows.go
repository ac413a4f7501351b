package sockopt

import (
	"errors"

	"golang.org/x/sys/windows"
)

var (
	unsupported = []error{windows.WSAENOPROTOOPT}

	// setsockopt documents WSAENETRESET and WSAENOTCONN for a connection
	// that timed out and for one that was reset, with SO_KEEPALIVE set.
	dead = []error{windows.WSAECONNRESET, windows.WSAECONNABORTED, windows.WSAENETRESET, windows.WSAENOTCONN}

	invalid error = windows.WSAEINVAL
)

// IsPeerLost reports whether err, of the system call named call, says that the
// system has given the peer up. WSAENETRESET is a connection that keepalive has
// ended: see SO_KEEPALIVE in Microsoft's list of socket options.
func IsPeerLost(_ string, err error) bool {
	return errors.Is(err, windows.WSAETIMEDOUT) ||
		errors.Is(err, windows.WSAEHOSTUNREACH) ||
		errors.Is(err, windows.WSAENETUNREACH) ||
		errors.Is(err, windows.WSAENETRESET)
}
