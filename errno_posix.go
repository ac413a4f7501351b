//go:build !windows && !plan9

package keepalive

import (
	"errors"
	"runtime"
	"syscall"
)

func isGivenUp(call string, err error) bool {
	return errors.Is(err, syscall.ETIMEDOUT) ||
		errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.ENETUNREACH) ||
		// Without any subflow left, after net.mptcp.close_timeout. Elsewhere
		// it follows other ends than this one.
		runtime.GOOS == "linux" && call == "read" && errors.Is(err, syscall.ENOTCONN)
}
