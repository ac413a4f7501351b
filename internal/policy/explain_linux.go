//go:build !keepalive_portable

package policy

import (
	"errors"
	"fmt"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

// explain adds to the error of an option that fd lacks why that is.
func explain(fd uintptr, err error) error {
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	switch Protocol(fd) {
	case 0:
		return err
	case unix.IPPROTO_MPTCP:
		return fmt.Errorf("%w: the socket uses MPTCP, want plain TCP", err)
	case unix.IPPROTO_TCP:
		if since := sinceOf(err); since != "" {
			return fmt.Errorf("%w: Linux before %s lacks it", err, since)
		}
		return err
	default:
		return fmt.Errorf("%w: not a TCP socket", err)
	}
}

// sinceOf returns the release that introduced the option that err is about.
func sinceOf(err error) string {
	if refused, ok := errors.AsType[*sockopt.Error](err); ok {
		for i := range Options {
			if Options[i].Name == refused.Option {
				return Options[i].Since
			}
		}
	}
	return ""
}
