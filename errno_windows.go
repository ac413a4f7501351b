package keepalive

import (
	"errors"

	"golang.org/x/sys/windows"
)

var (
	errsLacking = []error{windows.WSAENOPROTOOPT}

	// setsockopt documents WSAENETRESET and WSAENOTCONN for a connection
	// that timed out and for one that was reset, with SO_KEEPALIVE set.
	errsLost = []error{windows.WSAECONNRESET, windows.WSAECONNABORTED, windows.WSAENETRESET, windows.WSAENOTCONN}

	errInvalid error = windows.WSAEINVAL
)

// isGivenUp includes WSAENETRESET, which is Windows' word for a connection that
// keepalive has ended: see SO_KEEPALIVE in Microsoft's list of socket options.
func isGivenUp(_ string, err error) bool {
	return errors.Is(err, windows.WSAETIMEDOUT) ||
		errors.Is(err, windows.WSAEHOSTUNREACH) ||
		errors.Is(err, windows.WSAENETUNREACH) ||
		errors.Is(err, windows.WSAENETRESET)
}
