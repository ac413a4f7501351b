//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !windows

package sockopt

import "errors"

// OpenBSD and Plan 9 have no timing per socket, js and wasip1 no keepalive. The
// numbers of Solaris and illumos differ between releases.
const (
	solSocket    = 0
	soKeepalive  = 0
	ipprotoTCP   = 0
	tcpKeepidle  = 0
	tcpKeepintvl = 0
	tcpKeepcnt   = 0
)

func (*Option) set(uintptr, int) error { return errors.ErrUnsupported }

func (*Option) get(uintptr) (int, error) { return 0, errors.ErrUnsupported }
