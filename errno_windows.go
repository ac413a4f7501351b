package keepalive

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isGivenUp includes WSAENETRESET, which is Windows' word for a connection that
// keepalive has ended: see SO_KEEPALIVE in Microsoft's list of socket options.
func isGivenUp(_ string, err error) bool {
	return errors.Is(err, windows.WSAETIMEDOUT) ||
		errors.Is(err, windows.WSAEHOSTUNREACH) ||
		errors.Is(err, windows.WSAENETUNREACH) ||
		errors.Is(err, windows.WSAENETRESET)
}
